# SPDX-License-Identifier: Apache-2.0
"""`scripts/demo rolling`: all backends are restarted one after the other under load, each once its drain is over."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from xdplb.net.lab import VIP

from . import preparing, showing
from .rolling_service import QUIC_PORT, server_id
from .screen import Screen
from .world import PORT, Backend, DemoError, World, wait_for

__all__ = ["SERVICE", "STEPS"]

SERVICE = "demo.rolling_service"
UP_SECONDS = 90
DRAIN_SECONDS = 90
QUIET_SECONDS = 7
"""More than the idle timeout of the VIP of TCP, so that no connection can be open and not be seen."""

LOAD_SECONDS = 3
UDP, QUIC = f"{VIP}:{PORT}/udp", f"{VIP}:{QUIC_PORT}/udp"
VIPS = {"tcp": f"{VIP}:{PORT}/tcp", "udp": UDP, "quic": QUIC}

_HEADINGS = ("BACKEND", "VIP", "OUTCOME", "SEEN", "ENDED", "HANDED", "CUT", "UNSEEN", "TOOK")


def add_udp(world: World, screen: Screen) -> None:
    """Add the VIPs of UDP: one that records each flow, and one that goes by QUIC connection IDs."""
    screen.step("Add two VIPs of UDP: one with a record of each flow, one that goes by QUIC connection IDs")
    world.cli_or_raise("vip", "set", world.vip, "--idle-timeout", "6s")
    check = ["--check", "http", "--check-port", str(PORT), "--check-interval", "300ms"]
    world.cli_or_raise("vip", "add", UDP, "--tracking", "always", "--idle-timeout", "4s", *check)
    world.cli_or_raise("vip", "add", QUIC, "--quic-server-id-bytes", "2", *check)
    for backend in world.backends:
        how = ["--weight", str(backend.weight), "--forward", backend.forward]
        world.cli_or_raise("backend", "add", UDP, backend.address, *how)
        named = ["--quic-server-id", server_id(backend.name).hex()]
        world.cli_or_raise("backend", "add", QUIC, backend.address, *how, *named)
    serving = wait_for(lambda: all(_serves(world, backend) for backend in world.backends), UP_SECONDS)
    screen.expect(serving, "all four backends serve all three VIPs")


def restart_all(world: World, screen: Screen) -> None:
    """Restart every backend under load, and show what came of it."""
    load = world.spawn_in_client(
        [sys.executable, "-m", "demo.rolling_load", str(VIP), str(PORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(LOAD_SECONDS)
    rows = []
    for backend in world.backends:
        screen.step(f"Restart {backend.name} under load: drain it in all VIPs, stop its service, start it, undrain it")
        rows += _restart(world, screen, backend)
    time.sleep(LOAD_SECONDS)
    said, _ = load.communicate(timeout=60)
    screen.step("What came of it")
    screen.table(_HEADINGS, rows)
    for name, figures in json.loads(said).items():
        failed = figures["failed"]
        claim = f"{figures['done']:6} {name}: none failed"
        screen.expect(not failed and figures["done"] > 0, claim, f"{len(failed)} failed, such as: {failed[:2]}")


def _restart(world: World, screen: Screen, backend: Backend) -> list[tuple[str, ...]]:
    """Restart one backend; return a row of the table for each VIP."""
    options = ["--wait", "--timeout", f"{DRAIN_SECONDS}s", "--quiet", f"{QUIET_SECONDS}s"]
    drained = world.cli("backend", "drain", "--all-vips", backend.address, *options)
    screen.expect(drained.returncode == 0, f"{backend.name} is drained in all VIPs", drained.stderr.strip())
    rows = [_row(backend, name, _certificate(world, vip, backend)) for name, vip in VIPS.items()]
    world.kill_server(backend)
    world.start_server(backend)
    if not wait_for(lambda: world.answers(backend), UP_SECONDS):
        raise DemoError(f"the service of {backend.name} did not come back")
    world.cli_or_raise("backend", "undrain", "--all-vips", backend.address)
    serving = wait_for(lambda: _serves(world, backend), UP_SECONDS)
    screen.expect(serving, f"{backend.name} serves again")
    return rows


def _serves(world: World, backend: Backend) -> bool:
    """Whether a backend gets new connections of all VIPs."""
    return all(
        world.rest("GET", f"{_path(vip)}/backends/{backend.address}")["status"]["share"] > 0 for vip in VIPS.values()
    )


def _certificate(world: World, vip: str, backend: Backend) -> dict[str, Any]:
    certificate: dict[str, Any] = world.rest("GET", f"{_path(vip)}/backends/{backend.address}/drain")
    return certificate


def _path(vip: str) -> str:
    return f"/v1/vips/{vip.replace('/', ':')}"


def _row(backend: Backend, name: str, told: dict[str, Any]) -> tuple[str, ...]:
    numbers = (told[field] for field in ("seen", "ended", "handed_over", "cut", "silent_at_most"))
    shown = ("?" if number is None else str(number) for number in numbers)
    return (backend.name, name, told["outcome"], *shown, f"{told['seconds']:.1f} s")


STEPS = (
    preparing.prepare_backends,
    preparing.come_up,
    preparing.balance,
    add_udp,
    restart_all,
    showing.take_down,
)
