# SPDX-License-Identifier: Apache-2.0
"""The steps in which something breaks: a backend dies and comes back, and the daemon is killed with -9."""

from __future__ import annotations

import time

from .claims import expect_none_failed, expect_spread, print_spread
from .screen import Screen
from .traffic import Traffic, burst, failures, spread
from .world import Backend, World, wait_for

__all__ = ["kill_backend", "kill_daemon"]

PER_SECOND = 100
CONNECTIONS = 2400
WAIT_SECONDS = 180


def kill_backend(world: World, screen: Screen) -> None:
    """Kill one backend's server under traffic, then start it again."""
    victim, before = world.backends[-1], world.shares()
    with Traffic(world.spawn_in_client, world.url, per_second=PER_SECOND) as traffic:
        time.sleep(1)
        screen.step(f"Kill the server of {victim.name} while {PER_SECOND} requests a second run")
        _expect_out_of_rotation(world, screen, traffic, victim)
        screen.step(f"Start the server of {victim.name} again")
        _expect_back(world, screen, traffic, victim)
    after = world.shares()
    screen.expect(after == before, "each backend has exactly the share it had before", f"{before}, now {after}")
    expect_spread(world, screen, burst(world.spawn_in_client, world.url, CONNECTIONS))


def _expect_out_of_rotation(world: World, screen: Screen, traffic: Traffic, victim: Backend) -> None:
    killed = time.monotonic()
    world.kill_server(victim)
    out = wait_for(lambda: world.shares()[victim.name] == 0, WAIT_SECONDS)
    noticed = time.monotonic()
    reason = world.states()[victim.name].reason
    screen.expect(out, f"out of rotation after {noticed - killed:.1f} s: {reason}")
    time.sleep(3)
    lost = len(failures(traffic.since(killed))) - len(failures(traffic.since(noticed)))
    screen.say(f"        before that, {lost} requests to it failed")
    later = traffic.since(noticed)
    print_spread(world, screen, later)
    expect_none_failed(screen, later, f"none of the {len(later)} requests after that failed")


def _expect_back(world: World, screen: Screen, traffic: Traffic, victim: Backend) -> None:
    started = time.monotonic()
    world.start_server(victim)
    back = wait_for(lambda: world.states()[victim.name].up, WAIT_SECONDS)
    again = time.monotonic()
    screen.expect(back, f"back in rotation after {again - started:.1f} s")
    time.sleep(1)
    expect_none_failed(screen, traffic.since(started), "no request failed meanwhile")
    screen.expect(spread(traffic.since(again))[victim.name] > 0, f"{victim.name} gets connections again")


def kill_daemon(world: World, screen: Screen) -> None:
    """Kill the daemon with -9 under traffic and start it again: it takes over the running data plane."""
    screen.step("Kill the daemon with -9 under traffic, and start it again")
    program, shares = world.attachment(), world.shares()
    with Traffic(world.spawn_in_client, world.url, per_second=PER_SECOND) as traffic:
        time.sleep(0.5)
        killed = time.monotonic()
        world.kill_daemon()
        status = world.cli("status")
        screen.expect(status.returncode == 3, "the daemon is gone", f"xdplb status exits with {status.returncode}")
        time.sleep(2)
        without = traffic.since(killed)
        expect_none_failed(screen, without, f"none of {len(without)} requests without a daemon failed")
        started = time.monotonic()
        world.start_daemon()
        ready = world.daemon_is_ready(WAIT_SECONDS)
        took = time.monotonic() - started
        screen.expect(ready, f"ready again after {took:.1f} s", world.daemon_said())
        time.sleep(1)
        expect_none_failed(screen, traffic.since(started), "no request failed while it took over")
    now = world.attachment()
    screen.expect(
        now == program,
        f"it took over program {program['program_id']}: nothing was compiled or attached",
        f"{program} before, {now} now",
    )
    after = world.shares()
    screen.expect(after == shares, "every backend has the same share as before", f"{shares}, now {after}")
