# SPDX-License-Identifier: Apache-2.0
"""Prepare a backend's host for a VIP, report what is missing, and undo it.

With dr, ipip and gue, the packet that finally arrives is addressed to the VIP. So the host must have the VIP's address,
must not answer ARP for it, and must first unwrap what comes in a tunnel. With nat, the host's answers must leave by the
balancer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from xdplb.model.errors import ConflictError, NotFoundError, PlatformError
from xdplb.model.vip import Forward

from . import links
from .backend_nat_needs import check_nat, impossible, nat_needs, past_the_balancer
from .backend_needs import Need, Way, load_tunnels, needs
from .host_lock import host_lock
from .host_settings import DefaultRoute, Setting, from_key
from .setup_log import HostSetup, SetupLog
from .tunnel_settings import Decap, DecapSetting
from .undo_log import UndoEntry, UndoLog, VipHost

__all__ = ["Finding", "PutBack", "preview_undo", "setup", "show", "undo"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a VIP needs of this host: whether the host has it, and a sentence."""

    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """What undo does with one setting: whether it writes it, and a sentence, empty if there is nothing to say."""

    setting: Setting
    writes: bool
    text: str


def setup(vip: VipHost, how: HostSetup, *, decap: Decap, state_dir: Path) -> list[str]:
    """Make this host ready for `vip`; return a sentence for each thing changed, none if it was ready.

    Each setting is saved under `state_dir` before it is changed, so that `undo` works after a crash too. What is known
    to fail is checked before anything is changed. Waits for another process that changes the host.
    """
    for sentence in _obstacles(vip, how):
        raise ConflictError(sentence)
    if how.forward is not Forward.NAT:
        load_tunnels(_way(vip, how))
    wanted = _needs(vip, how, decap)
    _require_decap(wanted, decap)
    with host_lock(state_dir):
        changed = _meet(vip, wanted, UndoLog(state_dir))
        SetupLog(state_dir).note(vip, how)
    return changed


def _meet(vip: VipHost, wanted: Sequence[Need], log: UndoLog) -> list[str]:
    changed: list[str] = []
    for need in wanted:
        before = need.setting.read()
        if need.good(before):
            log.share(vip, need.setting.key)
            continue
        log.note(vip, need.setting.key, before, need.value)
        need.setting.write(need.value)
        changed.append(f"{need.setting.sentence(need.value)} now (before: {before or 'none'}), {need.why}")
    return changed


def show(vip: VipHost, how: HostSetup, *, decap: Decap) -> list[Finding]:
    """Return everything that `vip` needs of this host, each with whether the host has it. Changes nothing."""
    wrong = [*_obstacles(vip, how), *(past_the_balancer(vip, how) if how.forward is Forward.NAT else ())]
    findings = [Finding(good=False, text=text) for text in wrong]
    for need in _needs(vip, how, decap):
        value = need.setting.read()
        good = need.good(value)
        text = need.setting.sentence(value)
        findings.append(Finding(good, text if good else f"{text}, but should be {need.value}, {need.why}"))
    return findings


def undo(vip: VipHost, *, decap: Decap, state_dir: Path) -> list[str]:
    """Put back what `setup` changed for `vip` and no other VIP needs; return a sentence for each.

    A setting that somebody else has changed since stays as it is, with a sentence that says so. Waits for another
    process that changes the host.
    """
    done: list[str] = []
    with host_lock(state_dir):
        log = UndoLog(state_dir)
        for entry in log.of(vip):
            step = _put_back(vip, entry, decap)
            if step.writes:
                step.setting.write(entry.before)
            log.forget(vip, entry)
            done.append(step.text)
        SetupLog(state_dir).forget(vip)
    return [text for text in done if text]


def preview_undo(vip: VipHost, *, decap: Decap, state_dir: Path) -> list[PutBack]:
    """Return what `undo` would do and say. Changes nothing."""
    steps = [_put_back(vip, entry, decap) for entry in UndoLog(state_dir).of(vip)]
    return [step for step in steps if step.text]


def _put_back(vip: VipHost, entry: UndoEntry, decap: Decap) -> PutBack:
    setting = from_key(entry.key, decap)
    others = [other for other in entry.vips if other != str(vip)]
    now = _read_or_none(setting)
    text = ""
    if others:
        need = "needs" if len(others) == 1 else "need"
        text = f"{setting.sentence(entry.after)}: it stays, because {', '.join(others)} {need} it"
    elif now is None:
        text = f"{entry.key} no longer exists, so there is nothing to restore"
    elif now == entry.after:
        return PutBack(setting, writes=True, text=f"{setting.sentence(entry.before)} again")
    elif now != entry.before:
        text = f"{setting.sentence(now)}: it was changed since, so it is not restored"
    return PutBack(setting, writes=False, text=text)


def _require_decap(wanted: Sequence[Need], decap: Decap) -> None:
    for need in wanted:
        if isinstance(need.setting, DecapSetting) and not need.good(need.setting.read()):
            decap.require()


def _obstacles(vip: VipHost, how: HostSetup) -> Iterator[str]:
    """Yield a sentence for each thing that somebody else has to change. Raises InvalidError for what cannot be."""
    if how.forward is Forward.NAT:
        check_nat(vip, how)
        yield from impossible(how)
    yield from _elsewhere(vip)


def _needs(vip: VipHost, how: HostSetup, decap: Decap) -> list[Need]:
    return nat_needs(vip, how) if how.forward is Forward.NAT else needs(_way(vip, how), decap)


def _way(vip: VipHost, how: HostSetup) -> Way:
    version = vip.version if how.outer is None or how.forward is Forward.DR else how.outer
    return Way(vip, how.forward, how.interface or _default_interface(version), version)


def _default_interface(version: int) -> str:
    """Return the NIC of this family's default route, or of the other family's if this one has none."""
    for family in (version, 10 - version):
        found = re.search(r" dev (\S+)", DefaultRoute(family).read())
        if found:
            return found[1]
    raise PlatformError("this host has no default route, so its NIC is unknown", hint="name the NIC with --interface")


def _elsewhere(vip: VipHost) -> list[str]:
    """Return a sentence for each NIC but lo that has the VIP's address."""
    if not isinstance(vip, IPv4Address | IPv6Address):
        return []
    protocol = "ARP" if vip.version == 4 else "neighbour discovery"
    return [
        f"{vip} is on {name}, which answers {protocol} for the VIP: remove it with `ip address del {vip} dev {name}`"
        for name in links.holders(vip)
        if name != "lo"
    ]


def _read_or_none(setting: Setting) -> str | None:
    try:
        return setting.read()
    except (PlatformError, NotFoundError):
        return None
