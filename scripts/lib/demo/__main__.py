# SPDX-License-Identifier: Apache-2.0
"""Run the steps in order, always clean up, and say at the end whether everything went as expected."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from xdplb.dataplane.loader import pass_program
from xdplb.model.errors import XdplbError
from xdplb.net import netns
from xdplb.net.lab import Lab, kept_labs, reap
from xdplb.net.lab_cluster import ClusterLab
from xdplb.net.lab_hosts import Hosts

from . import breaking, clustering, configuring, failover, nat, preparing, rolling, showing, upgrading
from .playing import say_how_to_play
from .screen import Screen
from .world import DemoError, World

Steps = tuple[Callable[[World, Screen], None], ...]

TOUR: Steps = (
    preparing.prepare_backends,
    preparing.come_up,
    preparing.balance,
    showing.show_spread,
    breaking.kill_backend,
    showing.drain,
    breaking.kill_daemon,
    upgrading.upgrade,
    configuring.configure,
    configuring.reload,
    configuring.show_events,
    showing.take_down,
)


SHOWS: dict[str, tuple[Steps, str]] = {
    "tour": (TOUR, "demo.web"),
    "failover": (failover.STEPS, "demo.web"),
    "rolling": (rolling.STEPS, rolling.SERVICE),
}
"""What there is to show with one balancer: its steps, and what its backends run."""

CLUSTER, NAT = "cluster", "nat"


def main() -> int:
    """Return the exit code: 0 if everything went as expected."""
    options = _options()
    if options.clean is not None:
        return _clean(options.clean) if options.clean else _clean_all()
    screen = Screen(color=not options.no_color)
    began = time.monotonic()
    screen.say(f"setup took {os.environ.get('XDPLB_SETUP_SECONDS', '?')} s")
    try:
        with _ended_by_signals():
            if options.show == CLUSTER:
                lab: Hosts = _show_cluster(screen)
            elif options.show == NAT:
                lab = _show_nat(screen)
            else:
                lab = _show(screen, *SHOWS[options.show], keep=options.keep, svg=options.svg)
        if not options.keep:
            _expect_nothing_left(screen, lab)
    except KeyboardInterrupt:
        print("\ninterrupted; the lab has been removed", file=sys.stderr)
        return 130
    except (DemoError, RuntimeError, XdplbError, subprocess.SubprocessError) as error:
        screen.fail(str(error))
    screen.conclude(time.monotonic() - began)
    return 1 if screen.failed else 0


def _show(screen: Screen, steps: Steps, service: str, *, keep: bool, svg: Path | None) -> Lab:
    with pass_program() as program, Lab(port_program=program.fileno()) as lab:
        world = World(lab, screen, keep=keep, service=service, svg=svg)
        # With --keep the balancer stays up, so the last step, which takes it down, is left out.
        for step in steps[: -1 if keep else None]:
            step(world, screen)
        if keep:
            lab.keep()
            say_how_to_play(world, screen)
    return lab


def _show_cluster(screen: Screen) -> ClusterLab:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        stage = clustering.Stage(lab, screen)
        for step in clustering.STEPS:
            step(stage, screen)
    return lab


def _show_nat(screen: Screen) -> ClusterLab:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        stage = nat.Stage(lab, screen)
        for step in nat.STEPS:
            step(stage, screen)
    return lab


def _expect_nothing_left(screen: Screen, lab: Hosts) -> None:
    screen.step("Nothing is left behind")
    left = [str(lab.folder)] if lab.folder.exists() else []
    left += [name for name in netns.names() if name.startswith(lab.home.prefix())]
    screen.expect(not left, "the lab left no namespace, mount or file", ", ".join(left))


def _clean(lab: str) -> int:
    kept = kept_labs()
    if lab not in kept:
        print(f"there is no lab {lab}; labs left up: {', '.join(kept) or 'none'}", file=sys.stderr)
        return 1
    if lab not in reap(kept=[lab]):
        print(f"lab {lab} is still being set up", file=sys.stderr)
        return 1
    print(f"removed lab {lab}")
    return 0


def _clean_all() -> int:
    print("removing all labs that were left up")
    removed = reap(kept=kept_labs())
    for name in removed:
        print(f"removed lab {name}")
    if not removed:
        print("there is no lab to remove")
    return 0


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, but only once: a second must not interrupt the clean-up."""

    def interrupt(*_: object) -> None:
        for later in signals:
            signal.signal(later, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in signals:
        signal.signal(one, interrupt)
    yield


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("show", nargs="?", default="tour", choices=[*SHOWS, CLUSTER, NAT], help="what to show")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="of failover: draw how long connections took")
    parser.add_argument("--keep", action="store_true", help="leave the lab up, and print commands to try in it")
    parser.add_argument("--clean", nargs="?", const="", metavar="LAB", help="remove a lab that was left up, or all")
    parser.add_argument("--no-color", action="store_true", help="no colours")
    options = parser.parse_args()
    if options.show not in SHOWS and options.keep:
        parser.error(f"the lab of {options.show} cannot be kept: --keep is for {', '.join(SHOWS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
