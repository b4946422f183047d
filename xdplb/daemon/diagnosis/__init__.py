# SPDX-License-Identifier: Apache-2.0
"""What `xdplb doctor` checks: the host, its NICs, and the daemon that runs on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.net.route_facts import has_multipath

from .announcing import examine_announcing, examine_hashing, readers
from .finding import Finding, Level, ok, warn
from .host import examine_host
from .keepalived import examine_keepalived
from .nic import examine_nic
from .place import Place
from .rights import examine_rights
from .running import AskDaemon, Running, ask_or_say, examine_daemon

__all__ = ["Finding", "Level", "Place", "Running", "diagnose"]


DEFAULT_PIN_DIR = Path("/sys/fs/bpf/xdplb")


def diagnose(interface: str | None, pin_dir: Path | None, ask: AskDaemon) -> Iterator[Finding]:
    """Yield a finding for each thing that xdplb needs, as it is found. Changes nothing but this thread's namespace.

    Without `interface` the NICs are those that the daemon was told to balance on; they and, without `pin_dir`, the pins
    are looked at where the daemon runs. `ask` returns what the daemon says, None if none runs, and raises XdplbError
    for an answer that is of no use.
    """
    running, unanswered = ask_or_say(ask)
    place = running.place if running else None
    if place is not None and not place.is_this_host:
        yield ok("host", "the daemon runs on another host, so this one was not checked: run xdplb doctor there")
        yield from examine_daemon(running, nics_here=False)
        return
    unseen: Finding | None = None
    if place is not None:
        try:
            pins = place.enter()
            pin_dir = pin_dir or pins
        except PlatformError as error:
            unseen = warn("daemon's namespace", error.detail, error.hint)
    yield from examine_host(pin_dir or DEFAULT_PIN_DIR)
    nics = [interface] if interface else running.interfaces if running else []
    for name in nics if unseen is None else []:
        yield from examine_nic(name, pin_dir or DEFAULT_PIN_DIR, running.note(name) if running else "")
    if unseen is not None:
        yield unseen
    else:
        yield from examine_hashing(has_multipath)
    if unanswered is not None:
        yield unanswered
    else:
        yield from examine_daemon(running, nics_here=unseen is None)
        if running is not None and running.node is not None and unseen is None:
            yield from examine_announcing(running.node, running.status["vips"], found=readers())
        if place is not None and unseen is None:
            yield from examine_rights(place.pid)
        if running is not None and unseen is None:
            yield from examine_keepalived(running.status["vips"])
