"""From a few replicas to some hundreds and back: the operator's own scaling, with an engine process to each.

    make bench-hundreds                            # as root; ten minutes
    make bench-hundreds HUNDREDS="--share 0.1"     # a try with a tenth of the replicas

Real: API server, scheduler, controllers, the operator's process, and for each replica a process of llm-d's
engine simulator that keeps the pace that the plan predicts. `hollow.py` says what is played. Requests go to
ready endpoints at random, each on a connection of its own, as through a Service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Never

import aiohttp
from hundreds.hollow import Kubelet, addresses
from hundreds.phases import OBJECTIVE_ITL, OBJECTIVE_TTFT, Look, Mark, Seen, report
from live.replay import PATIENCE_SECONDS, Record, ask
from live.shape import Request, Shape
from operator_process import PORT, TICKS_PER_SECOND, alive, operator, read, scrape, wait
from pretend import Kubectl, deployment, node, prepare

from inferfleet.cluster.client import ApiServer, load_configuration
from inferfleet.cluster.informer import Informer, Kind
from inferfleet.cluster.resources import DEPLOYMENTS, Resource
from inferfleet_local import binaries, packages, resolve
from inferfleet_local.cluster import Cluster
from inferfleet_local.kwok import OTHERS_PLAY
from inferfleet_local.processes import all_marked, marked_environment
from inferfleet_local.progress import Progress
from inferfleet_wire import ENGINE_PORT

NAME, NAMESPACE = "hundreds", "hundreds"
MODEL = "Qwen/Qwen2.5-32B-Instruct"
# What the plan predicts of a replica on four L4 as a pipeline: so slow that two cores can play hundreds.
TTFT_SECONDS, ITL_SECONDS, BATCH = 0.568, 0.291, 4
START_SECONDS = 20
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 16
REPLICA_RPS = BATCH / (TTFT_SECONDS + (OUTPUT_TOKENS - 1) * ITL_SECONDS)
MOST, FEWEST, DOWN_PER_MINUTE = 320, 8, 300
NOBODY = ("",)
SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LOOK_SECONDS = 0.5
SETTLE_SECONDS = 30


def main() -> None:
    """Run the shape, print the tables, and write everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the load and of the replicas")
    parser.add_argument("--stretch", type=float, default=1.0, help="times nine and a half minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/hundreds/hundreds.json"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as on Ctrl-C
    cluster = resolve("api", name="inferfleet-hundreds")
    missing = [packages.OF_NODES[one] for one in ("ip", "nft") if not packages.is_present(one)]
    packages.install(missing, cluster.where.logs / "packages.log")
    kubectl = Kubectl(Path(cluster.kubectl.program), Path(cluster.kubeconfig))
    try:
        most = round(MOST * options.share)
        kubectl.apply(*(json.dumps(node(number)) for number in range(most)))
        prepare(kubectl, NAMESPACE)
        kubectl.apply(json.dumps(manifest(most)))
        shape = Shape(
            REPLICA_RPS * options.share,
            options.stretch,
            options.seed,
            PROMPT_TOKENS,
            OUTPUT_TOKENS,
            phases="hundreds",
        )
        with addresses(), operator(kubectl, NAMESPACE, PORT) as process:
            wait("the operator leads", lambda: scrape().get("inferfleet_lease_held") == 1)
            seen = asyncio.run(bench(cluster, process, shape))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"shape": asdict(shape), **asdict(seen)}))
        report(shape, seen)
        print(f"one replica with a full batch serves {REPLICA_RPS:.2f} requests/s")
    finally:
        if cluster.started_here:
            cluster.down()


def manifest(most: int) -> dict[str, Any]:
    """The deployment; the simulator's own arguments stand among the engine's, where the pods show them."""
    made = deployment(NAME, NAMESPACE, MODEL, 1)
    del made["spec"]["replicas"]
    pace = {
        "--time-to-first-token": f"{TTFT_SECONDS * 1000:.0f}ms",
        "--inter-token-latency": f"{ITL_SECONDS * 1000:.0f}ms",
        "--startup-duration": f"{START_SECONDS}s",
    }
    made["spec"] |= {
        "model": {"id": MODEL, "contextLength": 512},
        "parallelism": {"tensor": 1, "pipeline": 4},
        "engine": {"maxNumSeqs": BATCH, "args": [part for pair in pace.items() for part in pair]},
        "objectives": {
            "timeToFirstToken": f"{OBJECTIVE_TTFT * 1000:.0f}ms",
            "interTokenLatency": f"{OBJECTIVE_ITL * 1000:.0f}ms",
        },
        "workload": {"promptTokens": PROMPT_TOKENS, "outputTokens": OUTPUT_TOKENS},
        "autoscaling": {
            "minReplicas": FEWEST,
            "maxReplicas": most,
            "maxScaleDownPerMinute": DOWN_PER_MINUTE,
        },
        "podTemplate": {"metadata": {"annotations": OTHERS_PLAY}},
    }
    return made


async def bench(cluster: Cluster, process: subprocess.Popen[bytes], shape: Shape) -> Seen:
    """Wait for the first replicas, then send the load and look on."""
    where = cluster.where
    folder = binaries.ensure_module("engine-sim", where.cache, where.logs / "build.log", Progress())
    seen = Seen()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServer(await load_configuration(str(cluster.kubeconfig))))
        program = folder / "llm-d-inference-sim"
        kubelet = await stack.enter_async_context(Kubelet(api, NAMESPACE, program, marked_environment(where)))
        fleet = Fleet(api, kubelet)
        tasks = [asyncio.create_task(one) for one in (fleet.follow(), fleet.look_on(seen.looks))]
        await asyncio.to_thread(
            wait, "the first replicas are ready", lambda: alive(process) and len(fleet.ready) >= FEWEST, 120
        )
        await asyncio.sleep(SETTLE_SECONDS)
        seen.began = time.time()
        await asyncio.gather(send(shape, fleet, seen), note(cluster, process, shape, fleet, seen.marks))
        seen.gaps = [(two, two - one) for looks in kubelet.looks for one, two in pairwise(looks)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return seen


class Fleet:
    """What a client sees of the replicas: what is wanted, and who is in the endpoints."""

    def __init__(self, api: ApiServer, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.ready: tuple[str, ...] = ()
        self._slices = Informer(
            api, Kind(SLICES, _ready, lambda *_: [NAME], namespace=NAMESPACE), self._gather
        )
        self._deployments = Informer(
            api, Kind(DEPLOYMENTS, _status, lambda *_: [], namespace=NAMESPACE), lambda _: None
        )

    @property
    def status(self) -> Mapping[str, Any]:
        """What the operator says of the deployment."""
        return self._deployments.view.items.get((NAMESPACE, NAME), {})

    async def follow(self) -> None:
        """Keep both current."""
        await asyncio.gather(self._slices.run(), self._deployments.run())

    async def look_on(self, looks: list[Look]) -> Never:
        """Note the replicas twice a second."""
        while True:
            desired = self.status.get("desiredReplicas", 0)
            looks.append(Look(time.time(), desired, len(self.kubelet.engines), len(self.ready)))
            await asyncio.sleep(LOOK_SECONDS)

    def _gather(self, _: str) -> None:
        self.ready = tuple(ip for ips in self._slices.view.items.values() for ip in ips)


def _ready(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one["addresses"][0] for one in raw.get("endpoints") or () if one["conditions"].get("ready"))


def _status(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return raw.get("status", {})


async def send(shape: Shape, fleet: Fleet, seen: Seen) -> None:
    """Send every request at its time to a ready endpoint by chance; there is no retry."""
    dice = random.Random(shape.seed)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS, sock_connect=10)

    async def one(request: Request) -> None:
        engine = fleet.kubelet.engines.get(ip := dice.choice(fleet.ready or NOBODY))
        if engine is None or not engine.gate.admits:
            seen.records.append(Record(request.at, 0, 0, lost="sent to one that is gone or refuses"))
            return
        with engine.gate.passage():
            record = await ask(session, f"http://{ip}:{ENGINE_PORT}", MODEL, request)
        engine.gate.lost += bool(record.lost)
        seen.records.append(record)

    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for request in shape.requests():
            await asyncio.sleep(max(0.0, seen.began + request.at - time.time()))
            seen.lag = max(seen.lag, time.time() - seen.began - request.at)
            group.create_task(one(request))


async def note(
    cluster: Cluster, process: subprocess.Popen[bytes], shape: Shape, fleet: Fleet, marks: list[Mark]
) -> None:
    """Read the operator and everybody's CPU where phases meet."""
    began = time.time()
    for at in [*(start for start, _ in shape.starts()), shape.seconds]:
        await asyncio.sleep(max(0.0, began + at - time.time()))
        alive(process)
        reading = await asyncio.to_thread(read, process)
        spent = await asyncio.to_thread(cpu_seconds, cluster)
        marks.append(Mark(reading, spent, fleet.status.get("scaling", {})))


def cpu_seconds(cluster: Cluster) -> dict[str, float]:
    """CPU seconds so far, by program: the cluster's own, the engines (ended ones too), and this process."""
    found: Counter[str] = Counter(clients=time.process_time())
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["engines"] = ended.ru_utime + ended.ru_stime
    for one in all_marked(cluster.where):
        with suppress(OSError):  # it ends just now
            name, _, rest = Path(f"/proc/{one.pid}/stat").read_text().partition("(")[2].rpartition(")")
            user, system = rest.split()[11:13]
            who = "engines" if name.startswith("llm-d") else name
            found[who] += (int(user) + int(system)) / TICKS_PER_SECOND
    return dict(found)


if __name__ == "__main__":
    main()
