# SPDX-License-Identifier: Apache-2.0
"""Prepare a backend's host for a VIP, as `xdplb.net.backend_host` does, with xdplb's own decapsulation at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xdplb.model.vip import Forward
from xdplb.net import backend_host
from xdplb.net.backend_host import Finding, PutBack
from xdplb.net.links import link
from xdplb.net.setup_log import HostSetup, SetupLog
from xdplb.net.undo_log import VipHost

from .decap import HostDecap
from .privileges import require_privileges

__all__ = ["Finding", "HostSetup", "PutBack", "Shown", "preview_setup", "preview_undo", "setup", "show", "undo"]


def setup(vip: VipHost, how: HostSetup, *, state_dir: Path, pin_dir: Path) -> list[str]:
    """Make this host ready for `vip`; return a sentence for each thing changed, none if it was ready."""
    require_privileges("changing this host's network settings")
    _require_interface(how.interface)
    return backend_host.setup(vip, how, decap=HostDecap(pin_dir), state_dir=state_dir)


def preview_setup(vip: VipHost, how: HostSetup, *, pin_dir: Path) -> list[str]:
    """Return what is not ready for `vip` yet, a sentence each."""
    findings = backend_host.show(vip, how, decap=HostDecap(pin_dir))
    return [finding.text for finding in findings if not finding.good]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a VIP needs of this host for one kind of forwarding; `recorded`: this host was set up for that."""

    forward: Forward
    recorded: bool
    findings: list[Finding]


def show(vip: VipHost, given: HostSetup, *, any_forward: bool, state_dir: Path, pin_dir: Path) -> list[Shown]:
    """Return everything that `vip` needs of this host, each with whether the host has it.

    With `any_forward` that is for each kind of forwarding that `setup` set this host up for, and for that of `given` if
    there is none. What is not given is as it was set up.
    """
    _require_interface(given.interface)
    recorded = [each for each in SetupLog(state_dir).of(vip) if any_forward or each.forward is given.forward]
    return [
        Shown(each.forward, bool(recorded), backend_host.show(vip, each, decap=HostDecap(pin_dir)))
        for each in [_overlaid(each, given) for each in recorded] or [given]
    ]


def _overlaid(recorded: HostSetup, given: HostSetup) -> HostSetup:
    return HostSetup(
        recorded.forward,
        given.interface or recorded.interface,
        given.outer or recorded.outer,
        given.via or recorded.via,
        given.clients or recorded.clients,
    )


def undo(vip: VipHost, *, state_dir: Path, pin_dir: Path) -> list[str]:
    """Put back what `setup` changed for `vip` and no other VIP needs; return a sentence for each."""
    require_privileges("changing this host's network settings")
    return backend_host.undo(vip, decap=HostDecap(pin_dir), state_dir=state_dir)


def preview_undo(vip: VipHost, *, state_dir: Path, pin_dir: Path) -> list[PutBack]:
    """Return what `undo` would do, and what would stay and why."""
    return backend_host.preview_undo(vip, decap=HostDecap(pin_dir), state_dir=state_dir)


def _require_interface(interface: str | None) -> None:
    """Raise NotFoundError, which names the NICs there are, if there is no NIC of that name."""
    if interface is not None:
        link(interface)
