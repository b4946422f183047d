"""Prepare the host of a backend for a VIP, say what is right and wrong with it, and put it back as it was.

With DR and IPIP alike the packet that arrives is addressed to the VIP, so the host must have that address, must not
tell the segment about it (ARP), and with IPIP must unwrap it first.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from xdplb.model.errors import ConflictError, NotFoundError, PlatformError
from xdplb.model.vip import Forward

from . import links
from .host_settings import (
    PRESENT,
    UP,
    Decap,
    DecapSetting,
    DefaultRoute,
    LinkUp,
    Loopback,
    Setting,
    Sysctl,
    from_key,
)
from .undo_record import Change, UndoRecord

__all__ = ["Finding", "PutBack", "foretell_undo", "setup", "show", "undo"]

_TUNNEL = "tunl0"
_IPIP_HEADER_BYTES = 20
_TCP_IP_HEADER_BYTES = 40
_LOOSE = "2"
_QUIET_ARP = ("1", "2", "8")  # 3 keeps quiet for addresses of host scope only


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a VIP needs of this host: whether it is so, and a sentence."""

    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """What undoing does with one setting: whether it is written, and a sentence, empty if there is nothing to say."""

    setting: Setting
    writes: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Need:
    """A setting, whether a value of it will do, what to make it otherwise, and why."""

    setting: Setting
    good: Callable[[str], bool]
    value: str
    why: str


def setup(
    vip: IPv4Address, forward: Forward, *, decap: Decap, state_dir: Path, interface: str | None = None
) -> list[str]:
    """Make this host ready for `vip`; return a sentence for each thing changed, none if it was ready.

    `interface` is the NIC the packets come in by, by default that of the default route. What was there before is
    noted under `state_dir` first, so that `undo` works whatever happens in between. What can be known to fail is
    asked for before anything is changed.
    """
    _refuse_elsewhere(vip)
    if forward is Forward.IPIP:
        _load_tunnel_module()
    record = UndoRecord(state_dir)
    needs = _needs(vip, forward, interface or _default_interface(), decap)
    _require_decap(needs, decap)
    changed: list[str] = []
    for need in needs:
        before = need.setting.read()
        if need.good(before):
            record.share(vip, need.setting.key)
            continue
        record.note(vip, need.setting.key, before, need.value)
        need.setting.write(need.value)
        changed.append(f"{need.setting.sentence(need.value)} now (before: {before}), {need.why}")
    return changed


def show(vip: IPv4Address, forward: Forward, *, decap: Decap, interface: str | None = None) -> list[Finding]:
    """Return everything `vip` needs of this host, each with whether it is so. Changes nothing."""
    findings = [Finding(good=False, text=text) for text in _elsewhere(vip)]
    for need in _needs(vip, forward, interface or _default_interface(), decap):
        value = need.setting.read()
        good = need.good(value)
        text = need.setting.sentence(value)
        findings.append(Finding(good, text if good else f"{text}, but should be {need.value}, {need.why}"))
    return findings


def undo(vip: IPv4Address, *, decap: Decap, state_dir: Path) -> list[str]:
    """Put back what `setup` changed for `vip` and no other VIP needs; return a sentence for each.

    What somebody else has changed since is left as it is, and said.
    """
    record = UndoRecord(state_dir)
    done: list[str] = []
    for change in record.of(vip):
        step = _put_back(vip, change, decap)
        if step.writes:
            step.setting.write(change.before)
        record.forget(vip, change)
        done.append(step.text)
    return [text for text in done if text]


def foretell_undo(vip: IPv4Address, *, decap: Decap, state_dir: Path) -> list[PutBack]:
    """Return what `undo` would do and say. Changes nothing."""
    steps = [_put_back(vip, change, decap) for change in UndoRecord(state_dir).of(vip)]
    return [step for step in steps if step.text]


def _put_back(vip: IPv4Address, change: Change, decap: Decap) -> PutBack:
    setting = from_key(change.key, decap)
    others = [other for other in change.vips if other != str(vip)]
    now = _read_or_none(setting)
    text = ""
    if others:
        text = f"{setting.sentence(change.after)} still, since {', '.join(others)} needs it"
    elif now is None:
        text = f"{change.key} is gone, so there is nothing to put back"
    elif now == change.after:
        return PutBack(setting, writes=True, text=f"{setting.sentence(change.before)} again")
    elif now != change.before:
        text = f"{setting.sentence(now)}: changed by somebody since, left as it is"
    return PutBack(setting, writes=False, text=text)


def _require_decap(needs: Sequence[_Need], decap: Decap) -> None:
    for need in needs:
        if isinstance(need.setting, DecapSetting) and not need.good(need.setting.read()):
            decap.require()


def _needs(vip: IPv4Address, forward: Forward, interface: str, decap: Decap) -> list[_Need]:
    """Return what is needed, in the order to do it: silent before it has the address."""
    needs = [
        _Need(Sysctl("all", "arp_ignore"), _QUIET_ARP.__contains__, "1", "so that no NIC answers ARP for the VIP"),
        _Need(Sysctl("all", "arp_announce"), "2".__eq__, "2", "so that no NIC asks by ARP in the VIP's name"),
    ]
    entrance = interface
    if forward is Forward.IPIP:
        tunnel = _tunnel(interface, decap)
        entrance = _TUNNEL if isinstance(tunnel.setting, LinkUp) else interface
        needs += [tunnel, *_small_segments(interface)]
    if _exit_interface() not in {None, entrance}:
        why = f"since clients' packets come in by {entrance} and answers leave by another NIC"
        needs.append(_Need(Sysctl(entrance, "rp_filter"), lambda _: not _strict(entrance), _LOOSE, why))
    present = _Need(Loopback(vip), PRESENT.__eq__, PRESENT, "so that this host takes packets for the VIP")
    return [*needs, present]


def _tunnel(interface: str, decap: Decap) -> _Need:
    if _has_tunnel():
        return _Need(LinkUp(_TUNNEL), UP.__eq__, UP, "to unwrap IPIP")
    why = "to unwrap IPIP, since this kernel has no ipip module"
    return _Need(DecapSetting(interface, decap), UP.__eq__, UP, why)


def _small_segments(interface: str) -> list[_Need]:
    """Have clients send segments that still fit once they are wrapped.

    The route is the one place that needs neither a firewall nor the service's help. It concerns all TCP connections
    by that route, which only get slightly smaller segments.
    """
    largest = links.link(interface).mtu - _TCP_IP_HEADER_BYTES - _IPIP_HEADER_BYTES
    route = DefaultRoute()
    text = route.read()
    if not text or "nexthop" in text or "nhid" in text:
        return []
    wanted = f"{re.sub(r' advmss [0-9]+', '', text)} advmss {largest}"

    def fits(value: str) -> bool:
        found = re.search(r" advmss (\d+)", value)
        return found is not None and int(found[1]) <= largest

    return [_Need(route, fits, wanted, f"so that uploads of full segments fit {interface} after encapsulation")]


def _strict(interface: str) -> bool:
    """Return whether packets are dropped here for coming in by another NIC than answers leave by.

    The kernel takes the greater of `all` and the interface's own value, and 2 is looser than 1.
    """
    return max(int(Sysctl(scope, "rp_filter").read()) for scope in ("all", interface)) == 1


def _exit_interface() -> str | None:
    found = re.search(r" dev (\S+)", DefaultRoute().read())
    return found[1] if found else None


def _default_interface() -> str:
    name = _exit_interface()
    if name is None:
        raise PlatformError(
            "this host has no default route, so its NIC is not known", hint="name the NIC with --interface"
        )
    return name


def _elsewhere(vip: IPv4Address) -> list[str]:
    return [
        f"{vip} is on {name}, where it answers ARP for the VIP: take it away with `ip address del {vip} dev {name}`"
        for name in links.holders(vip)
        if name != "lo"
    ]


def _refuse_elsewhere(vip: IPv4Address) -> None:
    for sentence in _elsewhere(vip):
        raise ConflictError(sentence)


def _has_tunnel() -> bool:
    return _TUNNEL in links.names()


def _load_tunnel_module() -> None:
    """Ask for the module; without it, or without modprobe, xdplb's own decapsulation is used."""
    if not _has_tunnel():
        try:
            subprocess.run(["modprobe", "--quiet", "ipip"], capture_output=True, check=False)  # noqa: S607
        except FileNotFoundError:
            return


def _read_or_none(setting: Setting) -> str | None:
    try:
        return setting.read()
    except (PlatformError, NotFoundError):
        return None
