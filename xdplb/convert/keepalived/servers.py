# SPDX-License-Identifier: Apache-2.0
"""virtual_server and virtual_server_group."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, summarize_address_range
from itertools import pairwise

from xdplb.convert.ipvs import DEFAULT_SCHEDULER, Forwarding, Said, forwarding_of, schedule
from xdplb.convert.notes import Notes
from xdplb.convert.service import Real, Service
from xdplb.model.address import IPAddress
from xdplb.model.errors import InvalidError
from xdplb.model.key import Protocol
from xdplb.model.min_serving import MIN_SERVING_MOST, MinServing
from xdplb.model.numbers import whole_of
from xdplb.model.vip import IDLE_TIMEOUT_RANGE, NAME_PATTERN, AllUnhealthy, Forward, OnUnhealthy, VipKey

from .blocks import Statement
from .checks import CHECKERS, TIMES, Around, Timing, checks_of

__all__ = ["READ", "WITHOUT", "Servers"]

_FALSE = {"off", "false", "no"}
_SCHEDULERS = {"lb_algo", "lvs_sched"}
_METHODS = {"lb_kind", "lvs_method"}
_FLAGS = {"flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback"}
READ = {
    *_SCHEDULERS, *_METHODS, *_FLAGS, *TIMES, *CHECKERS, "persistence_timeout", "protocol", "real_server", "weight",
    "inhibit_on_failure", "alpha", "snmp_name", "virtualhost", "quorum", "sorry_server", "sorry_server_lvs_method",
}  # fmt: skip
"""Keywords that are converted. `alpha` is how it always is here: a backend with a check begins as unknown."""

WITHOUT = {
    "sorry_server_inhibit": "a backup that is not used any more keeps its open connections in any case",
    "hysteresis": "the number of backends at which backups begin to serve and end to is the same",
    "quorum_up": "no programs are run: follow xdplb events, or watch the metrics",
    "quorum_down": "no programs are run: follow xdplb events, or watch the metrics",
    "notify_up": "no programs are run: follow xdplb events, or watch the metrics",
    "notify_down": "no programs are run: follow xdplb events, or watch the metrics",
    "smtp_alert": "no mail is sent: follow xdplb events, or watch the metrics",
    "omega": "no programs are run, also not at the end",
    "ha_suspend": "checks always run",
    "warmup": "checks begin at a random time within their first interval",
    "persistence_granularity": "clients are told apart by their whole addresses",
    "persistence_engine": "there are no persistence engines",
    "ops": "datagrams of a client are not spread: those of a flow stay with its slot's backend",
    "ip_family": "a VIP has the family of its address",
    "uthreshold": "there are no thresholds: limits.new_flows limits the whole VIP",
    "lthreshold": "there are no thresholds: limits.new_flows limits the whole VIP",
}
_RANGE = re.compile(r"(.+)-([0-9A-Fa-f.:]+)")


@dataclass
class Servers:
    """Reads virtual servers. `groups` are the virtual_server_group by name, `timeouts` IPVS' lvs_timeouts."""

    groups: Mapping[str, Statement]
    timeouts: Mapping[str, Statement]
    notes: Notes

    def service(self, statement: Statement) -> Service | None:
        """Return the service of a virtual_server, None if it cannot be a VIP: then `notes` say why."""
        block, own = statement.block or [], Notes()
        protocol = self._protocol(statement, block)
        if protocol is None:
            return None
        keys = self._keys(statement, protocol, own)
        if not keys:
            self.notes.update(own)
            self.notes.left_out(statement.where, str(statement), _with_backends("it is no VIP", block))
            return None
        settings, forward = self._settings(statement, block, protocol, own)
        service = Service(statement.where, keys, settings, forward, notes=own)
        timing = Timing().with_those_of(block)
        host = next((each.value for each in block if each.name == "virtualhost"), None)
        for each in block:
            if each.name == "real_server":
                service.reals.append(_real(each, timing, protocol, host, own))
        _add_sorry_server(block, service)
        _set_quorum(block, service)
        self._keep(block, service)
        return service

    def _protocol(self, statement: Statement, block: list[Statement]) -> Protocol | None:
        said = _said(block, "protocol")
        if said is None:
            return Protocol.TCP
        if said.value.lower() in {"tcp", "udp"}:
            return Protocol(said.value.lower())
        self.notes.left_out(said.where, f"{statement} {said}", _with_backends("xdplb balances TCP and UDP", block))
        return None

    def _keys(self, statement: Statement, protocol: Protocol, notes: Notes) -> list[VipKey]:
        words = statement.values
        if words[:1] == ["group"]:
            group = self.groups.get("".join(words[1:2]))
            if group is None:
                notes.left_out(statement.where, str(statement), "there is no such virtual_server_group")
                return []
            return [key for entry in group.block or [] for key in _keys_of(entry, entry.words, protocol, notes)]
        return _keys_of(statement, words, protocol, notes)

    def _settings(
        self, statement: Statement, block: list[Statement], protocol: Protocol, notes: Notes
    ) -> tuple[dict[str, object], Forward]:
        name = Said(statement.where, DEFAULT_SCHEDULER)
        method, flags, persistence, snmp_name = None, [], None, None
        for each in block:
            if each.name in _SCHEDULERS:
                name = Said(each.where, each.value)
            elif each.name in _METHODS:
                method = each
            elif each.name in _FLAGS:
                flags.append(Said(each.where, each.name))
            elif each.name == "persistence_timeout":
                persistence = Said(each.where, str(each))
            elif each.name == "snmp_name":
                snmp_name = each
            elif each.name not in READ:
                notes.left_out(each.where, str(each), WITHOUT.get(each.name, "this keyword is not known"))
        forward = _forward(method, statement, notes)
        settings: dict[str, object] = {
            **_name(snmp_name, notes),
            **schedule(name, flags, persistence, notes),
            "all_unhealthy": AllUnhealthy.FAIL_CLOSED,
            **self._idle_timeout(protocol, notes),
        }
        return settings, forward

    def _idle_timeout(self, protocol: Protocol, notes: Notes) -> dict[str, object]:
        said = self.timeouts.get(protocol.value)
        if said is None:
            return {}
        seconds = whole_of(said.value)
        low, high = IDLE_TIMEOUT_RANGE
        if seconds is None or not low <= seconds <= high:
            notes.left_out(said.where, str(said), f"give {low} to {high} seconds")
            return {}
        return {"idle_timeout_seconds": seconds}

    def _keep(self, block: list[Statement], service: Service) -> None:
        """Set what becomes of the connections of a backend that fails: inhibit_on_failure keeps them."""
        inner = [(real, each) for real in block if real.name == "real_server" for each in real.block or []]
        said = [each for each in block if each.name == "inhibit_on_failure" and _is_on(each)]
        said += [each for _, each in inner if each.name == "inhibit_on_failure" and _is_on(each)]
        if not said:
            return
        service.settings["on_unhealthy"] = OnUnhealthy.KEEP
        if all(each not in block for each in said) and len(said) < len(service.reals):
            service.notes.differs(said[0].where, "inhibit_on_failure", "it is so for all backends of the VIP")


def _with_backends(why: str, block: list[Statement]) -> str:
    """Return a sentence, with the backends that go with it."""
    backends = [each.value for each in block if each.name == "real_server"]
    return f"{why}; its backends are left out too: {', '.join(backends)}" if backends else why


def _is_on(statement: Statement) -> bool:
    return statement.value.lower() not in _FALSE


def _name(statement: Statement | None, notes: Notes) -> dict[str, object]:
    """Return the name of a VIP, which keepalived has for SNMP only."""
    if statement is None:
        return {}
    if re.match(NAME_PATTERN, statement.value):
        return {"name": statement.value}
    notes.left_out(statement.where, str(statement), "a name has a-z, 0-9 and -")
    return {}


def _forward(method: Statement | None, statement: Statement, notes: Notes) -> Forward:
    if method is None:
        return forwarding_of(statement.where, str(statement), Forwarding("nat"), notes)
    return forwarding_of(method.where, str(method), _forwarding(method), notes)


def _forwarding(method: Statement) -> Forwarding:
    """Return what lb_kind says: `NAT`, `DR`, or `TUN [type {ipip|gue port NUM|gre} [nocsum|csum|remcsum]]`."""
    words = [word.lower() for word in method.values]
    after = dict(pairwise(words))
    checksum = next((word for word in words if word in {"csum", "remcsum"}), "nocsum")
    return Forwarding(
        words[0] if words else "nat", after.get("type", "ipip"), whole_of(after.get("port", "")), checksum
    )


def _real(statement: Statement, timing: Timing, protocol: Protocol, host: str | None, notes: Notes) -> Real:
    address, port = statement.value, whole_of("".join(statement.values[1:2]))
    real = Real(statement.where, str(statement), address, port)
    checkers: list[Statement] = []
    for each in statement.block or []:
        if each.name == "weight":
            weight = whole_of(each.value)
            if weight is None:
                notes.left_out(each.where, str(each), "it is no weight; it is 1")
            else:
                real.weight = weight
        elif each.name in _METHODS:
            real.forward = forwarding_of(each.where, str(each), _forwarding(each), notes)
        elif each.name in CHECKERS:
            checkers.append(each)
        elif each.name == "virtualhost":
            host = each.value
        elif each.name == "snmp_name":
            notes.left_out(each.where, str(each), "a backend has no name")
        elif each.name not in READ:
            notes.left_out(each.where, str(each), WITHOUT.get(each.name, "this keyword is not known"))
    if checkers:
        own = timing.with_those_of(statement.block or [])
        real.checks = checks_of(checkers, own, Around(protocol, address, port, host), notes)
    return real


def _said(block: list[Statement], name: str) -> Statement | None:
    """Return the first statement of a block with this name."""
    return next((each for each in block if each.name == name), None)


def _add_sorry_server(block: list[Statement], service: Service) -> None:
    """Make the sorry server a backup. There it is not checked."""
    said, method = _said(block, "sorry_server"), _said(block, "sorry_server_lvs_method")
    if said is None:
        return
    forward = None if method is None else forwarding_of(method.where, str(method), _forwarding(method), service.notes)
    port = whole_of("".join(said.values[1:2]))
    service.reals.append(Real(said.where, str(said), said.value, port, forward=forward, is_backup=True))


def _set_quorum(block: list[Statement], service: Service) -> None:
    said = _said(block, "quorum")
    if said is None:
        return
    quorum = whole_of(said.value)
    if quorum is None or not 1 <= quorum <= MIN_SERVING_MOST:
        service.notes.left_out(said.where, str(said), f"give 1 to {MIN_SERVING_MOST}")
        return
    service.settings["min_serving"] = MinServing(quorum)
    if quorum > 1:
        service.notes.differs(
            said.where,
            str(said),
            f"min_serving = {quorum} counts backends, not their weights; with fewer, backups serve beside those that"
            " are left, and xdplb status --vip says that the VIP is not ready",
        )


def _keys_of(statement: Statement, words: list[str], protocol: Protocol, notes: Notes) -> list[VipKey]:
    """Return the VIPs of `ADDRESS [PORT]`, where the address may be a range."""
    where, said = statement.where, " ".join(words)
    if words[:1] == ["fwmark"]:
        notes.left_out(where, said, "a VIP is an address, ports and a protocol: write one for what the mark stands for")
        return []
    port = whole_of(words[1]) if len(words) > 1 else 0
    if port is None or port > 65535:
        notes.left_out(where, said, "its port is none")
        return []
    try:
        return [VipKey.of(address, port, protocol) for address in _addresses(words[0])]
    except InvalidError as error:
        notes.left_out(where, said, f"{error.detail}; {error.hint}")
    except (ValueError, TypeError, IndexError):
        notes.left_out(where, said, "it is neither an address nor a range such as 192.0.2.1-9 or 192.0.2.8/29")
    return []


def _addresses(text: str) -> list[str]:
    """Return the addresses and prefixes that a range stands for. ValueError or TypeError if it is none."""
    if "/" in text:
        network = ip_interface(text).network
        return _between(ip_interface(text).ip, network.broadcast_address)
    if (match := _RANGE.fullmatch(text)) is None:
        return [text]
    first, end = ip_address(match[1]), match[2]
    if not any(sign in end for sign in ".:"):
        sign = "." if first.version == 4 else ":"
        end = match[1].rpartition(sign)[0] + sign + end
    return _between(first, ip_address(end))


def _between(first: IPAddress, last: IPAddress) -> list[str]:
    networks = summarize_address_range(first, last)
    return [str(one.network_address if one.prefixlen == one.max_prefixlen else one) for one in networks]
