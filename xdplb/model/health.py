# SPDX-License-Identifier: Apache-2.0
"""A health check as configured: what it does, how often, and how many results make a backend up or down."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from . import check_fields
from .address import IPAddress, parse_port
from .check_type import DEFAULTS_OF, FIELDS_OF, CheckType, Target, refuse_missing_check, types_with
from .errors import InvalidError, within
from .key import Protocol, VipKey
from .vip import NAME_HINT, NAME_PATTERN, Forward

__all__ = [
    "FIELD_NAMES",
    "MOST_CHECKS",
    "CheckType",
    "HealthCheck",
    "Target",
    "accepted_statuses",
    "asked_of",
    "fitted",
    "fitted_checks",
    "goes_by_vip",
    "labels_of",
    "probed_address",
    "probed_port",
    "refuse_missing_check",
    "with_path",
]

MOST_CHECKS = 8
"""How many checks a VIP may have."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Times are in seconds. After `rise` passes in a row a backend is up, after `fall` failures in a row it is down.

    A check has the fields that FIELDS_OF gives its type; another one that is given is an error. One that is None gets
    its default, if it has one (DEFAULTS_OF). `port` None is the VIP's port, the first one of a range. `target` is None
    until it is known which VIP the check is of (`fitted`); it stays None in a state of earlier versions, whose checks
    went to the backend's own address.

    A check starts at a random time within its first interval, and each wait differs from the interval by up to the
    fraction `jitter`, so that thousands of checks do not run at the same moment. While a backend is between states,
    `fast_interval_seconds` takes the place of the interval, if there is one. With `reset` its connections end with a
    RST instead of a FIN. `send` and `expect` are bytes, as characters of Latin-1; `expect` "" is any answer.
    """

    type: CheckType = CheckType.TCP
    name: str | None = None
    port: int | None = None
    target: Target | None = None
    interval_seconds: float = 2.0
    fast_interval_seconds: float | None = None
    timeout_seconds: float = 1.0
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1
    reset: bool | None = None
    method: str | None = None
    path: str | None = None
    host: str | None = None
    headers: tuple[tuple[str, str], ...] | None = None
    expect_status: tuple[int | str, ...] | None = None
    expect_body: str | None = None
    expect_body_regex: str | None = None
    sni: str | None = None
    verify: bool | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    send: str | None = None
    expect: str | None = None
    query_name: str | None = None
    query_type: str | None = None
    expect_rcode: str | None = None
    expect_answer: str | None = None
    command: tuple[str, ...] | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        self._refuse_foreign_fields()
        for name, default in DEFAULTS_OF[self.type].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self._check_fields_of_all()
        self._check_request()
        self._check_tls()
        self._check_texts()
        self._check_query()
        self._check_command()

    def _refuse_foreign_fields(self) -> None:
        has = FIELDS_OF[self.type]
        for name in FIELD_NAMES:
            if name not in has and getattr(self, name) is not None:
                raise InvalidError.field(
                    f"/{name}",
                    f"a check of type {self.type} has no {name}",
                    hint=f"omit it; {_have(types_with(name))} it",
                )

    def _check_fields_of_all(self) -> None:
        if self.name is not None and not re.fullmatch(NAME_PATTERN, self.name):
            raise InvalidError.field("/name", f"{self.name!r} is not a valid name", hint=NAME_HINT)
        if self.port is not None:
            parse_port(self.port)
            if self.port == 0:
                raise InvalidError.field("/port", "port 0 cannot be checked", hint="give 1 to 65535, or omit it")
        for name in check_fields.RANGES:
            if (value := getattr(self, name)) is not None:
                check_fields.in_range(name, value)
        fast = self.fast_interval_seconds
        if fast is not None and fast > self.interval_seconds:
            raise InvalidError.field(
                "/fast_interval_seconds",
                f"fast_interval_seconds is {fast:g}, and interval_seconds {self.interval_seconds:g}",
                hint="give no more than the interval, or omit it",
            )

    def _check_request(self) -> None:
        if not self.type.is_http:
            return
        assert self.method is not None
        assert self.path is not None
        assert self.expect_status is not None
        check_fields.refuse_one_of("method", self.method, check_fields.METHODS)
        check_fields.refuse_path("path", self.path)
        if self.host is not None:
            check_fields.refuse_host("host", self.host)
        check_fields.refuse_headers("headers", self.headers or ())
        # Their order has no meaning, so that equal checks are equal.
        object.__setattr__(self, "headers", tuple(sorted(self.headers or ())))
        object.__setattr__(self, "expect_status", check_fields.statuses("expect_status", self.expect_status))
        for name, refuse in _OF_BODY.items():
            if (value := getattr(self, name)) is None:
                continue
            if self.method == "HEAD":
                raise InvalidError.field(f"/{name}", "the answer to HEAD has no body", hint="use GET, or omit it")
            refuse(name, value)

    def _check_tls(self) -> None:
        if self.sni is not None:
            check_fields.refuse_sni("sni", self.sni)
        for name in ("ca_file", "cert_file", "key_file"):
            if (value := getattr(self, name)) is not None:
                check_fields.refuse_file(name, value)
        if self.verify and self.sni is None:
            raise InvalidError.field(
                "/sni", "verify needs sni", hint="give the name that the certificate must have, or set verify to false"
            )
        if self.ca_file is not None and not self.verify:
            raise InvalidError.field(
                "/ca_file", "ca_file has no effect without verify", hint="set verify to true, or omit ca_file"
            )
        if self.key_file is not None and self.cert_file is None:
            raise InvalidError.field(
                "/key_file", "key_file needs cert_file", hint="give the certificate of this key too"
            )

    def _check_texts(self) -> None:
        for name in ("send", "expect"):
            if (value := getattr(self, name)) is not None:
                check_fields.refuse_text(name, value)
        if self.send == "" and self.type is not CheckType.UDP:
            raise InvalidError.field("/send", "send is empty", hint="omit it: then nothing is sent")

    def _check_query(self) -> None:
        if self.type is not CheckType.DNS:
            return
        assert self.query_name is not None
        assert self.query_type is not None
        assert self.expect_rcode is not None
        check_fields.refuse_query_name("query_name", self.query_name)
        check_fields.refuse_one_of("query_type", self.query_type, check_fields.QUERY_TYPES)
        check_fields.refuse_one_of("expect_rcode", self.expect_rcode, check_fields.RCODES)
        if self.expect_answer is not None:
            check_fields.refuse_answer("expect_answer", self.expect_answer, self.query_type)
            if self.expect_rcode != "NOERROR":
                raise InvalidError.field(
                    "/expect_answer",
                    f"an answer with {self.expect_rcode} has no records",
                    hint="omit expect_answer, or expect NOERROR",
                )

    def _check_command(self) -> None:
        if self.type is not CheckType.EXEC:
            return
        check_fields.refuse_command("command", self.command or ())
        assert self.user is not None
        check_fields.refuse_user("user", self.user)


FIELD_NAMES = tuple(field.name for field in fields(HealthCheck))
"""The fields of checks of all types, in order."""
_OF_BODY: dict[str, Callable[[str, str], None]] = {
    "expect_body": check_fields.refuse_body,
    "expect_body_regex": check_fields.refuse_regex,
}


def _have(types: Sequence[str]) -> str:
    return f"only {types[0]} has" if len(types) == 1 else f"{', '.join(types[:-1])} and {types[-1]} have"


@lru_cache(maxsize=1024)
def labels_of(checks: tuple[HealthCheck, ...]) -> tuple[str, ...]:
    """Return what each of a VIP's checks is called: its name, or its type and port, with a number if that is taken."""
    made: list[str] = []
    for check in checks:
        label = check.name or (check.type.value if check.port is None else f"{check.type}:{check.port}")
        others = sum(label in {each, each.rpartition("#")[0]} for each in made)
        made.append(f"{label}#{others + 1}" if others else label)
    return tuple(made)


@lru_cache(maxsize=1024)
def accepted_statuses(expect_status: tuple[int | str, ...]) -> frozenset[int]:
    """Return all HTTP statuses that pass."""
    bounds = (str(each).partition("-") for each in expect_status)
    return frozenset(status for first, _, last in bounds for status in range(int(first), int(last or first) + 1))


def probed_address(key: VipKey) -> IPAddress:
    """Return the address that probes of a VIP go to: its own, or the first one of its prefix."""
    return key.address


def probed_port(check: HealthCheck, key: VipKey, own: int | None = None, served: int | None = None) -> int:
    """Return the port that probes of a backend go to; 0 for none.

    That is its `own` (its `check_port`, if there is one, but for an agent), else the check's, else the VIP's, the first
    one of a range, or the port `served` of a NAT backend instead of that.
    """
    if own is not None and check.type is not CheckType.AGENT:
        return own
    return check.port or served or key.port


@lru_cache(maxsize=4096)
def with_path(check: HealthCheck, path: str) -> HealthCheck:
    """Return the check with another path, if it is one of HTTP; equal ones are the same object."""
    return replace(check, path=path) if check.type.is_http else check


def goes_by_vip(check: HealthCheck, key: VipKey, forward: Forward, own: int | None = None) -> bool:
    """Return whether probes of a backend with this `own` port go to the VIP's address.

    At another port the VIP gets no packets: a backend's own port is checked at the backend's own address. So is a
    backend that is reached by nat, which does not have the VIP's address.
    """
    return check.target is Target.VIP and forward is not Forward.NAT and probed_port(check, key, own) in key.ports


def asked_of(
    check: HealthCheck,
    key: VipKey,
    backend: IPAddress,
    forward: Forward,
    own: int | None = None,
    *,
    served: int | None = None,
) -> str:
    """Return what a check of a backend asks, as text: an address with its port, and for the VIP's, by which way.

    `own` is the backend's own port to check, if it has one, and `served` the port that serves a VIP by nat.
    """
    by_vip, port = goes_by_vip(check, key, forward, own), probed_port(check, key, own, served)
    address = probed_address(key) if by_vip else backend
    place = f"[{address}]" if address.version == 6 else str(address)
    if check.type.protocol is not None:
        place += f":{port}"
    return f"{place} by {forward}" if by_vip else place


def fitted(check: HealthCheck, key: VipKey) -> HealthCheck:
    """Return the check as one of the VIP `key`, with its target; InvalidError if it cannot be one."""
    _refuse_without_port(check, key)
    why_not = _why_not_by_vip(check, key)
    if check.target is Target.VIP and why_not is not None:
        raise InvalidError.field("/target", why_not[0], hint=why_not[1])
    if check.target is not None:
        return check
    return replace(check, target=Target.BACKEND if why_not else Target.VIP)


def fitted_checks(checks: Sequence[HealthCheck], key: VipKey) -> tuple[HealthCheck, ...]:
    """Return the checks of the VIP `key`, each with its target; InvalidError points to what is wrong: `/0/port`."""
    if len(checks) > MOST_CHECKS:
        raise InvalidError.field("", f"there are {len(checks)} checks", hint=f"a VIP has at most {MOST_CHECKS}")
    made: list[HealthCheck] = []
    for number, check in enumerate(checks):
        with within(f"/{number}"):
            one = fitted(check, key)
            if check.name is not None and any(check.name == each.name for each in made):
                raise InvalidError.field(
                    "/name", f"the name {check.name!r} is given to two checks", hint="give each another name"
                )
            if one in made:
                raise InvalidError.field("", "the same check is given twice", hint="remove one of them")
        made.append(one)
    return tuple(made)


def _refuse_without_port(check: HealthCheck, key: VipKey) -> None:
    if check.port is not None or check.type.protocol is None:
        return
    if key.port == 0:
        raise InvalidError.field(
            "/port", f"VIP {key} has all ports, so its check needs a port", hint="give the port to check"
        )
    if check.type is CheckType.AGENT:
        raise InvalidError.field(
            "/port", "an agent listens on a port of its own, so this check needs a port", hint="give the agent's port"
        )
    if key.protocol is Protocol.UDP and check.type.protocol is Protocol.TCP:
        raise InvalidError.field(
            "/port",
            f"VIP {key} is UDP, and {check.type} checks use TCP, so its check needs a port",
            hint=f"give the port to check, {key.port} if the backends take TCP there too; or use udp or dns",
        )
    if key.protocol is Protocol.TCP and check.type.protocol is Protocol.UDP:
        raise InvalidError.field(
            "/port",
            f"VIP {key} is TCP, and {check.type} checks use UDP, so its check needs a port",
            hint=f"give the port to check, {key.port} if the backends take UDP there too; or use tcp or http",
        )


def _why_not_by_vip(check: HealthCheck, key: VipKey) -> tuple[str, str] | None:
    """Return why this check cannot go to the VIP's address and the remedy, None if it can."""
    protocol = check.type.protocol
    if protocol is None or check.type is CheckType.AGENT:
        return f"a check of type {check.type} goes to the backend's own address", "set target to backend, or omit it"
    if protocol.numbers[0] not in key.protocol.numbers:
        return (
            f"VIP {key} does not take {protocol.upper()}, which {check.type} checks use",
            "set target to backend, or omit it",
        )
    if probed_port(check, key) not in key.ports:
        return (
            f"port {check.port} is none of VIP {key}, so nothing is sent to it there",
            "set target to backend, or omit it, or give one of the VIP's ports",
        )
    return None
