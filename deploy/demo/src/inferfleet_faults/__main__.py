"""`make faults`: the whole table on real nodes, or the rows that are named, written as markdown and JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inferfleet_demo.kube import StepFailedError
from inferfleet_demo.stage import prepare
from inferfleet_faults.faults import FAULTS, prove
from inferfleet_faults.rows import markdown, read, write
from inferfleet_faults.stage import NODES, stage
from inferfleet_local.errors import ClusterError


def main() -> int:
    """Prove what is asked for; return 1 when a row cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="default: all, in this order")
    parser.add_argument("--out", type=Path, default=Path("out/faults"), help="folder for the table")
    args = parser.parse_args()
    path = args.out / "faults.json"
    try:
        with stage(prepare(nodes=NODES)) as running:
            for name in args.faults or FAULTS:
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
