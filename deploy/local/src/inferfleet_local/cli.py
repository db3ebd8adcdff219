"""The command line: `python -m inferfleet_local up|down|status|build|env|kubeconfig|node|images`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from inferfleet_local import binaries, cluster, packages, real
from inferfleet_local.errors import ClusterError
from inferfleet_local.progress import Progress
from inferfleet_local.state import Flavour, locked, places, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferfleet_local.state import Places

DISRUPTED = "karpenter.sh/disrupted"


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", help="the cluster's name (default: inferfleet; inferfleet-api for flavour api)")
    flavoured = argparse.ArgumentParser(add_help=False, parents=[named])
    flavoured.add_argument("--flavour", type=Flavour, choices=list(Flavour), default=Flavour.NODES)
    whole = argparse.ArgumentParser(prog="python -m inferfleet_local", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[flavoured], help="start a cluster, or finish starting it")
    up.add_argument("--nodes", type=int, help="how many nodes (default: 2 real ones, no simulated ones)")
    up.add_argument(
        "--images", nargs="*", default=[], choices=[*cluster.IMAGES, []], help="build these and load them"
    )
    commands.add_parser("down", parents=[flavoured], help="take a cluster down and remove all that it made")
    commands.add_parser("status", parents=[named], help="describe one cluster, or all")
    commands.add_parser("build", parents=[flavoured], help="build the programs only")
    commands.add_parser("env", parents=[flavoured], help="print shell lines for KUBECONFIG and PATH")
    commands.add_parser("kubeconfig", parents=[flavoured], help="print the kubeconfig's path")
    node = commands.add_parser("node", parents=[named], help="do something to a real node")
    node.add_argument("act", choices=["taint", "untaint", "cutoff", "restore", "kill", "start"])
    node.add_argument("node")
    node.add_argument("--key", default=DISRUPTED, help="the taint's key (default: %(default)s)")
    images = commands.add_parser("images", parents=[named], help="build images, load them into the nodes")
    images.add_argument("act", choices=["build", "load"])
    images.add_argument("images", nargs="*", default=list(cluster.IMAGES))
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; an error that the user can mend is one line, not a traceback."""
    options = parser().parse_args(arguments)
    flavour = getattr(options, "flavour", Flavour.NODES)
    try:
        where = places(options.name or cluster.DEFAULT_NAMES[flavour])
        _carry_out(options, where, flavour)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _carry_out(options: argparse.Namespace, where: Places, flavour: Flavour) -> None:
    progress = Progress()
    match options.command:
        case "up":
            cluster.up(where, flavour, progress, nodes=options.nodes, images=options.images)
        case "down":
            cluster.down(where, progress)
        case "status":
            names = [options.name] if options.name else cluster.all_names(where.state_root)
            print("\n".join(cluster.status(places(name)) for name in names) or "no cluster is there")
        case "build":
            packages.ensure(flavour, where.state_root / "packages.log")
            binaries.ensure(flavour, where.cache, where.state_root / "build.log", progress)
        case "env":
            print(cluster.environment(where))
        case "kubeconfig":
            print(where.kubeconfig)
        case "node":
            with locked(where):
                _node(options, where)
        case "images":
            record = read_record(where)
            real.build_and_load(where, record, options.images, progress, load=options.act == "load")


def _node(options: argparse.Namespace, where: Places) -> None:
    record = cluster.existing(where)
    kubectl = cluster.own_kubectl(where)
    match options.act:
        case "taint":
            kubectl("taint", "node", options.node, f"{options.key}=:NoSchedule", "--overwrite")
        case "untaint":
            kubectl("taint", "node", options.node, f"{options.key}:NoSchedule-")
        case act:
            real.act_on_node(where, record, cluster.ready_programs(where, record), options.node, act)
    print(f"{options.node}: {options.act} done")

