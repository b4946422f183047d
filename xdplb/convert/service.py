# SPDX-License-Identifier: Apache-2.0
"""A virtual service of IPVS on its way to a VIP: its backends and its check, and what is to be told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend, BackendRole, parse_backend_address
from xdplb.model.check_type import DEFAULTS_OF
from xdplb.model.errors import InvalidError
from xdplb.model.health import HealthCheck, fitted_checks
from xdplb.model.nat import served_ports
from xdplb.model.vip import Forward, Scheduler, Vip, VipKey

from .notes import Notes, Where

__all__ = ["Converted", "Real", "Service", "vips_of"]

_MOST_COMPARED = 128
"""Backends that lc and wlc compare at most: docs/reference/config.md, Schedulers."""


@dataclass
class Real:
    """A real server: its address and port as they were written, and what is set for it.

    `is_backup`: it is used if the others fail, and is not checked itself.
    """

    where: Where
    said: str
    address: str
    port: int | None
    weight: int = 1
    forward: Forward | None = None
    checks: tuple[HealthCheck, ...] = ()
    is_backup: bool = False


@dataclass
class Service:
    """A virtual service, which may have several keys. `notes` are about it."""

    where: Where
    keys: list[VipKey]
    settings: dict[str, Any]
    forward: Forward
    reals: list[Real] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)


@dataclass
class Converted:
    """A VIP as the config file has it, and the notes about it."""

    where: Where
    data: dict[str, Any]
    notes: Notes


def vips_of(services: Sequence[Service], notes: Notes) -> list[Converted]:
    """Return the VIPs of services. A key or a name that an earlier one has is left out.

    What is to be told goes with the first VIP of a service, or to `notes` if none is made of it.
    """
    made: list[Converted] = []
    taken: dict[VipKey, Where] = {}
    named: dict[str, VipKey] = {}
    addresses = _Addresses(key for service in services for key in service.keys)
    translated = _Translated()
    for service in services:
        first: Converted | None = None
        for key in service.keys:
            if key in taken:
                service.notes.left_out(service.where, str(key), f"{taken[key]} has the same VIP")
                continue
            taken[key] = service.where
            data = _vip(service, key, addresses, translated)
            name = data.get("name")
            if name is not None and named.setdefault(name, key) is not key:
                service.notes.left_out(service.where, f"the name {name} of {key}", f"VIP {named[name]} has it")
                del data["name"]
            one = Converted(service.where, data, service.notes if first is None else Notes())
            first = first or one
            made.append(one)
        if first is None:
            notes.update(service.notes)
    return made


class _Translated:
    """The ports of NAT backends that are a VIP's already: a reply from one of them must tell which VIP it is of."""

    def __init__(self) -> None:
        self._served: dict[tuple[IPAddress, int], list[tuple[range, VipKey]]] = {}

    def misfit(self, key: VipKey, backend: Backend) -> str:
        """Return why this cannot be a NAT backend of a VIP; else note that it is one, and return ""."""
        if not key.is_one_address:
            return f"{key} has many addresses, and a reply does not tell which of them its client has asked"
        ports = served_ports(key, backend)
        for protocol in key.protocol.numbers:
            for others, vip in self._served.get((backend.address, protocol), []):
                if max(ports[0], others[0]) <= min(ports[-1], others[-1]):
                    return f"it serves VIP {vip} with this port too, and a reply would not tell which VIP it is of"
        for protocol in key.protocol.numbers:
            self._served.setdefault((backend.address, protocol), []).append((ports, key))
        return ""


class _Addresses:
    """The addresses of VIPs."""

    def __init__(self, keys: Iterable[VipKey]) -> None:
        self._single: dict[IPAddress, VipKey] = {}
        self._prefixes: list[VipKey] = []
        for key in keys:
            if key.is_one_address:
                self._single.setdefault(key.address, key)
            elif key not in self._prefixes:
                self._prefixes.append(key)

    def vip_of(self, address: IPAddress) -> VipKey | None:
        """Return a VIP that has an address, None if there is none."""
        return self._single.get(address) or next((key for key in self._prefixes if key.has(address)), None)


def _vip(service: Service, key: VipKey, addresses: _Addresses, translated: _Translated) -> dict[str, Any]:
    settings, notes = dict(service.settings), service.notes
    reals = _backends(service, key, addresses, translated)
    if len(reals) > _MOST_COMPARED and settings.get("scheduler") in {Scheduler.LC, Scheduler.WLC}:
        notes.differs(
            service.where,
            f"scheduler of {len(reals)} backends",
            f"it is p2c: {settings['scheduler']} compares all backends for each connection, at most {_MOST_COMPARED}",
        )
        settings["scheduler"] = Scheduler.P2C
    settings = _accepted(service, key, settings, notes)
    checks = _checks(service, key, reals)
    forward = _common_forward(service, reals)
    if "min_serving" in settings:
        settings["min_serving"] = settings["min_serving"].value
    return {
        "address": key.addresses_text,
        "port": key.port,
        "last_port": None if key.last_port == key.port else key.last_port,
        "protocol": key.protocol.value,
        "forward": forward.value,
        **settings,
        **_checks_data(checks),
        "backends": [_backend(forward, key, real, checks) for real in reals],
    }


def _common_forward(service: Service, reals: Sequence[Real]) -> Forward:
    """Return the way that packets reach all backends, or that of the service if they have several."""
    found = {real.forward for real in reals if real.forward is not None}
    return found.pop() if len(found) == 1 else service.forward


def _accepted(service: Service, key: VipKey, settings: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Return the settings without those that a VIP does not take."""
    while True:
        try:
            Vip(key=key, forward=service.forward, **settings)
        except InvalidError as error:
            name = error.problems[0].pointer.split("/")[1]
            notes.left_out(service.where, f"{name} = {settings.pop(name)!r}", error.detail)
        else:
            return settings


def _backends(service: Service, key: VipKey, addresses: _Addresses, translated: _Translated) -> list[Real]:
    """Return the real servers that can be backends: each address once, and none that is the address of a VIP.

    With the way that packets reach them in this VIP, and a port if they have one of their own.
    """
    found: dict[IPAddress, Real] = {}
    for real in service.reals:
        try:
            address = parse_backend_address(real.address)
            Backend(address, real.weight, real.forward, AdminState.READY, port=real.port or None)
        except InvalidError as error:
            why = f"{error.detail}; {error.hint}"
        else:
            why = _misfit(service, real, address, key, addresses)
            if address in found:
                why = f"line {found[address].where.line} has the same address, and so is the same backend"
        if why:
            service.notes.left_out(real.where, real.said, why)
            continue
        found[address] = _fitted(service, key, real, address, translated)
    return list(found.values())


def _fitted(service: Service, key: VipKey, real: Real, address: IPAddress, translated: _Translated) -> Real:
    """Return a real server as a backend of this VIP: by NAT with its port, if it can be, else without one."""
    forward = real.forward or service.forward
    port = None if real.port in {None, 0, key.port} else real.port
    if forward is Forward.NAT:
        own = port if key.port else None
        why = translated.misfit(key, Backend(address, port=own))
        if not why:
            if port != own:
                service.notes.differs(real.where, real.said, f"VIP {key} is for all ports, and keeps each of them")
            return replace(real, forward=forward, port=own)
        service.notes.differs(
            real.where,
            real.said,
            f"it cannot be nat: {why}. It is dr: the backend needs the VIP's address (xdplb backend-host setup VIP) and"
            " the balancer's segment; or give the service another port or address for nat",
        )
        forward = Forward.DR
    if port is not None:
        service.notes.differs(
            real.where,
            real.said,
            "with dr, ipip and gue, a backend has no port of its own: they leave the client's packet as it is, so"
            f" it must serve port {key.port or 'that the client asks for'} itself",
        )
    return replace(real, forward=forward, port=None)


def _misfit(service: Service, real: Real, address: IPAddress, key: VipKey, addresses: _Addresses) -> str:
    """Return why an address cannot be a backend of a VIP, empty if it can."""
    if (taken := addresses.vip_of(address)) is not None:
        return f"it is an address of the VIP {taken}: packets to it would loop"
    forward = real.forward or service.forward
    if not forward.is_tunnel and address.version != key.address.version:
        return f"with {forward}, a backend has the VIP's family: use ipip or gue for it"
    return ""


def _backend(forward: Forward, key: VipKey, real: Real, checks: tuple[HealthCheck, ...]) -> dict[str, Any]:
    """Return a backend; what is the default is left out."""
    own = _own_check(real, checks, key) or {}
    return {
        "address": str(parse_backend_address(real.address)),
        "port": real.port,
        "weight": real.weight,
        "forward": None if real.forward in {None, forward} else real.forward.value,
        "role": BackendRole.BACKUP.value if real.is_backup else None,
        "checked": False if real.is_backup or (checks and not real.checks) else None,
        **own,
    }


def _checks(service: Service, key: VipKey, reals: Sequence[Real]) -> tuple[HealthCheck, ...]:
    """Return the VIP's checks: those that most of its backends have, since all of them have the same."""
    notes = service.notes
    found = [real.checks for real in reals if real.checks]
    if not found:
        return ()
    chosen = Counter(found).most_common(1)[0][0]  # of equals, the first
    try:
        fitted_checks(chosen, key)
    except InvalidError as error:
        notes.left_out(service.where, "its checks", f"{error.detail}; without a check, its backends count as up")
        return ()
    for real in reals:
        if real.checks and _own_check(real, chosen, key) is None:
            told = " and ".join(map(_told, chosen))
            notes.differs(real.where, real.said, f"its checks are other ones there; a VIP has the same for all: {told}")
    return chosen


def _own_check(real: Real, checks: tuple[HealthCheck, ...], key: VipKey) -> dict[str, Any] | None:
    """Return what a backend has of its own that makes the VIP's `checks` those of the real server, None if nothing can.

    A backend may have a port and a path of its own, in place of those of all checks.
    """
    if real.checks == checks or not real.checks:
        return {}
    if len(real.checks) != len(checks):
        return None
    own: dict[str, Any] = {}
    for name in ("port", "path"):
        values = {getattr(check, name) for check in real.checks}
        if values != {getattr(check, name) for check in checks}:
            if len(values) > 1 or (None in values and (name == "path" or not key.port)):
                return None
            own[f"check_{name}"] = values.pop() or real.port or key.port
    alike = [replace(check, **_of_others(own, other)) for check, other in zip(real.checks, checks, strict=True)]
    return own if tuple(alike) == checks else None


def _of_others(own: dict[str, Any], other: HealthCheck) -> dict[str, Any]:
    """Return the fields of `other` in place of those that a backend has of its own."""
    return {name: getattr(other, name) for name in ("port", "path") if f"check_{name}" in own}


def _checks_data(checks: tuple[HealthCheck, ...]) -> dict[str, Any]:
    """Return checks as a config file has them."""
    data = [_check_data(check) for check in checks]
    return {"checks": data} if len(data) > 1 else {"health_check": data[0] if data else None}


_TIMES = frozenset({"interval_seconds", "timeout_seconds", "rise", "fall"})


def _check_data(check: HealthCheck) -> dict[str, Any]:
    """Return a check as a config file has it: its times, and what is not the default."""
    usual = {**{each.name: each.default for each in fields(HealthCheck)}, **DEFAULTS_OF[check.type]}
    data: dict[str, Any] = {"type": check.type.value}
    for name in (each.name for each in fields(HealthCheck) if each.name != "type"):
        value = getattr(check, name)
        if name in _TIMES or value != usual[name]:
            data[name] = list(value) if isinstance(value, tuple) else value
    return data


def _told(check: HealthCheck) -> str:
    path = f" {check.path}" if check.type.is_http else ""
    port = "" if check.port is None else f" on port {check.port}"
    return f"{check.type}{path}{port} every {check.interval_seconds:g} s"
