# SPDX-License-Identifier: Apache-2.0
"""The checkers of real servers, each as the check of a VIP that comes nearest to it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xdplb.convert.notes import Notes
from xdplb.model.check_fields import PATH_PATTERN, STATUS_PATTERN
from xdplb.model.errors import InvalidError
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.key import Protocol
from xdplb.model.numbers import decimal_of, whole_of

from .blocks import Statement

__all__ = ["CHECKERS", "TIMES", "WITHOUT", "Around", "Timing", "checks_of"]

_RETRIES = {"DNS_CHECK": 3, "MISC_CHECK": 0}
_PAUSES = {"HTTP_GET": 3.0, "SSL_GET": 3.0}
TIMES = {"delay_loop", "connect_timeout", "retry", "delay_before_retry"}
WITHOUT = {
    "connect_ip": "a backend is checked at its own address, or at the VIP's on it",
    "bindto": "checks leave from the address that the host chooses",
    "bind_if": "checks leave by the NIC that leads to the backend",
    "bind_port": "checks leave from any port",
    "fwmark": "checks have no mark",
    "warmup": "checks begin at a random time within their first interval",
    "log_all_failures": "xdplb health ls VIP has the last results",
    "http_protocol": "it asks with HTTP/1.1 and Connection: close",
    "fast_recovery": "all checks are run at each interval",
    "tls_compliant": "a TLS connection ends as the server ends it",
    "helo_name": "the greeting is expected, and nothing is said",
    "host": "a backend is checked at its own address, or at the VIP's on it",
    "digest": "expect_body is a text and not its digest",
    "regex_no_match": "there is no text that the body must not have",
    "regex_min_offset": "the first 64 KiB of the body are searched",
    "regex_max_offset": "the first 64 KiB of the body are searched",
    "regex_stack": "a regular expression needs no stack",
    "regex_options": "write options into the expression, such as (?i)",
    "misc_dynamic": "exit status 2 to 255 is always a weight",
    "min_reply_length": "the length of an answer is not looked at",
    "max_reply_length": "the length of an answer is not looked at",
}
_DEFAULT_STATUSES: tuple[int | str, ...] = ("200-299",)


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


@dataclass(frozen=True)
class _Asked:
    """A checker, with what is said around it."""

    checker: Statement
    around: Around
    notes: Notes

    def said(self, name: str) -> Statement | None:
        """Return the last statement of the checker with this name."""
        found = [each for each in self.checker.block or [] if each.name == name]
        return found[-1] if found else None

    def port(self, kind: CheckType) -> int | None:
        """Return the port to check, None for the VIP's."""
        if (each := self.said("connect_port")) is not None:
            port = whole_of(each.value)
            if port is not None and 0 < port < 65536:
                return port
            self.notes.left_out(each.where, str(each), "it is no port; the VIP's is checked")
        # Without a port it is the one that the traffic goes to: with NAT the backend's own, else the VIP's.
        return None if kind.protocol is self.around.protocol else self.around.own_port

    def tell_rest(self, known: Iterable[str]) -> None:
        """Tell what else the checker says."""
        for each in self.checker.block or []:
            if each.name not in TIMES | {"connect_port", "alpha", *known}:
                self.notes.left_out(each.where, str(each), WITHOUT.get(each.name, "this keyword is not known"))


@dataclass(frozen=True)
class Around:
    """What is said around the checkers of a real server: its service's protocol, its address and port, a Host."""

    protocol: Protocol
    own_address: str
    own_port: int | None
    host: str | None


def checks_of(checkers: list[Statement], timing: Timing, around: Around, notes: Notes) -> tuple[HealthCheck, ...]:
    """Return the checks for the checkers of a real server, all of which must pass there as here."""
    found: list[HealthCheck] = []
    for checker in checkers:
        asked = _Asked(checker, around, notes)
        times = timing.with_those_of(checker.block or [])
        found += [_timed(checker, check, times, notes) for check in _MADE[checker.name](asked)]
    return tuple(dict.fromkeys(found))


def _tcp(asked: _Asked) -> list[HealthCheck]:
    asked.tell_rest(())
    return [HealthCheck(CheckType.TCP, port=asked.port(CheckType.TCP))]


def _smtp(asked: _Asked) -> list[HealthCheck]:
    asked.notes.differs(
        asked.checker.where, asked.checker.name, "there is no SMTP check. It is tcp, which expects the greeting 220"
    )
    asked.tell_rest(())
    return [HealthCheck(CheckType.TCP, port=asked.port(CheckType.TCP), expect="220")]


def _ping(asked: _Asked) -> list[HealthCheck]:
    asked.tell_rest(())
    return [HealthCheck(CheckType.ICMP)]


def _dns(asked: _Asked) -> list[HealthCheck]:
    asked.tell_rest({"type", "name"})
    check = HealthCheck(CheckType.DNS, port=asked.port(CheckType.DNS))
    for name, own in (("type", "query_type"), ("name", "query_name")):
        if (each := asked.said(name)) is not None:
            value = each.value.upper() if name == "type" else each.value
            check = _with(check, own, value, each, asked.notes)
    return [check]


def _udp(asked: _Asked) -> list[HealthCheck]:
    asked.tell_rest({"payload", "require_reply"})
    check = HealthCheck(CheckType.UDP, port=asked.port(CheckType.UDP))
    for name, own in (("payload", "send"), ("require_reply", "expect")):
        if (each := asked.said(name)) is None:
            continue
        try:
            text = bytes.fromhex("".join(each.values)).decode("latin-1")
        except ValueError:
            asked.notes.left_out(each.where, str(each), "it is not bytes in hexadecimal digits, without a mask")
            text = ""
        check = _with(check, own, text, each, asked.notes)
    return [check]


def _misc(asked: _Asked) -> list[HealthCheck]:
    """Return the check by a program. keepalived splits its command as a shell does, and runs it without one too."""
    asked.tell_rest({"misc_path", "misc_timeout", "user", "misc_dynamic"})
    path, user = asked.said("misc_path"), asked.said("user")
    try:
        words = tuple(shlex.split(path.value)) if path is not None else ()
        # A command has the address of its real server in it; here all backends have the same check.
        words = tuple("{address}" if word == asked.around.own_address else word for word in words)
        check = HealthCheck(CheckType.EXEC, command=words)
    except (InvalidError, ValueError) as error:
        asked.notes.left_out(asked.checker.where, asked.checker.name, f"{error}")
        return []
    if user is not None:
        check = _with(check, "user", user.value, user, asked.notes)
    else:
        asked.notes.differs(
            asked.checker.where, asked.checker.name, f"the command is run by {check.user}: set user if it needs more"
        )
    if asked.said("misc_dynamic") is None:
        asked.notes.differs(
            asked.checker.where, asked.checker.name, "exit status 2 to 255 is a weight here, and was a failure there"
        )
    if (timeout := asked.said("misc_timeout")) is not None:
        seconds = decimal_of(timeout.value)
        check = _with(check, "timeout_seconds", -1.0 if seconds is None else seconds, timeout, asked.notes)
    return [check]


def _as_tcp(asked: _Asked) -> list[HealthCheck]:
    """Return a check in the place of one that is about no packet."""
    what = "BFD check" if asked.checker.name == "BFD_CHECK" else "check of a file"
    if asked.around.protocol is Protocol.UDP:
        asked.notes.left_out(asked.checker.where, asked.checker.name, f"there is no {what}")
        return []
    asked.notes.differs(asked.checker.where, asked.checker.name, f"there is no {what}; it is tcp in its place")
    return [HealthCheck(CheckType.TCP, port=asked.port(CheckType.TCP))]


def _http(asked: _Asked) -> list[HealthCheck]:
    """Return a check for each url: all of them are asked for, there and here."""
    kind = CheckType.HTTPS if asked.checker.name == "SSL_GET" else CheckType.HTTP
    asked.tell_rest({"url", "virtualhost", "enable_sni"})
    host = asked.around.host if (own := asked.said("virtualhost")) is None else own.value
    start = HealthCheck(kind, port=asked.port(kind), expect_status=_DEFAULT_STATUSES)
    urls = [each for each in asked.checker.block or [] if each.name == "url"]
    made = [_of_url(start, each, host, asked) for each in urls] or [_with_host(start, host, asked.checker, asked)]
    return list(dict.fromkeys(made))


def _of_url(check: HealthCheck, url: Statement, host: str | None, asked: _Asked) -> HealthCheck:
    where: Statement = url
    for each in url.block or []:
        if each.name == "path":
            if re.match(PATH_PATTERN, each.value):
                check = replace(check, path=each.value)
            else:
                asked.notes.left_out(
                    each.where, str(each), "it is not a path: it starts with / and has no blanks; / is asked for"
                )
        elif each.name == "status_code":
            check = replace(check, expect_status=_statuses(each, asked.notes))
        elif each.name == "virtualhost":
            host, where = each.value, each
        elif each.name == "regex":
            check = _with(check, "expect_body_regex", each.value, each, asked.notes)
        else:
            asked.notes.left_out(each.where, str(each), WITHOUT.get(each.name, "this keyword is not known"))
    return _with_host(check, host, where, asked)


def _with_host(check: HealthCheck, host: str | None, where: Statement, asked: _Asked) -> HealthCheck:
    """Return the check with a Host, which is also what TLS asks for if `enable_sni` says so."""
    if host is None:
        return check
    if asked.said("enable_sni") is not None and check.type is CheckType.HTTPS:
        check = _with(check, "sni", host.partition(":")[0], where, asked.notes)
    return _with(check, "host", host, where, asked.notes)


def _statuses(statement: Statement, notes: Notes) -> tuple[int | str, ...]:
    """Return the statuses that a check accepts."""
    if not statement.values or any(not re.match(STATUS_PATTERN, text) for text in statement.values):
        notes.left_out(statement.where, str(statement), "a status is a number or a range such as 200-299")
        return _DEFAULT_STATUSES
    try:
        check = HealthCheck(CheckType.HTTP, expect_status=tuple(dict.fromkeys(statement.values)))
    except InvalidError as error:
        notes.left_out(statement.where, str(statement), f"{error.detail}; {error.hint}")
        return _DEFAULT_STATUSES
    return check.expect_status or _DEFAULT_STATUSES


def _with(check: HealthCheck, name: str, value: object, statement: Statement, notes: Notes) -> HealthCheck:
    """Return the check with this field; if it cannot have that, it stays as it is, and that is told."""
    changed: dict[str, Any] = {name: value}
    try:
        return replace(check, **changed)
    except InvalidError as error:
        notes.left_out(statement.where, str(statement), f"{error.detail}; {error.hint}")
        return check


def _timed(checker: Statement, check: HealthCheck, timing: Timing, notes: Notes) -> HealthCheck:
    """Return a check with keepalived's times: the interval is delay_loop, and a success makes a backend up.

    keepalived tries a check that fails again after delay_before_retry: that is the fast interval.
    """
    interval = timing.seconds("delay_loop", 60.0, notes)
    timeout = timing.seconds("connect_timeout", 5.0, notes)
    retries = timing.count(_RETRIES.get(checker.name, 1), notes)
    pause = timing.seconds("delay_before_retry", interval if checker.name == "DNS_CHECK" else
                           _PAUSES.get(checker.name, 1.0), notes)  # fmt: skip
    times: dict[str, Any] = {"interval_seconds": interval, "fall": retries + 1}
    if check.type is not CheckType.EXEC:
        times["timeout_seconds"] = timeout
    if retries and pause < interval:
        times["fast_interval_seconds"] = pause
    for name, value in times.items():
        try:
            check = replace(check, **{name: value})
        except InvalidError as error:
            kept = getattr(check, name)
            notes.differs(
                checker.where, f"{name} {value:g}", f"{error.hint}; it is {'omitted' if kept is None else f'{kept:g}'}"
            )
    return replace(check, rise=1)


_MADE: dict[str, Callable[[_Asked], list[HealthCheck]]] = {
    "HTTP_GET": _http,
    "SSL_GET": _http,
    "TCP_CHECK": _tcp,
    "SMTP_CHECK": _smtp,
    "DNS_CHECK": _dns,
    "MISC_CHECK": _misc,
    "PING_CHECK": _ping,
    "UDP_CHECK": _udp,
    "BFD_CHECK": _as_tcp,
    "FILE_CHECK": _as_tcp,
}
CHECKERS = frozenset(_MADE)
