# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of the packet path and the control plane; scripts/bench --help explains each of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench.machine import describe, private_bpffs

SVG_HELP = "write the plot to this file"
KATRAN_HELP = "a checkout of Katran, whose program is measured too"


def main() -> None:
    """Parse the arguments and run the benchmark that they name."""
    arguments = _parser().parse_args()
    print(f"{describe()}\n")
    globals()[f"_{arguments.what}"](arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    benches = parser.add_subparsers(dest="what", required=True)
    for name in ("packet", "parts", "sampling", "sharing", "stages", "flows"):
        bench = benches.add_parser(name)
        bench.add_argument("--trials", type=int, default=15, help="measurements of each case (default: %(default)s)")
        bench.add_argument(
            "--turns", type=int, default=1 << 18, help="packets in a measurement of many flows (default: %(default)s)"
        )
        if name in {"packet", "sharing"}:
            bench.add_argument("--against", type=Path, metavar="DIR", help="a checkout to compare with, row by row")
        if name == "packet":
            bench.add_argument("--katran", type=Path, metavar="DIR", help=KATRAN_HELP)
            bench.add_argument("cases", nargs="*", metavar="CASE", help="only those whose name contains one of these")
    bench = benches.add_parser("forward")
    bench.add_argument("--seconds", type=float, default=0.5, help="length of a measurement (default: %(default)s)")
    bench.add_argument("--rounds", type=int, default=5, help="measurements of each case (default: %(default)s)")
    bench.add_argument("--cpus", type=int, default=1, help="number of CPUs that send (default: %(default)s)")
    bench.add_argument("--svg", type=Path, help=SVG_HELP)
    bench.add_argument("--katran", type=Path, metavar="DIR", help=KATRAN_HELP)
    for name in ("control", "comparison"):
        benches.add_parser(name)
    bench = benches.add_parser("checks")
    bench.add_argument("--checks", type=int, default=5000, help="number of checks (default: %(default)s)")
    bench.add_argument("--interval", type=float, default=2.0, help="seconds between two of one (default: %(default)s)")
    bench.add_argument("--seconds", type=float, default=75, help="length of a measurement (default: %(default)s)")
    bench = benches.add_parser("scale")
    bench.add_argument("--vips", type=int, default=1000, help="number of VIPs (default: %(default)s)")
    bench.add_argument("--backends", type=int, default=20, help="backends of each VIP (default: %(default)s)")
    bench.add_argument("rows", nargs="*", metavar="ROW", help="only the groups whose name contains one of these")
    bench = benches.add_parser("admin")
    bench.add_argument("--vips", type=int, default=100, help="VIPs beside the checked one (default: %(default)s)")
    bench.add_argument("--backends", type=int, default=200, help="backends of each (default: %(default)s)")
    bench.add_argument("--rounds", type=int, default=3, help="how often the backends die (default: %(default)s)")
    bench.add_argument("--against", type=Path, metavar="DIR", help="attack the daemon of another checkout")
    bench.add_argument("attacks", nargs="*", metavar="ATTACK", help="only those whose name contains one of these")
    bench = benches.add_parser("consistency")
    bench.add_argument("--connections", type=int, default=1_000_000, help="open connections (default: %(default)s)")
    bench.add_argument("--changes", type=int, default=60, help="number of changes (default: %(default)s)")
    bench.add_argument("--seed", type=int, default=1, help="seed of the random numbers (default: %(default)s)")
    bench.add_argument("--svg", type=Path, help=SVG_HELP)
    bench.add_argument("--literature", action="store_true", help="the simulations of Cheetah and JET instead")
    bench.add_argument("--seconds", type=float, default=600, help="of Cheetah's (default: %(default)s)")
    bench = benches.add_parser("vrrp")
    bench.add_argument("--rounds", type=int, default=3, help="how often each thing happens (default: %(default)s)")
    bench.add_argument("--drains", type=int, default=20, help="how often a drain is cut short (default: %(default)s)")
    bench = benches.add_parser("cluster")
    bench.add_argument("--runs", type=int, default=20, help="how often a balancer is lost (default: %(default)s)")
    bench.add_argument("--long", type=int, default=1000, help="connections that stay (default: %(default)s)")
    bench.add_argument("--rate", type=float, default=500, help="new ones a second (default: %(default)s)")
    bench.add_argument("--without-sync", action="store_true", help="the balancers tell each other nothing")
    bench = benches.add_parser("ha")
    bench.add_argument("--rounds", type=int, default=3, help="how often each thing happens (default: %(default)s)")
    bench = benches.add_parser("store")
    bench.add_argument("--changes", type=int, default=300, help="number of changes (default: %(default)s)")
    return parser


def _packet(arguments: argparse.Namespace) -> None:
    from tests.bench.packet import measure_packets

    with private_bpffs() as pin_dir:
        measure_packets(
            pin_dir,
            arguments.cases,
            trials=arguments.trials,
            turns=arguments.turns,
            against=arguments.against,
            katran=arguments.katran,
        )


def _parts(arguments: argparse.Namespace) -> None:
    from tests.bench.parts import measure_parts

    with private_bpffs() as pin_dir:
        measure_parts(pin_dir, trials=arguments.trials, turns=arguments.turns)


def _sampling(arguments: argparse.Namespace) -> None:
    from tests.bench.sampling import measure_sampling

    with private_bpffs() as pin_dir:
        measure_sampling(pin_dir, trials=arguments.trials, turns=arguments.turns)


def _sharing(arguments: argparse.Namespace) -> None:
    from tests.bench.sharing import measure_sharing

    with private_bpffs() as pin_dir:
        measure_sharing(pin_dir, trials=arguments.trials, turns=arguments.turns, against=arguments.against)


def _stages(arguments: argparse.Namespace) -> None:
    from tests.bench.stages import measure_stages

    with private_bpffs() as pin_dir:
        measure_stages(pin_dir, trials=arguments.trials, turns=arguments.turns)


def _flows(arguments: argparse.Namespace) -> None:
    from tests.bench.flow_tables import measure_flow_tables

    with private_bpffs() as pin_dir:
        measure_flow_tables(pin_dir, trials=arguments.trials, turns=arguments.turns)


def _forward(arguments: argparse.Namespace) -> None:
    from tests.bench.forward import measure_forwarding

    measure_forwarding(
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        cpus=arguments.cpus,
        svg=arguments.svg,
        katran=arguments.katran,
    )


def _control(_: argparse.Namespace) -> None:
    from tests.bench.control import measure_control
    from tests.bench.flips import measure_flips
    from tests.bench.planes import new_plane

    with private_bpffs() as pin_dir:
        plane = new_plane(pin_dir)
        measure_flips(plane)
        measure_control(plane)


def _checks(arguments: argparse.Namespace) -> None:
    from tests.bench.checks import measure_checks

    measure_checks(count=arguments.checks, interval=arguments.interval, seconds=arguments.seconds)


def _scale(arguments: argparse.Namespace) -> None:
    from tests.bench.scale import measure_scale
    from tests.bench.scale_state import Load

    measure_scale(Load(arguments.vips, arguments.backends), arguments.rows)


def _admin(arguments: argparse.Namespace) -> None:
    from tests.bench.admin import measure_admin

    measure_admin(
        vips=arguments.vips,
        backends=arguments.backends,
        rounds=arguments.rounds,
        only=arguments.attacks,
        against=arguments.against,
    )


def _store(arguments: argparse.Namespace) -> None:
    from tests.bench.store import measure_store

    measure_store(arguments.changes)


def _vrrp(arguments: argparse.Namespace) -> None:
    from tests.bench import vrrp

    vrrp.run(arguments.rounds, arguments.drains)


def _cluster(arguments: argparse.Namespace) -> None:
    from tests.bench import cluster

    cluster.run(arguments.runs, arguments.long, arguments.rate, with_peers=not arguments.without_sync)


def _ha(arguments: argparse.Namespace) -> None:
    from tests.bench import ha

    ha.run(arguments.rounds)


def _comparison(_: argparse.Namespace) -> None:
    from tests.bench import comparison

    comparison.PLOT.write_text(comparison.draw(), encoding="utf-8")


def _consistency(arguments: argparse.Namespace) -> None:
    if arguments.literature:
        from tests.bench.literature import report_literature

        report_literature(seconds=arguments.seconds, seed=arguments.seed)
        return
    from tests.bench.consistency_report import report_consistency

    report_consistency(
        connections=arguments.connections, changes=arguments.changes, seed=arguments.seed, svg=arguments.svg
    )


if __name__ == "__main__":
    main()
