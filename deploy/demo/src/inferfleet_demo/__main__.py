"""`make demo`: bring the cluster up, walk through the steps, say where to look next."""

from __future__ import annotations

import sys
import time

from inferfleet_demo.kube import StepFailedError
from inferfleet_demo.stage import prepare
from inferfleet_demo.steps import STEPS
from inferfleet_local.errors import ClusterError


def main() -> int:
    """Run every step; return 1 at the first that is not true."""
    began = time.monotonic()
    print(f"\n[0/{len(STEPS)}] a real cluster on this machine", flush=True)
    try:
        scene = prepare()
        for number, (title, step) in enumerate(STEPS, 1):
            print(f"\n[{number}/{len(STEPS)}] {title}", flush=True)
            step(scene)
    except (StepFailedError, ClusterError) as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    print("\nMeasured on this machine:")
    for what, seconds in scene.measured.items():
        print(f"  {what:34} {seconds:7.1f} s")
    print(
        f"\nAll {len(STEPS)} steps are true, after {time.monotonic() - began:.0f} s."
        f" The cluster is still up:\n"
        f"  export KUBECONFIG={scene.kube.kubeconfig}\n"
        "  kubectl -n demo get infd        and when you are done:  make cluster-down"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
