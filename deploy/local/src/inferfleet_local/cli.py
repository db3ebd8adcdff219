"""The command line: `python -m inferfleet_local up|down|status|build|env|kubeconfig|node|images`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from inferfleet_local import cluster, karpenter, real
from inferfleet_local.errors import ClusterError
from inferfleet_local.progress import Progress
from inferfleet_local.real import NodeAct
from inferfleet_local.state import Flavour, locked, places, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferfleet_local.state import Places

DISRUPTED = "karpenter.sh/disrupted"
TAINT, UNTAINT = "taint", "untaint"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; an error that the user can mend is one line, not a traceback."""
    options = parser().parse_args(arguments)
    try:
        options.carry_out(options)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--flavour", type=Flavour, choices=list(Flavour), default=Flavour.NODES)
    shared.add_argument(
        "--name", help="the cluster's name (default: inferfleet; inferfleet-api for flavour api)"
    )
    whole = argparse.ArgumentParser(prog="python -m inferfleet_local", description=__doc__)
    commands = whole.add_subparsers(required=True)

    up = commands.add_parser("up", parents=[shared], help="start a cluster, or finish starting it")
    up.add_argument("--nodes", type=int, help="how many nodes (default: 2 real ones, no simulated ones)")
    up.add_argument(
        "--images", nargs="+", default=[], choices=cluster.IMAGES, help="build these and load them"
    )
    up.add_argument(
        "--karpenter", action="store_true", help="with Karpenter, which buys simulated nodes (flavour api)"
    )
    up.add_argument(
        "--sold-out",
        nargs="+",
        default=[],
        metavar="TYPE/CAPACITY/ZONE",
        help="machines that Karpenter cannot buy, such as '*/spot/zone-a'; starts it anew",
    )
    up.set_defaults(carry_out=_up)

    down = commands.add_parser("down", parents=[shared], help="take a cluster down with all that it made")
    down.add_argument("--all", action="store_true", help="all clusters that are there")
    down.set_defaults(carry_out=_down)

    status = commands.add_parser("status", help="describe one cluster, or all")
    status.add_argument("--name", help="only this one")
    status.set_defaults(carry_out=_status)

    build = commands.add_parser("build", parents=[shared], help="build what `up` would build, start nothing")
    build.add_argument("--images", nargs="+", default=[], choices=cluster.IMAGES, help="these images as well")
    build.set_defaults(carry_out=_build)

    env = commands.add_parser("env", parents=[shared], help="print shell lines for KUBECONFIG and PATH")
    env.set_defaults(carry_out=lambda options: print(cluster.environment(_where(options))))

    kubeconfig = commands.add_parser("kubeconfig", parents=[shared], help="print the kubeconfig's path")
    kubeconfig.set_defaults(carry_out=lambda options: print(_where(options).kubeconfig))

    node = commands.add_parser("node", parents=[shared], help="do something to a node")
    node.add_argument("act", choices=[TAINT, UNTAINT, *NodeAct])
    node.add_argument("node")
    node.add_argument("--key", default=DISRUPTED, help="the taint's key (default: %(default)s)")
    node.set_defaults(carry_out=_node)

    images = commands.add_parser("images", parents=[shared], help="build images, load them into the nodes")
    images.add_argument("act", choices=["build", "load"])
    images.add_argument("images", nargs="*", default=list(cluster.IMAGES))
    images.set_defaults(carry_out=_images)
    return whole


def _where(options: argparse.Namespace) -> Places:
    return places(options.name or cluster.DEFAULT_NAMES[options.flavour])


def _up(options: argparse.Namespace) -> None:
    progress = Progress()
    running = cluster.up(
        _where(options), options.flavour, progress, nodes=options.nodes, images=tuple(options.images)
    )
    if options.karpenter:
        karpenter.up(running, progress, sold_out=options.sold_out)


def _down(options: argparse.Namespace) -> None:
    for where in map(places, _all_names()) if options.all else [_where(options)]:
        cluster.down(where, Progress())


def _all_names() -> list[str]:
    return cluster.all_names(places("any").state_root)


def _status(options: argparse.Namespace) -> None:
    names = [options.name] if options.name else _all_names()
    print("\n".join(cluster.status(places(name)) for name in names) or "no cluster is there")


def _build(options: argparse.Namespace) -> None:
    cluster.prepare(_where(options), options.flavour, Progress(), tuple(options.images))


def _node(options: argparse.Namespace) -> None:
    where = _where(options)
    with locked(where):
        if options.act in (TAINT, UNTAINT):
            effect = f"{options.key}=:NoSchedule" if options.act == TAINT else f"{options.key}:NoSchedule-"
            cluster.own_kubectl(where)("taint", "node", options.node, effect, "--overwrite")
        else:
            record = cluster.existing(where)
            programs = cluster.ready_programs(where, record)
            real.act_on_node(where, record, programs, options.node, NodeAct(options.act))
    print(f"{options.node}: {options.act} done")


def _images(options: argparse.Namespace) -> None:
    where = _where(options)
    real.build_and_load(where, read_record(where), options.images, Progress(), load=options.act == "load")
