# SPDX-License-Identifier: Apache-2.0
"""A keepalived beside the daemon: whether it holds the addresses of the VIPs, and gives them up when it should."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

from xdplb.convert.keepalived.vrrp import Vrrp, VrrpInstance, read_vrrp
from xdplb.model.address import IPAddress
from xdplb.model.errors import InvalidError

from .finding import Finding, ok, warn

__all__ = ["examine_keepalived", "judge"]

_CHECK = "keepalived"
_DEFAULT_FILE = "/etc/keepalived/keepalived.conf"
_LARGEST_FILE = 16 << 20
_PAGE = "docs/ha.md, A pair with keepalived"


def examine_keepalived(vips: Sequence[Mapping[str, Any]], proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Yield what is to be said of the keepalived in this thread's network namespace, nothing if there is none.

    `vips` are those of the API.
    """
    keepalived = _find(proc)
    if keepalived is None:
        return
    try:
        vrrp = keepalived.read()
    except (OSError, InvalidError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        yield warn(_CHECK, f"its configuration {keepalived.file} cannot be read: {why}", "run keepalived --config-test")
        return
    if vrrp.instances:
        yield from judge(vrrp, keepalived.file, vips)


@dataclass(frozen=True, slots=True)
class _Keepalived:
    """A process of keepalived, with what its command line says."""

    process: Path
    file: str
    config_id: str

    def read(self) -> Vrrp:
        """Read its configuration, as it sees it. Raises OSError, InvalidError and UnicodeDecodeError."""
        return read_vrrp(self._text(self.file), self.file, config_id=self.config_id, open_file=self._text)

    def _text(self, name: str) -> str:
        start = "root" if name.startswith("/") else "cwd"
        with (self.process / start / name.lstrip("/")).open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InvalidError(f"{name} is larger than {_LARGEST_FILE >> 20} MiB")
        return content.decode()


def _find(proc: Path) -> _Keepalived | None:
    """Return the keepalived of this thread's network namespace: the process that its others are children of."""
    found: dict[int, Path] = {}
    here = (proc / "thread-self/ns/net").stat().st_ino
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is another user's
            if (process / "comm").read_text() == "keepalived\n" and (process / "ns/net").stat().st_ino == here:
                found[int(process.name)] = process
    for pid, process in sorted(found.items()):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent not in found:
                return _of_command_line(found[pid])
    return None


def _of_command_line(process: Path) -> _Keepalived:
    words = os.fsdecode((process / "cmdline").read_bytes()).rstrip("\0").split("\0")
    file = _option(words, "-f", "--use-file") or _DEFAULT_FILE
    return _Keepalived(process, file, _option(words, "-i", "--config-id") or os.uname().nodename.partition(".")[0])


def _option(words: Sequence[str], short: str, long: str) -> str:
    """Return the value of an option, in any of the ways in which getopt_long takes it."""
    for word, following in pairwise([*words[1:], ""]):
        if word in {short, long}:
            return following
        if word.startswith(f"{long}="):
            return word.partition("=")[2]
        if word.startswith(short) and not word.startswith("--"):
            return word[len(short) :]
    return ""


def judge(vrrp: Vrrp, file: str, vips: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what is to be said of the VRRP in a file, beside these VIPs."""
    held = [address for instance in vrrp.instances for address in instance.addresses]
    names = ", ".join(instance.name for instance in vrrp.instances)
    yield ok(_CHECK, f"{file}: {_listed([str(address) for address in held])} in {names}")
    yield from _without_vip(vrrp, file, vips)
    yield from _without_instance(held, file, vips)
    for instance in vrrp.instances:
        yield from _instance(instance, vrrp, file)
    if vrrp.has_virtual_servers:
        yield warn(
            _CHECK,
            f"{file} also has virtual_server blocks: IPVS balances what xdplb passes to the host",
            "take them out: xdplb config convert makes a config file of them",
        )


def _without_vip(vrrp: Vrrp, file: str, vips: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    networks = [ip_network(vip["address"], strict=False) for vip in vips]
    for instance in vrrp.instances:
        unknown = [
            str(address)
            for address in instance.addresses
            if not address.is_link_local and not any(address in network for network in networks)
        ]
        if unknown:
            yield warn(
                f"{_CHECK} {instance.name}",
                f"no VIP has {_listed(unknown)}: what comes for it is not balanced, but for this host itself",
                f"xdplb vip add, on all balancers; or, if it is no VIP's but a next hop, leave it. It is in {file}",
            )


def _without_instance(held: Sequence[IPAddress], file: str, vips: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    missing = sorted(
        {
            vip["address"]
            for vip in vips
            if vip.get("announce", "never") == "never"
            and not any(address in ip_network(vip["address"], strict=False) for address in held)
        }
    )
    if missing:
        yield warn(
            f"{_CHECK} and VIPs",
            f"no vrrp_instance has {_listed(missing)}, and it is not announced: does a router send it here?",
            f"a virtual_ipaddress in {file}; or have the VIP announced, or routed to an address that VRRP holds",
        )


def _instance(instance: VrrpInstance, vrrp: Vrrp, file: str) -> Iterator[Finding]:
    check = f"{_CHECK} {instance.name}"
    if not instance.tracks:
        yield warn(
            check,
            "it tracks nothing of xdplb: its addresses stay here when no backend serves, and when this node is drained",
            f"xdplb up --vrrp-track-file FILE, and a track_file: {_PAGE}",
        )
    if instance.faults:
        yield warn(
            check,
            f"{_listed(sorted(instance.faults))} has no weight, so the instance stops when it fails; if it fails on "
            "all balancers, nobody has the addresses",
            f"weight 1 for a file of xdplb, and such as weight -30 for a script: {_PAGE}",
        )
    if instance.by_weight and instance.never_preempts:
        yield warn(
            check,
            f"nopreempt: the other balancer leaves the addresses here although {_listed(sorted(instance.by_weight))} "
            "lowers the priority",
            "take nopreempt out, and give both balancers the same priority: then nothing moves back by itself",
        )
    if instance.by_weight and instance.preempts_late:
        yield warn(
            check,
            f"preempt_delay: the other balancer also waits so long when {_listed(sorted(instance.by_weight))} has "
            "lowered the priority here",
            "take preempt_delay out: xdplb waits by itself before it says that all is well again",
        )
    if instance.uses_vmac and instance.sends_from_base:
        yield warn(
            check,
            "vmac_xmit_base: adverts do not come from the virtual MAC, and a switch may send its packets to the other "
            "balancer for seconds after a failover",
            f"take it out of {file}",
        )
    lost = [name for name in instance.tracks & vrrp.track_files.keys() if not vrrp.track_files[name]]
    if lost:
        yield warn(check, f"track_file {_listed(sorted(lost))} names no file", 'file "/run/xdplb/vrrp"')


def _listed(texts: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"
