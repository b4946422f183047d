# SPDX-License-Identifier: Apache-2.0
"""Commands to try in a lab that was left up."""

from __future__ import annotations

import shlex

from .screen import Screen
from .world import XDPLB, World

__all__ = ["say_how_to_play"]


def say_how_to_play(world: World, screen: Screen) -> None:
    """Print the most useful commands."""
    first = world.backends[0]
    client, balancer = (_enter(world, host) for host in ("client", "balancer"))
    xdplb = shlex.join([XDPLB, "--socket", str(world.socket)])
    host, *places = f"{_enter(world, first.name)} {XDPLB} backend-host", world.vip, *world.places(first)
    screen.step("The lab stays up. Commands to try")
    for comment, command in (
        ("a request; every answer names its backend", f"{client} curl {world.url}"),
        ("a shell on a host: client, router, balancer, dr1, dr2, ipip1 or ipip2", f"{_enter(world, first.name)} bash"),
        ("commands to the daemon", f"{xdplb} status"),
        ("", f"{xdplb} backend ls"),
        ("", f"{xdplb} stats --rate 5s"),
        ("", f"{xdplb} backend drain {world.vip} {first.address} --wait"),
        ("", f"{xdplb} backend undrain {world.vip} {first.address}"),
        ("", f"curl --unix-socket {world.socket} http://localhost/v1/stats"),
        (f"what {first.name} needs as a backend, and how to undo that", f"{host} show {shlex.join(places)}"),
        ("", f"{host} undo {shlex.join(places)}"),
        ("the daemon's log", f"tail -f {world.lab.folder / 'daemon.log'}"),
        ("stop the daemon and take the data plane down", f"{balancer} {XDPLB} down eth0 --pin-dir {world.lab.pin_dir}"),
        ("remove the lab", f"scripts/demo --clean {world.lab.home.id}"),
    ):
        if comment:
            screen.say(f"# {comment}")
        screen.say(command)


def _enter(world: World, host: str) -> str:
    """Return the prefix that runs a command in a host's network namespace; `ip netns exec` would hide the pins."""
    return f"nsenter --net=/run/netns/{world.lab.namespace(host)}"
