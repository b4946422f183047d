"""The checkers of real servers, each as the check of a VIP that comes nearest to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from xdplb.convert.notes import Kind, Note, Notes
from xdplb.model.check_fields import PATH_PATTERN
from xdplb.model.errors import InvalidError
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.key import Protocol
from xdplb.model.numbers import decimal_of, whole_of

from .blocks import Statement

__all__ = ["CHECKERS", "TIMES", "WITHOUT", "Timing", "check_of"]

_PREFERENCE = (
    "HTTP_GET", "SSL_GET", "TCP_CHECK", "SMTP_CHECK", "DNS_CHECK", "MISC_CHECK", "PING_CHECK", "UDP_CHECK", "BFD_CHECK",
    "FILE_CHECK",
)  # fmt: skip
CHECKERS = frozenset(_PREFERENCE)
_INSTEAD = {
    "SSL_GET": "there is no https check. It is tcp on that port: whether TLS and the answer are good is not seen",
    "SMTP_CHECK": "there is no SMTP check. It is tcp: what the server answers is not seen",
    "DNS_CHECK": "there is no DNS check. It is tcp on that port, since name servers answer there too",
    "MISC_CHECK": "there is no check by a program. Let it run by itself and set the backend to maint and ready"
    " (xdplb backend set VIP ADDRESS --admin-state)",
    "PING_CHECK": "there is no ping check",
    "UDP_CHECK": "there is no UDP check",
    "BFD_CHECK": "there is no BFD check",
    "FILE_CHECK": "there is no check of a file",
}
_AS_TCP = {"TCP_CHECK", "SSL_GET", "SMTP_CHECK", "DNS_CHECK"}
_RETRIES = {"DNS_CHECK": 3, "MISC_CHECK": 0}
_PAUSES = {"HTTP_GET": 3.0, "SSL_GET": 3.0}
TIMES = {"delay_loop", "connect_timeout", "retry", "delay_before_retry"}
WITHOUT = {
    "connect_ip": "a backend is checked at its own address",
    "bindto": "checks leave from the address that the host chooses",
    "bind_if": "checks leave by the NIC that leads to the backend",
    "bind_port": "checks leave from any port",
    "fwmark": "checks have no mark",
    "warmup": "checks begin at a random time within their first interval",
    "log_all_failures": "a backend's reason and xdplb health ls VIP have the last result",
    "http_protocol": "it asks with HTTP/1.1 and Connection: close",
    "fast_recovery": "there is one path, asked for once at each interval",
    "enable_sni": "there is no https check",
    "helo_name": "there is no SMTP check",
    "host": "there is no SMTP check, and a backend is checked at its own address",
    "virtualhost": "an http check asks with the backend's address as Host",
    "digest": "the content of the answer is not looked at, only its status",
    "regex": "the content of the answer is not looked at, only its status",
}
_MOST_STATUSES = 32
_DEFAULT_STATUSES = tuple(status.value for status in HTTPStatus if 200 <= status < 300)


@dataclass(frozen=True)
class Timing:
    """When a checker runs, as far as it is said: by keyword, each with the statement."""

    said: Mapping[str, Statement] = field(default_factory=dict)

    def with_those_of(self, block: list[Statement]) -> Timing:
        """Return these, with what a block says in their place."""
        return Timing({**self.said, **{each.name: each for each in block if each.name in TIMES}})

    def seconds(self, name: str, usual: float, notes: Notes) -> float:
        """Return a time in seconds."""
        statement = self.said.get(name)
        if statement is None:
            return usual
        seconds = decimal_of(statement.value)
        if seconds is None:
            notes.left_out(statement.where, str(statement), f"it is no time in seconds; it is {usual:g}")
            return usual
        return seconds

    def count(self, usual: int, notes: Notes) -> int:
        """Return how often a check is tried again."""
        statement = self.said.get("retry")
        if statement is None:
            return usual
        count = whole_of(statement.value)
        if count is None:
            notes.left_out(statement.where, str(statement), f"it is no number; it is {usual}")
            return usual
        return count


def check_of(
    checkers: list[Statement], timing: Timing, own_port: int | None, protocol: Protocol, notes: Notes
) -> tuple[HealthCheck | None, Note | None]:
    """Return the check for the checkers of a real server: the one that says most. None if there is none like it.

    `own_port` is the port of the real server. The note is what is to be told if it becomes the check of the VIP.
    """
    ordered = sorted(checkers, key=lambda one: _PREFERENCE.index(one.name))
    for other in ordered[1:]:
        notes.left_out(other.where, str(other), f"a VIP has one check, which is {ordered[0].name} here")
    return _check(ordered[0], timing.with_those_of(ordered[0].block or []), own_port, protocol, notes)


def _check(
    checker: Statement, timing: Timing, own_port: int | None, protocol: Protocol, notes: Notes
) -> tuple[HealthCheck | None, Note | None]:
    name = checker.name
    if name in _INSTEAD:
        suffix = ""
        if name not in _AS_TCP:
            suffix = "; it has no check, and counts as up" if protocol is Protocol.UDP else "; it is tcp in its place"
        notes.differs(checker.where, name, _INSTEAD[name] + suffix)
    _tell_rest(checker, notes)
    if name not in _AS_TCP | {"HTTP_GET"} and protocol is Protocol.UDP:
        return None, None
    check = HealthCheck(port=_port(checker, own_port, protocol, notes))
    if name == "HTTP_GET":
        check = _http(checker, check, notes)
    return _timed(checker, check, timing, notes)


def _port(checker: Statement, own_port: int | None, protocol: Protocol, notes: Notes) -> int | None:
    """Return the port to check, None for the VIP's."""
    for each in checker.block or []:
        if each.name == "connect_port":
            port = whole_of(each.value)
            if port is not None and 0 < port < 65536:
                return port
            notes.left_out(each.where, str(each), "it is no port; the VIP's is checked")
    # With NAT the real server may have another port. It must serve the VIP's from now on, so that one is checked.
    return own_port if protocol is Protocol.UDP else None


def _tell_rest(checker: Statement, notes: Notes) -> None:
    known = TIMES | {"connect_port", "alpha", *(("url",) if checker.name == "HTTP_GET" else ())}
    if checker.name not in _AS_TCP | {"HTTP_GET"}:  # what it consists of is nowhere: the note on it is enough
        known |= {each.name for each in checker.block or []} - set(WITHOUT)
    for each in checker.block or []:
        if each.name == "url":
            if checker.name != "HTTP_GET":
                notes.left_out(each.where, f"url {_path_of(each)}".strip(), "there is no https check")
        elif each.name not in known:
            notes.left_out(each.where, str(each), WITHOUT.get(each.name, "this keyword is not known"))


def _path_of(url: Statement) -> str:
    return next((each.value for each in url.block or [] if each.name == "path"), "/")


def _http(checker: Statement, check: HealthCheck, notes: Notes) -> HealthCheck:
    urls = [each for each in checker.block or [] if each.name == "url"]
    for other in urls[1:]:
        notes.left_out(other.where, f"url {_path_of(other)}", f"a check has one path, {_path_of(urls[0])}")
    path, statuses = "/", _DEFAULT_STATUSES
    for each in (urls[0].block or []) if urls else []:
        if each.name == "path":
            path = each.value
            if not re.match(PATH_PATTERN, path):
                notes.left_out(
                    each.where, str(each), "it is not a path: it starts with / and has no blanks; / is asked for"
                )
                path = "/"
        elif each.name == "status_code":
            statuses = _statuses(each, notes)
        else:
            base = each.name.partition("_")[0]
            notes.left_out(each.where, str(each), WITHOUT.get(base, "this keyword is not known"))
    return replace(check, type=CheckType.HTTP, path=path, expect_status=statuses)


def _statuses(statement: Statement, notes: Notes) -> tuple[int, ...]:
    """Return the statuses that a check accepts: of a range those that HTTP has, at most 32."""
    ranges = [re.fullmatch(r"(\d{3})(?:-(\d{3}))?", text) for text in statement.values]
    named = {status.value for status in HTTPStatus}
    found: list[int] = []
    for match in ranges:
        if match is None:
            notes.left_out(statement.where, str(statement), "a status is a number or a range such as 200-299")
            return _DEFAULT_STATUSES
        first, last = int(match[1]), int(match[2] or match[1])
        found += [one for one in range(first, last + 1) if (first == last or one in named) and 100 <= one <= 599]
    wanted = tuple(dict.fromkeys(found))
    if any(match and match[2] for match in ranges):
        more = "" if len(wanted) <= _MOST_STATUSES else f", of which the first {_MOST_STATUSES} are taken"
        notes.differs(statement.where, str(statement), f"a range is the statuses that HTTP has in it{more}")
    return wanted[:_MOST_STATUSES] or _DEFAULT_STATUSES


def _timed(checker: Statement, check: HealthCheck, timing: Timing, notes: Notes) -> tuple[HealthCheck, Note | None]:
    """Return a check with keepalived's times: the interval is delay_loop, and a success makes a backend up.

    keepalived tries a check that fails again after delay_before_retry, xdplb after its interval.
    """
    interval = timing.seconds("delay_loop", 60.0, notes)
    timeout = timing.seconds("connect_timeout", 5.0, notes)
    retries = timing.count(_RETRIES.get(checker.name, 1), notes)
    pause = timing.seconds("delay_before_retry", interval if checker.name == "DNS_CHECK" else
                           _PAUSES.get(checker.name, 1.0), notes)  # fmt: skip
    there, here, slower = interval + retries * pause, (retries + 1) * interval, None
    if here > there:
        said = timing.said.get("delay_before_retry") or timing.said.get("retry") or checker
        slower = Note(
            said.where,
            Kind.DIFFERS,
            str(said) if said is not checker else f"{checker.name} and its retries",
            f"a failed check is repeated after interval_seconds. So a backend that dies is out after {here:g} s at"
            f" most, plus the timeout, where it was {there:g} s: lower interval_seconds or fall",
        )
    times: dict[str, Any] = {"interval_seconds": interval, "timeout_seconds": timeout, "fall": retries + 1}
    for name, value in times.items():
        try:
            check = replace(check, **{name: value})
        except InvalidError as error:
            notes.differs(checker.where, f"{name} {value:g}", f"{error.hint}; it is {getattr(check, name):g}")
    return replace(check, rise=1), slower
