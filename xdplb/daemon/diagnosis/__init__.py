"""What `xdplb doctor` checks: the host, its NICs, and the daemon that runs on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, Level
from .host import examine_host
from .nic import examine_nic
from .running import AskDaemon, Running, ask_or_warn, examine_daemon

__all__ = ["Finding", "Level", "Running", "diagnose"]


def diagnose(interface: str | None, pin_dir: Path, ask: AskDaemon) -> Iterator[Finding]:
    """Yield a finding for each thing that xdplb needs, as it is found. Changes nothing.

    Without `interface` the NICs are those that the daemon was told to balance on. `ask` returns what the daemon says,
    None if none runs, and raises XdplbError for an answer that is of no use.
    """
    yield from examine_host(pin_dir)
    running, warning = ask_or_warn(ask)
    for name in [interface] if interface else running.interfaces if running else []:
        yield from examine_nic(name, pin_dir, running.note(name) if running else "")
    if warning is not None:
        yield warning
    else:
        yield from examine_daemon(running)
