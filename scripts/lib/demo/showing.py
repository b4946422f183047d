# SPDX-License-Identifier: Apache-2.0
"""The steps in which nothing breaks: the spread over the backends, a drain, and `down`."""

from __future__ import annotations

import time

from .claims import expect_none_failed, expect_spread, print_spread
from .download import Download
from .screen import Screen
from .traffic import burst, spread
from .world import Backend, World, wait_for

__all__ = ["drain", "show_spread", "take_down"]

CONNECTIONS = 2400
FEWER_CONNECTIONS = 400
SLOT = 1 / 65537
WAIT_SECONDS = 90
DOWNLOAD_BYTES = 60_000_000
DOWNLOAD_SECONDS = 10.0


def show_spread(world: World, screen: Screen) -> None:
    """Compare the spread of new connections with the weights."""
    screen.step(f"Send {CONNECTIONS} connections, and compare their spread with the weights")
    screen.command(["curl", f"{world.url}?[1-{CONNECTIONS}]"], where="client")
    requests = burst(world.spawn_in_client, world.url, CONNECTIONS)
    expect_spread(world, screen, requests)
    expect_none_failed(screen, requests, f"none of {CONNECTIONS} requests failed")
    total, shares = sum(backend.weight for backend in world.backends), world.shares()
    off = max(abs(shares[backend.name] - backend.weight / total) for backend in world.backends)
    screen.expect(off <= SLOT, "the shares of the table match the weights to one slot of 65537", f"off by {off:.6f}")


def drain(world: World, screen: Screen) -> None:
    """Drain the backend that serves a long download: it completes, and new connections go elsewhere."""
    screen.step(f"Drain a backend during a download of {DOWNLOAD_BYTES / 1e6:.0f} MB that takes {DOWNLOAD_SECONDS:g} s")
    download = _start_download(world)
    screen.command(download.command, where="client")
    backend = next((one for one in world.backends if one.name == download.backend), None)
    screen.expect(backend is not None, f"{download.backend} serves the download", "no backend serves it")
    if backend is None:
        return
    began = time.monotonic()
    waiting = world.spawn_cli("backend", "drain", world.vip, backend.address, "--wait", "--timeout", "60s")
    _expect_new_ones_elsewhere(world, screen, backend)
    _expect_one_flow(world, screen, download, backend)
    problem = download.finish(timeout=60)
    screen.expect(not problem, f"the download is complete, all {DOWNLOAD_BYTES} bytes are correct", problem)
    screen.expect(waiting.poll() is None, "the drain waited for it", f"it had exited with {waiting.returncode}")
    _, said = waiting.communicate(timeout=60)
    screen.expect(waiting.returncode == 0, f"drained after {time.monotonic() - began:.0f} s in total", said.strip())
    world.cli_or_raise("backend", "undrain", world.vip, backend.address)


def _start_download(world: World) -> Download:
    """Start a download on a backend other than the one whose server was killed.

    A request that the kill cut off may still count as an open connection of that backend: the reset went straight from
    the backend to the client, so the balancer did not see it.
    """
    while True:
        download = Download(
            world.spawn_in_client, world.url, size=DOWNLOAD_BYTES, seconds=DOWNLOAD_SECONDS, folder=world.lab.folder
        )
        if download.backend != world.backends[-1].name:
            return download
        download.cancel()


def _expect_new_ones_elsewhere(world: World, screen: Screen, backend: Backend) -> None:
    wait_for(lambda: world.shares()[backend.name] == 0, WAIT_SECONDS)
    requests = burst(world.spawn_in_client, world.url, FEWER_CONNECTIONS)
    print_spread(world, screen, requests)
    expect_none_failed(screen, requests, f"none of {len(requests)} new connections failed during the drain")
    went = spread(requests)[backend.name]
    screen.expect(went == 0, f"none of them went to {backend.name}", f"{went} of them did")


def _expect_one_flow(world: World, screen: Screen, download: Download, backend: Backend) -> None:
    """Check that only the download is left; the daemon sees that at its next scan of the flow table."""
    wait_for(lambda: world.states()[backend.name].flows == 1, WAIT_SECONDS)
    flows, received = world.states()[backend.name].flows, download.received
    claim = f"{backend.name} has 1 open connection left, the download ({received / 1e6:.0f} MB so far)"
    screen.expect(flows == 1 and download.running, claim, f"flows is {flows}")


def take_down(world: World, screen: Screen) -> None:
    """Stop the daemon, which leaves the data plane running; then take that down too."""
    screen.step("Stop the daemon; packets still flow until xdplb down")
    status = world.stop_daemon()
    screen.expect(status == 0, "the daemon stopped", f"it exited with {status}: {world.daemon_said()}")
    requests = burst(world.spawn_in_client, world.url, FEWER_CONNECTIONS)
    expect_none_failed(screen, requests, f"none of {FEWER_CONNECTIONS} requests without a daemon failed")
    down = world.down()
    screen.expect(down.returncode == 0, "xdplb down succeeded", down.stderr.strip())
    screen.expect(not world.xdp_on_nic(), "eth0 has no XDP program any more")
    left = world.pins()
    screen.expect(not left, "nothing is pinned any more", ", ".join(left))
