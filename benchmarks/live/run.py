"""The same ten minutes of load on real engines, scaled by the operator and by a HorizontalPodAutoscaler.

    python benchmarks/live/run.py                      # about half an hour
    python benchmarks/live/run.py --stretch 0.2        # a try

One real cluster, real vLLM on CPU, each replica held to a share of a core. What one replica can serve is
measured first; the load is told in that unit. Every run begins with one replica, which has lived since then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import foretell
from durationpy import from_str
from fleet import Engines, Fitting, Watch
from foretell import Calibration
from policies import POLICIES, Policy, autoscaler
from report import Objectives, outcome, percentile, table
from shape import Shape

from inferfleet.cluster.client import ApiServer, load_configuration
from inferfleet.telemetry.workers import WorkerClient
from inferfleet_demo import traffic
from inferfleet_demo.kube import StepFailedError, eventually
from inferfleet_demo.load import Load
from inferfleet_demo.scene import NAME, NAMESPACE, SERVICE_URL, STAYING_NODES, Scene
from inferfleet_demo.stage import prepare
from inferfleet_demo.steps import install_the_chart
from inferfleet_local import external_metrics
from inferfleet_local.errors import ClusterError
from inferfleet_local.kubectl import Kubectl

HERE = Path(__file__).parent
READY_SECONDS = 300
# vLLM's gauges need as long after a start until they tell anything, and scaling its first windows
SETTLE_SECONDS = 20
CALIBRATION_SECONDS = 15


def main() -> int:
    """Run the policies that were asked for; print the table, and write everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policies", default="ours,hpa-queue", help=f"of {[one.name for one in POLICIES]}")
    parser.add_argument("--stretch", type=float, default=1.0, help="times ten minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rps", type=float, default=0.0, help="what one replica serves; 0 measures it")
    parser.add_argument("--cpu", default=Fitting.cpu, help="CPU limit of a replica")
    parser.add_argument("--most", type=int, default=Fitting.most, help="most replicas")
    parser.add_argument("--ttft", default=Fitting.ttft)
    parser.add_argument("--itl", default=Fitting.itl)
    parser.add_argument("--out", type=Path, help="write a JSON file")
    options = parser.parse_args()
    names = options.policies.split(",")
    policies = [one for name in names for one in POLICIES if one.name == name]
    fitting = Fitting(most=options.most, cpu=options.cpu, ttft=options.ttft, itl=options.itl)
    try:
        scene = prepare()
        install_the_chart(scene)
        scene.kube.kubectl("create", "namespace", NAMESPACE)
        result = asyncio.run(bench(scene, fitting, policies, options))
    except (StepFailedError, ClusterError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    print("\n" + table(result["outcomes"]))
    for name, one in result["outcomes"].items():
        print(f"{name}: {next(policy.law for policy in policies if policy.name == name)}; {one['note']}")
    print("\n" + foretell.table(result, foretell.foretell(result)))
    return 0


async def bench(
    scene: Scene, fitting: Fitting, policies: Sequence[Policy], options: argparse.Namespace
) -> dict[str, Any]:
    """Measure what one replica can serve, then run every policy."""
    configuration = await load_configuration(scene.kube.kubeconfig, None)
    address = urlsplit(configuration.host).hostname or ""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServer(configuration))
        client = await stack.enter_async_context(WorkerClient())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = Engines(api, client)
        program = Path(shutil.which("kubectl", path=scene.kube.path) or "kubectl")
        kubectl = Kubectl(program, Path(scene.kube.kubeconfig))
        stack.enter_context(external_metrics.serve(kubectl, address, folder, engines.reader()))
        watch = Watch(api)
        watching = asyncio.create_task(watch.run())
        calibration = await asyncio.to_thread(calibrate, scene, fitting)
        shape = Shape(options.rps or calibration.rps, options.stretch, options.seed)
        objectives = Objectives(_seconds(fitting.ttft), _seconds(fitting.itl))
        result: dict[str, Any] = {
            "shape": asdict(shape),
            "fitting": asdict(fitting),
            "calibration": asdict(calibration),
            "model": json.loads(scene.kube.get("configmap", f"{NAME}-model")["data"]["model.json"]),
            "outcomes": {},
            "runs": {},
        }
        for policy in policies:
            await asyncio.to_thread(begin, scene, fitting, policy)
            asked = engines.asked
            records, summary = await asyncio.to_thread(send, scene, shape)
            told = f"sender late by {summary['lag']} s at most, load average {os.getloadavg()[1]:.1f}"
            if policy.targets:
                told += f", the autoscaler asked {engines.asked - asked} times"
            found = outcome(shape, objectives, records, watch.looks, summary["began"])
            result["outcomes"][policy.name] = {**found, "note": told}
            looks = [asdict(look) for look in watch.looks if look.at >= summary["began"]]
            result["runs"][policy.name] = {"began": summary["began"], "records": records, "looks": looks}
            print(table({policy.name: result["outcomes"][policy.name]}), flush=True)
            if options.out:  # a run costs ten minutes: what there is, is kept
                options.out.write_text(json.dumps(result, indent=1))
            await asyncio.to_thread(end, scene, policy)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return result


def begin(scene: Scene, fitting: Fitting, policy: Policy | None) -> float:
    """Put the deployment in place with one replica; returns the seconds until it was Ready."""
    example = scene.checkout / "examples" / "quickstart.yaml"
    documents = fitting.manifests(example, policy)
    for manifest in documents if policy is None else documents[-1:]:
        scene.kube.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    eventually("a worker", lambda: scene.workers() or None, seconds=180, every=0.5, saw=scene.summary)
    began = time.time()
    scene.await_workers(1, READY_SECONDS)
    cold = time.time() - began
    scene.saw(f"{policy.name if policy else 'calibration'}: one replica Ready")
    if policy and policy.targets:
        wanted = autoscaler(policy, NAME, fitting.most, fitting.down_seconds)
        scene.kube.kubectl("apply", "-f", "-", stdin=json.dumps(wanted))
    time.sleep(SETTLE_SECONDS)
    return cold


def end(scene: Scene, policy: Policy) -> None:
    """Let go of all but one replica, whoever asked for them."""
    if policy.targets:
        scene.show("describe", "hpa", NAME)
        scene.kube.kubectl("delete", "hpa", NAME)
    scene.show("describe", "infd", NAME)
    patch = {"spec": {"autoscaling": {"mode": "External"}, "replicas": 1}}
    scene.kube.kubectl("patch", "infd", NAME, "--type=merge", "-p", json.dumps(patch))
    scene.await_workers(1, READY_SECONDS)


def calibrate(scene: Scene, fitting: Fitting) -> Calibration:
    """What one replica serves with its batch full (twice as many users), and how it answers one alone."""
    cold = begin(scene, fitting, None)
    users = {
        "users": 2 * fitting.batch,
        "max_tokens": Shape.output_tokens,
        "prompt": "x" * Shape.prompt_tokens,
    }
    scene.traffic("warm", seconds=5, **users).finish(120)
    summary = scene.traffic("calibration", seconds=CALIBRATION_SECONDS, **users).finish(120)
    rps = summary["finished"] / summary["seconds"]
    scene.expect(summary["failed"] == 0 and rps > 0, "a whole calibration", summary)
    records, _ = send(scene, Shape(rps, phases="alone"))
    found = Calibration(
        cold_start=cold,
        rps=rps,
        full_tokens_per_second=summary["tokens"] / summary["seconds"],
        idle_ttft=percentile([record["ttft"] for record in records], 0.5),
        idle_itl=percentile([record["itl"] for record in records], 0.5),
    )
    scene.saw(f"one replica: {found}")
    return found


def send(scene: Scene, shape: Shape) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run the load in a pod; returns every request's record and the sender's summary."""
    flags = {
        "url": SERVICE_URL,
        "model": scene.model_name(),
        "rps": shape.replica_rps,
        "stretch": shape.stretch,
        "seed": shape.seed,
        "phases": shape.phases,
        "prompt-tokens": shape.prompt_tokens,
        "output-tokens": shape.output_tokens,
    }
    arguments = tuple(part for key, value in flags.items() for part in (f"--{key}", str(value)))
    scripts = (Path(traffic.__file__), HERE / "shape.py", HERE / "replay.py")
    load = Load.start(scene.kube, "shape", node_labels=STAYING_NODES, arguments=arguments, scripts=scripts)
    ended = ("Succeeded", "Failed")
    eventually(
        "the load's end",
        lambda: load.phase() in ended or None,
        seconds=shape.seconds + 180,
        every=5,
        saw=lambda: str(load.tally()),
    )
    lines = [json.loads(line) for line in scene.kube.kubectl("logs", "shape").splitlines()]
    records = sorted((line["record"] for line in lines if "record" in line), key=lambda one: one["at"])
    return records, load.finish(10)


def _seconds(text: str) -> float:
    return float(from_str(text).total_seconds())


if __name__ == "__main__":
    sys.exit(main())
