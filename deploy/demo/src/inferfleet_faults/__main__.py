"""`make faults`: the whole table on real nodes, or the rows that are named, written as markdown and JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inferfleet_demo.kube import StepFailedError
from inferfleet_demo.stage import prepare
from inferfleet_faults.faults import FAULTS, prove
from inferfleet_faults.pair import prove_pair
from inferfleet_faults.rows import markdown, read, write
from inferfleet_faults.signals import repeat, write_signals
from inferfleet_faults.stage import NODES, stage
from inferfleet_local.errors import ClusterError

REPEATED = "signals"
PAIR = "pair"
PARTS = (*FAULTS, REPEATED, PAIR)
SIGNALS = 20


def main() -> int:
    """Prove what is asked for; return 1 when a row cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"default: all, in this order: {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("out/faults"), help="folder for the table")
    parser.add_argument("--keep", action="store_true", help="go on with the deployment that is there")
    parser.add_argument("--signals", type=int, default=SIGNALS, help="how often a signal is repeated")
    args = parser.parse_args()
    parts = args.faults or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    path = args.out / "faults.json"
    try:
        with stage(prepare(nodes=NODES, fresh=not args.keep)) as running:
            for name in parts:
                if name == REPEATED:
                    write_signals(repeat(running, args.signals), args.out / "signals.json")
                elif name == PAIR:
                    write([prove_pair(running)], path)
                else:
                    write([prove(running, FAULTS[name])], path)
    except (StepFailedError, ClusterError) as error:
        print(f"\nStopped: {error}", file=sys.stderr)
        return 1
    finally:
        if path.exists():
            path.with_suffix(".md").write_text(markdown(read(path)) + "\n")
            print(markdown(read(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
