# SPDX-License-Identifier: Apache-2.0
"""The first steps: start backends with web servers, start the daemon, and add a VIP with its backends."""

from __future__ import annotations

import time

from xdplb.net import lab

from .screen import Screen
from .world import DemoError, World, wait_for

__all__ = ["balance", "come_up", "prepare_backends"]

CHECK = {"type": "http", "interval_seconds": 0.3, "timeout_seconds": 2, "rise": 2, "fall": 2}
READY_SECONDS = 180


def prepare_backends(world: World, screen: Screen) -> None:
    """Show the lab, set its backends up for the VIP, and start their servers."""
    screen.step("Build a lab of network namespaces, and set up the backends")
    for line in (lab.__doc__ or "").split("\n\n")[1].splitlines():
        screen.say(line)
    for backend in world.backends:
        world.prepare(backend)
        world.start_server(backend)
    answering = wait_for(lambda: all(world.answers(backend) for backend in world.backends), READY_SECONDS)
    screen.expect(answering, "an HTTP server answers on each of the four backends")


def come_up(world: World, screen: Screen) -> None:
    """Start the daemon on the balancer's eth0."""
    screen.step("Start xdplb on the balancer's eth0")
    began = time.monotonic()
    world.start_daemon()
    if not world.daemon_is_ready(READY_SECONDS):
        raise DemoError(f"the daemon did not come up: {world.daemon_said()}")
    attached = world.attachment()
    screen.expect(attached["mode"] == "native", f"ready after {time.monotonic() - began:.1f} s, including compilation")
    screen.say(f"        program {attached['program_id']} on {attached['interface']}, {attached['mode']} XDP")
    screen.command(["export", f"XDPLB_SOCKET={world.socket}"])


def balance(world: World, screen: Screen) -> None:
    """Add the VIP, its check and its DR backends by REST, and the IPIP backends by the CLI."""
    screen.step("Add a VIP with a health check, two DR backends (by REST) and two IPIP backends (by the CLI)")
    address, _, port = world.vip.removesuffix("/tcp").partition(":")
    world.rest("POST", "/v1/vips", {"address": address, "port": int(port), "protocol": "tcp", "forward": "dr"})
    world.rest("PUT", f"{world.vip_path}/health-check", CHECK)
    for backend in world.backends:
        if backend.forward == "dr":
            world.rest("POST", f"{world.vip_path}/backends", {"address": backend.address, "weight": backend.weight})
        else:
            options = ["--weight", str(backend.weight), "--forward", backend.forward]
            world.cli_or_raise("backend", "add", world.vip, backend.address, *options)
    up = wait_for(lambda: all(state.up for state in world.states().values()), READY_SECONDS)
    reasons = "; ".join(f"{name} {state.word} {state.reason}" for name, state in world.states().items())
    screen.expect(up, "all four backends have passed their checks", reasons)
    vip = world.rest("GET", world.vip_path)
    asked, observed = vip["generation"], vip["status"]["observed_generation"]
    screen.expect(observed >= asked, f"the data plane has generation {asked}, the latest", f"it has {observed}")
    shown = world.cli("backend", "ls", world.vip)
    for line in shown.stdout.splitlines():
        screen.say(line)
