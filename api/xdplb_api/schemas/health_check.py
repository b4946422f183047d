# SPDX-License-Identifier: Apache-2.0
"""The health checks of a VIP and their results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from xdplb.control.answers.views import ChecksView, CheckView
from xdplb.control.state.codec import check_from_json, check_to_json
from xdplb.model import check_fields as rules
from xdplb.model.address import address_order
from xdplb.model.backend import Health
from xdplb.model.check_type import default_of, types_with
from xdplb.model.errors import InvalidError, within
from xdplb.model.health import (
    FIELD_NAMES,
    MOST_CHECKS,
    CheckType,
    HealthCheck,
    Target,
    fitted,
    fitted_checks,
    labels_of,
    refuse_missing_check,
)
from xdplb.model.key import VipKey
from xdplb.model.vip import NAME_PATTERN

from .base import ReadOnly, RequestBody, ResponseBody, refused

__all__ = [
    "CHECKS_OR_AS_IS",
    "ONE_CHECK",
    "ONE_CHECK_OR_AS_IS",
    "SEVERAL_CHECKS",
    "AllChecksOut",
    "CheckOfVipOut",
    "CheckResultOut",
    "Checks",
    "ChecksIn",
    "ChecksOut",
    "HealthCheckIn",
    "HealthCheckOut",
    "HealthCheckStatusOut",
    "RecentOut",
    "checks_of",
    "checks_out",
    "given_checks",
]


def _check_type(value: object) -> object:
    try:
        refuse_missing_check(value)
    except InvalidError as error:
        raise refused(error) from error
    return value


def _status(value: object) -> int | str:
    try:
        return rules.status("expect_status", value)
    except InvalidError as error:
        raise refused(error) from error


CheckTypeWord = Annotated[CheckType, Field(strict=False), BeforeValidator(_check_type)]
TargetWord = Annotated[Target, Field(strict=False)]
StatusCode = Annotated[
    int | str,
    PlainValidator(_status),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": rules.STATUS_PATTERN},
            ]
        }
    ),
]
File = Annotated[str, Field(pattern=rules.FILE_PATTERN, max_length=rules.LONGEST_WORD)]
Text = Annotated[str, Field(max_length=rules.LONGEST_TEXT)]
Word = Annotated[str, Field(max_length=rules.LONGEST_WORD)]


def _of(field: str) -> str:
    """Return the types of checks that have this field, for its description."""
    return ", ".join(f"`{kind}`" for kind in types_with(field))


TYPE = (
    "What it does: an HTTP request that must be answered as expected (`http`, and `https` over TLS), a connection that"
    " may send and expect a text (`tcp`, `tls`, `udp`), a query (`dns`), a ping (`icmp`), a command of this host"
    " (`exec`), or a line that an agent on the backend says (`agent`)."
)
NAME = "What it is called where a VIP has several checks: in reasons, metrics and commands. Null: by type and port."
PORT = (
    "The port to check; null: the VIP's, or the first of its range. Needed for an `agent`, for a VIP with all ports,"
    f" and where the check's protocol is not the VIP's. {_of('port')} only."
)
TARGET = (
    "Where probes go: to the backend's own address (`backend`), or to the VIP's on that backend, by the way of clients'"
    " packets (`vip`). Null: `vip` where the check's port is one of the VIP's and its protocol fits, else `backend`."
)
INTERVAL = "Seconds from one check of a backend to the next."
FAST_INTERVAL = "The same while a backend is between states: neither `rise` passes nor `fall` failures. Null: as ever."
TIMEOUT = "Seconds after which a check has failed."
RISE = "Passes in a row that make a backend `up`."
FALL = "Failures in a row that make it `down`."
JITTER = "The largest random deviation of a wait, as a fraction of the interval, so that checks do not run all at once."
RESET = (
    "End the connections of checks with a RST: no TIME_WAIT, but many servers log an error at each check."
    f" {_of('reset')} only."
)
METHOD = f"The method of the request. {_of('method')} only."
PATH = f"The path of the request. {_of('path')} only."
HOST = f"The Host of the request; null: the address that is asked. {_of('host')} only."
HEADERS = f"More headers of the request, by name. {_of('headers')} only."
EXPECT_STATUS = f"The HTTP status codes that pass, and ranges of them: `200-299`. {_of('expect_status')} only."
EXPECT_BODY = f"A text that must be in the first 64 KiB of the body. {_of('expect_body')} only."
EXPECT_BODY_REGEX = (
    f"A regular expression (RE2) that must match in the first 64 KiB of the body. {_of('expect_body_regex')} only."
)
SNI = f"The server name that TLS asks for, and that the certificate must have if it is verified. {_of('sni')} only."
VERIFY = f"Whether the certificate must be valid for `sni`. {_of('verify')} only."
CA_FILE = f"The file of the authorities that verify certificates; null: those of the system. {_of('ca_file')} only."
CERT_FILE = f"The file with a certificate for the server, if it asks for one. {_of('cert_file')} only."
KEY_FILE = f"The file with its key; null: it is in `cert_file`. {_of('key_file')} only."
SEND = (
    "What is sent once connected, each character a byte (U+00FF at most). Null: nothing, and an empty datagram by"
    f" `udp`. {_of('send')} only."
)
EXPECT = (
    "What the answer must contain, each character a byte; empty: any answer. Null: none is waited for, and by `udp`"
    f" silence passes. {_of('expect')} only."
)
QUERY_NAME = f"The name to ask for. {_of('query_name')} only."
QUERY_TYPE = f"The type of record to ask for. {_of('query_type')} only."
EXPECT_RCODE = f"The response code that passes. {_of('expect_rcode')} only."
EXPECT_ANSWER = f"A record that must be among the answers, as `dig +short` shows it. {_of('expect_answer')} only."
COMMAND = (
    "The command and its words, from an absolute path; no shell reads it. Exit status 0 is up, 1 down, and 2 to 255 up"
    f" with that number less 2 as weight. {_of('command')} only."
)
USER = f"The user that the command runs as, not root. {_of('user')} only."
LABEL = "What it is called: its name, or its type and port."
STATUS = "Its results."

ONE_CHECK = "How its backends are checked; null: not at all, so that they count as up. Several: see `checks`."
ONE_CHECK_OR_AS_IS = "How its backends are checked; null: not at all. Omitted: as it is. Several: see `checks`."
SEVERAL_CHECKS = "How its backends are checked, in place of `health_check`: all of these must pass."
CHECKS_OR_AS_IS = f"{SEVERAL_CHECKS} Null or omitted: they stay as they are."

_DEFAULTS = HealthCheck()


def _default(name: str) -> str:
    """Return the default of a field, for its description."""
    value = default_of(name)
    return f" Null: {str(value).lower() if isinstance(value, bool) else value}."


def _in_range(name: str) -> Any:
    """Return the range of a number."""
    low, high = rules.RANGES[name]
    return Field(ge=low, le=high)


class HealthCheckIn(RequestBody):
    """A health check; omitted fields have their defaults. Null is the same as omitted."""

    type: CheckTypeWord = Field(description=TYPE)
    name: str | None = Field(default=None, pattern=NAME_PATTERN, max_length=63, description=NAME, examples=["app"])
    port: int | None = Field(default=None, ge=1, le=65535, description=PORT, examples=[8080])
    target: TargetWord | None = Field(default=None, description=TARGET)
    interval_seconds: Annotated[float, _in_range("interval_seconds")] = Field(
        default=_DEFAULTS.interval_seconds, description=INTERVAL
    )
    fast_interval_seconds: Annotated[float, _in_range("fast_interval_seconds")] | None = Field(
        default=None, description=FAST_INTERVAL, examples=[0.5]
    )
    timeout_seconds: Annotated[float, _in_range("timeout_seconds")] = Field(
        default=_DEFAULTS.timeout_seconds, description=TIMEOUT
    )
    rise: Annotated[int, _in_range("rise")] = Field(default=_DEFAULTS.rise, description=RISE)
    fall: Annotated[int, _in_range("fall")] = Field(default=_DEFAULTS.fall, description=FALL)
    jitter: Annotated[float, _in_range("jitter")] = Field(default=_DEFAULTS.jitter, description=JITTER)
    reset: bool | None = Field(default=None, description=RESET + _default("reset"))
    method: str | None = Field(default=None, description=METHOD + _default("method"), examples=["HEAD"])
    path: str | None = Field(
        default=None,
        pattern=rules.PATH_PATTERN,
        max_length=rules.LONGEST_PATH,
        description=PATH + _default("path"),
        examples=["/healthz"],
    )
    host: str | None = Field(default=None, pattern=rules.HOST_PATTERN, description=HOST, examples=["www.example.com"])
    headers: dict[str, Word] | None = Field(
        default=None, max_length=rules.MOST_HEADERS, description=HEADERS, examples=[{"X-Probe": "xdplb"}]
    )
    expect_status: list[StatusCode] | None = Field(
        default=None,
        min_length=1,
        max_length=rules.MOST_STATUSES,
        description=f"{EXPECT_STATUS} Null: 200.",
        examples=[[200, "300-399"]],
    )
    expect_body: Text | None = Field(default=None, description=EXPECT_BODY, examples=["ready"])
    expect_body_regex: str | None = Field(
        default=None,
        max_length=rules.LONGEST_REGEX,
        description=EXPECT_BODY_REGEX,
        examples=['"status": *"(up|ok)"'],
    )
    sni: str | None = Field(default=None, max_length=rules.LONGEST_NAME, description=SNI, examples=["www.example.com"])
    verify: bool | None = Field(default=None, description=VERIFY + _default("verify"))
    ca_file: File | None = Field(default=None, description=CA_FILE, examples=["/etc/xdplb/backends-ca.pem"])
    cert_file: File | None = Field(default=None, description=CERT_FILE, examples=["/etc/xdplb/check.pem"])
    key_file: File | None = Field(default=None, description=KEY_FILE, examples=["/etc/xdplb/check.key"])
    send: Text | None = Field(default=None, description=SEND, examples=["PING\r\n"])
    expect: Text | None = Field(default=None, description=EXPECT, examples=["+PONG"])
    query_name: str | None = Field(
        default=None, description=QUERY_NAME + _default("query_name"), examples=["www.example.com"]
    )
    query_type: str | None = Field(default=None, description=QUERY_TYPE + _default("query_type"), examples=["A"])
    expect_rcode: str | None = Field(
        default=None, description=EXPECT_RCODE + _default("expect_rcode"), examples=["NXDOMAIN"]
    )
    expect_answer: Text | None = Field(default=None, description=EXPECT_ANSWER, examples=["192.0.2.1"])
    command: list[Word] | None = Field(
        default=None, max_length=rules.MOST_WORDS, description=COMMAND, examples=[["/usr/lib/xdplb/check-db", "--fast"]]
    )
    user: str | None = Field(default=None, description=USER + _default("user"), examples=["nobody"])
    label: ReadOnly = None
    status: ReadOnly = None

    def check(self) -> HealthCheck:
        """Return the check of the model."""
        return check_from_json({name: getattr(self, name) for name in FIELD_NAMES})


Checks = Annotated[list[HealthCheckIn], Field(max_length=MOST_CHECKS)]


def given_checks(one: HealthCheckIn | None, several: Sequence[HealthCheckIn] | None) -> list[tuple[str, HealthCheckIn]]:
    """Return the checks that are given as `health_check`, or as `checks`, each with its place in the VIP's body.

    InvalidError if they are given as both.
    """
    if one is not None and several is not None:
        raise InvalidError.field(
            "/health_check", "both health_check and checks are given", hint="give all checks as checks"
        )
    if one is not None:
        return [("/health_check", one)]
    return [(f"/checks/{number}", each) for number, each in enumerate(several or ())]


def checks_of(
    one: HealthCheckIn | None, several: Sequence[HealthCheckIn] | None, key: VipKey
) -> tuple[HealthCheck, ...]:
    """Return the checks that are given as `health_check`, or as `checks`. InvalidError if the VIP cannot have them."""
    made: list[HealthCheck] = []
    for pointer, each in given_checks(one, several):
        with within(pointer):
            fitted(check := each.check(), key)
        made.append(check)
    with within("/checks"):
        fitted_checks(made, key)
    return tuple(made)


class ChecksIn(RequestBody):
    """All health checks of a VIP."""

    checks: Checks = Field(description="The checks: all of them must pass. None: backends count as up.")

    def wanted(self, key: VipKey) -> tuple[HealthCheck, ...]:
        """Return the checks of the model, for the VIP `key`."""
        return checks_of(None, self.checks, key)


class RecentOut(ResponseBody):
    """One result of a check."""

    at: datetime = Field(description="When the probe ended, UTC.")
    passed: bool | None = Field(description="Whether it passed; null if it could not be run.")
    reason: str = Field(description="What was found, as a sentence.")
    seconds: float = Field(description="How many seconds it took.")


class _LastResultOut(ResponseBody):
    """What one check of one backend found last."""

    backend: str = Field(description="The backend's address.", examples=["10.0.0.11"])
    asks: str = Field(
        description="What its probes ask: an address and port; of the VIP's, the way of forwarding that they take.",
        examples=["203.0.113.10:443 by ipip"],
    )
    health: Health = Field(description="Its health, according to `rise` and `fall` of this check.")
    reason: str = Field(description="The last result, as a sentence.")
    since: datetime = Field(description="Since when the backend has the health that all checks show, UTC.")
    last_run: datetime | None = Field(description="When the last check ended, UTC; null before the first.")
    last_passed: bool | None = Field(description="Whether the last check passed; null if it could not be run.")
    last_seconds: float | None = Field(description="How many seconds the last check took.")
    passes: int = Field(description="How many checks passed since checking started.")
    failures: int = Field(description="How many checks failed since checking started.")


def _last_result(view: CheckView) -> dict[str, Any]:
    """Return the fields of _LastResultOut for the manager's view."""
    return {name: getattr(view, name) for name in _LastResultOut.model_fields}


class CheckResultOut(_LastResultOut):
    """The results of one check of one backend."""

    recent: list[RecentOut] = Field(description="The last results, at most 10, the latest one first.")

    @classmethod
    def of(cls, view: CheckView) -> Self:
        """Return the body for the manager's view."""
        recent = [
            RecentOut(at=at, passed=passed, reason=reason, seconds=seconds)
            for at, passed, reason, seconds in view.recent
        ]
        return cls(**_last_result(view), recent=recent)


class CheckOfVipOut(_LastResultOut):
    """The last result of one check of one backend, with its VIP."""

    vip: str = Field(description="The VIP.", examples=["203.0.113.10:443/tcp"])
    check: str = Field(description="The check's `label`.", examples=["http:8080"])
    recent: str = Field(
        description="The last results, at most 10, the latest one first: `+` passed, `-` failed, `?` not run.",
        examples=["++++-+++++"],
    )


_SIGNS = {True: "+", False: "-", None: "?"}


class AllChecksOut(ResponseBody):
    """The health checks of all VIPs."""

    checks: list[CheckOfVipOut] = Field(description="The last results, sorted by VIP, check and address.")

    @classmethod
    def of(cls, views: Mapping[VipKey, ChecksView]) -> Self:
        """Return the body for the manager's views."""
        return cls(checks=[result for key in sorted(views) for result in _of_vip(key, views[key])])


def _of_vip(key: VipKey, view: ChecksView) -> Iterator[CheckOfVipOut]:
    labels = labels_of(tuple(check for check, _ in view.checks))
    for label, (_, results) in zip(labels, view.checks, strict=True):
        for each in sorted(results, key=_address):
            recent = "".join(_SIGNS[passed] for _, passed, _, _ in each.recent)
            yield CheckOfVipOut(**_last_result(each), vip=str(key), check=label, recent=recent)


def _address(result: CheckView) -> tuple[int, int]:
    return address_order(ip_address(result.backend))


class HealthCheckStatusOut(ResponseBody):
    """The results of a check."""

    backends: list[CheckResultOut] = Field(description="The result of each backend, sorted by address.")


class HealthCheckOut(ResponseBody):
    """A health check: its configuration and its `status`. Fields that its type does not have are null."""

    type: CheckType = Field(description=TYPE)
    name: str | None = Field(description=NAME)
    port: int | None = Field(description=PORT)
    target: Target = Field(description=TARGET)
    interval_seconds: float = Field(description=INTERVAL)
    fast_interval_seconds: float | None = Field(description=FAST_INTERVAL)
    timeout_seconds: float = Field(description=TIMEOUT)
    rise: int = Field(description=RISE)
    fall: int = Field(description=FALL)
    jitter: float = Field(description=JITTER)
    reset: bool | None = Field(description=RESET)
    method: str | None = Field(description=METHOD)
    path: str | None = Field(description=PATH)
    host: str | None = Field(description=HOST)
    headers: dict[str, str] | None = Field(description=HEADERS)
    expect_status: list[int | str] | None = Field(description=EXPECT_STATUS)
    expect_body: str | None = Field(description=EXPECT_BODY)
    expect_body_regex: str | None = Field(description=EXPECT_BODY_REGEX)
    sni: str | None = Field(description=SNI)
    verify: bool | None = Field(description=VERIFY)
    ca_file: str | None = Field(description=CA_FILE)
    cert_file: str | None = Field(description=CERT_FILE)
    key_file: str | None = Field(description=KEY_FILE)
    send: str | None = Field(description=SEND)
    expect: str | None = Field(description=EXPECT)
    query_name: str | None = Field(description=QUERY_NAME)
    query_type: str | None = Field(description=QUERY_TYPE)
    expect_rcode: str | None = Field(description=EXPECT_RCODE)
    expect_answer: str | None = Field(description=EXPECT_ANSWER)
    command: list[str] | None = Field(description=COMMAND)
    user: str | None = Field(description=USER)
    label: str = Field(description=LABEL, examples=["http:8080"])
    status: HealthCheckStatusOut = Field(description=STATUS)

    @classmethod
    def of(cls, check: HealthCheck, label: str, results: Iterable[CheckView]) -> Self:
        """Return the body for a check, what it is called, and its results."""
        told = {**dict.fromkeys(FIELD_NAMES), **check_to_json(check), "target": check.target or Target.BACKEND}
        status = HealthCheckStatusOut(backends=[CheckResultOut.of(result) for result in sorted(results, key=_address)])
        return cls(**told, label=label, status=status)


class ChecksOut(ResponseBody):
    """All health checks of a VIP."""

    checks: list[HealthCheckOut] = Field(description="The checks, each with its results; all of them must pass.")

    @classmethod
    def of(cls, view: ChecksView) -> Self:
        """Return the body for the manager's view."""
        return cls(checks=checks_out(view))


def checks_out(view: ChecksView) -> list[HealthCheckOut]:
    """Return the bodies for all checks of a VIP."""
    labels = labels_of(tuple(check for check, _ in view.checks))
    return [
        HealthCheckOut.of(check, label, results) for label, (check, results) in zip(labels, view.checks, strict=True)
    ]
