"""The daemon that `xdplb up` runs: it puts the parts of a balancer together, serves the API, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import xdplb
from xdplb.control.health.checks import Checker, HealthSource
from xdplb.control.manager import Manager
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.needs import features_needed_at_start
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.loader import LoadOptions, load
from xdplb.dataplane.plane import Attachment, DataPlane
from xdplb.net.icmp_errors import IcmpErrors, IcmpErrorSource
from xdplb.net.links import vlan_devices
from xdplb.net.next_hops import NextHops, NextHopSource
from xdplb_api.app import create_app
from xdplb_api.listener import Listener, listen
from xdplb_api.server import serve

from .holder import RUN_DIR, Holder, hold
from .options import DaemonOptions, require_host
from .systemd import notify

__all__ = ["Parts", "run"]

_log = logging.getLogger("xdplb")


def _load(options: DaemonOptions, features: Features) -> DataPlane:
    if vlan_devices(options.interfaces):
        features |= {Feature.VLAN}
    return load(
        LoadOptions(
            interfaces=options.interfaces,
            mode=options.mode,
            pin_dir=options.pin_dir,
            capacity=options.capacity,
            features=features,
        )
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """The functions that make the parts which touch the host. Tests pass others."""

    require_host: Callable[[DaemonOptions], None] = require_host
    load: Callable[[DaemonOptions, Features], DataPlane] = _load
    next_hops: Callable[[], NextHopSource] = NextHops
    checker: Callable[[], HealthSource] = Checker
    icmp_errors: Callable[[], IcmpErrorSource] = IcmpErrors
    run_dir: Path = field(default=RUN_DIR)


def run(options: DaemonOptions, parts: Parts | None = None) -> None:
    """Balance until SIGTERM or SIGINT. What is attached stays attached.

    Everything that can be refused is checked before the NIC is touched: the host, the locks, the listening socket, the
    state. Raises ConflictError where another process holds one of them, and PlatformError for what the host refuses.
    """
    parts = parts or Parts()
    parts.require_host(options)
    _log_to_stderr()
    holder = Holder(os.getpid(), options.interfaces, str(options.pin_dir), str(options.state_dir))
    with hold(holder, parts.run_dir):
        listener = listen(options.listen)
        try:
            plane = parts.load(options, _features_at_start(options.state_dir))
            asyncio.run(_balance(options, parts, plane, listener))
        finally:
            listener.close()


def _features_at_start(state_dir: Path) -> Features:
    """Return the features that the stored state needs, so that the program is compiled only once.

    Raises the error that the manager would raise later, when the program would already be on the NIC.
    """
    store = SqliteStore(state_dir)
    snapshot, _ = store.open()
    store.close()
    return features_needed_at_start(snapshot, Observed())


async def _balance(options: DaemonOptions, parts: Parts, plane: DataPlane, listener: Listener) -> None:
    manager = Manager(
        plane,
        SqliteStore(options.state_dir),
        parts.next_hops(),
        parts.checker(),
        icmp_errors=parts.icmp_errors(),
        tunnel_sources=options.tunnel_sources,
    )
    attached = [_described(attachment) for attachment in plane.attachments()]

    def started() -> None:
        _log.info("balancing on %s; the API is on %s", ", ".join(attached), listener)
        notify(f"READY=1\nSTATUS=balancing on {', '.join(attached)}")

    await manager.start()
    try:
        app = create_app(manager, version=xdplb.__version__)
        await serve(app, listener, on_started=started, on_stopping=manager.capturer.end)
    finally:
        notify("STOPPING=1")
        await manager.stop()
    names = " ".join(options.interfaces)
    _log.info("stopped; the program stays on %s and keeps forwarding: xdplb down %s detaches it", names, names)


def _described(attachment: Attachment) -> str:
    return f"{attachment.interface} ({attachment.mode})"


def _log_to_stderr() -> None:
    """Log to stderr. The journal adds the time and the name of the service itself."""
    in_journal = "JOURNAL_STREAM" in os.environ
    layout = "%(levelname)s %(message)s" if in_journal else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=layout)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # we log the start and the stop ourselves
