"""A VIP's health check and its results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from xdplb.control.answers.views import CheckView
from xdplb.model.address import address_order
from xdplb.model.backend import Health
from xdplb.model.errors import InvalidError
from xdplb.model.health import PATH_PATTERN, CheckType, HealthCheck, refuse_missing_check

from .base import ReadOnly, RequestBody, ResponseBody, refused

__all__ = ["CheckResultOut", "HealthCheckIn", "HealthCheckOut", "HealthCheckStatusOut"]


def _check_type(value: object) -> object:
    try:
        refuse_missing_check(value)
    except InvalidError as error:
        raise refused(error) from error
    return value


CheckTypeWord = Annotated[CheckType, Field(strict=False), BeforeValidator(_check_type)]
StatusCode = Annotated[int, Field(ge=100, le=599)]

TYPE = "An HTTP GET that must answer with an expected status (`http`), or a TCP connect (`tcp`)."
PORT = (
    "The TCP port to check; null: the VIP's port, or the first of its range. Needed for a VIP of UDP or with all ports."
)
PATH = "The path of the GET; `http` only."
EXPECT_STATUS = "The HTTP status codes that pass; `http` only."
INTERVAL = "Seconds from one check of a backend to the next."
TIMEOUT = "Seconds after which a check has failed."
RISE = "Passes in a row that make a backend `up`."
FALL = "Failures in a row that make it `down`."
JITTER = "The largest random deviation of a wait, as a fraction of the interval, so that checks do not run all at once."
RESET = "End the connections of checks with a RST: no TIME_WAIT, but many servers log an error at each check."
TARGET = "What to check: each backend at its own address."


class HealthCheckIn(RequestBody):
    """A health check; omitted fields have their defaults."""

    type: CheckTypeWord = Field(description=TYPE)
    port: int | None = Field(default=None, ge=1, le=65535, description=PORT, examples=[8080])
    path: str = Field(default="/", pattern=PATH_PATTERN, max_length=1024, description=PATH, examples=["/healthz"])
    expect_status: list[StatusCode] = Field(default=[200], min_length=1, max_length=32, description=EXPECT_STATUS)
    interval_seconds: float = Field(default=2.0, ge=0.05, le=3600, description=INTERVAL)
    timeout_seconds: float = Field(default=1.0, ge=0.01, le=300, description=TIMEOUT)
    rise: int = Field(default=2, ge=1, le=100, description=RISE)
    fall: int = Field(default=3, ge=1, le=100, description=FALL)
    jitter: float = Field(default=0.1, ge=0, le=0.5, description=JITTER)
    reset: bool = Field(default=False, description=RESET)
    target: Literal["backend"] = Field(default="backend", description=TARGET)
    status: ReadOnly = None

    def check(self) -> HealthCheck:
        """Return the check of the model."""
        values = {field.name: getattr(self, field.name) for field in fields(HealthCheck)}
        return HealthCheck(**{**values, "expect_status": tuple(self.expect_status)})


class CheckResultOut(ResponseBody):
    """The results of the checks of one backend."""

    backend: str = Field(description="The backend's address.", examples=["10.0.0.11"])
    health: Health = Field(description="Its health, according to `rise` and `fall`.")
    reason: str = Field(description="The last result, as a sentence.")
    since: datetime = Field(description="Since when it has this health, UTC.")
    last_run: datetime | None = Field(description="When the last check ended, UTC; null before the first.")
    last_passed: bool | None = Field(description="Whether the last check passed; null if it could not be run.")
    last_seconds: float | None = Field(description="How many seconds the last check took.")
    passes: int = Field(description="How many checks passed since checking started.")
    failures: int = Field(description="How many checks failed since checking started.")

    @classmethod
    def of(cls, view: CheckView) -> CheckResultOut:
        """Return the body for the manager's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


def _address(result: CheckView) -> tuple[int, int]:
    return address_order(ip_address(result.backend))


class HealthCheckStatusOut(ResponseBody):
    """The results of a check."""

    backends: list[CheckResultOut] = Field(description="The result of each backend, sorted by address.")


class HealthCheckOut(ResponseBody):
    """A health check: its configuration and its `status`."""

    type: CheckType = Field(description=TYPE)
    port: int | None = Field(description=PORT)
    path: str = Field(description=PATH)
    expect_status: list[int] = Field(description=EXPECT_STATUS)
    interval_seconds: float = Field(description=INTERVAL)
    timeout_seconds: float = Field(description=TIMEOUT)
    rise: int = Field(description=RISE)
    fall: int = Field(description=FALL)
    jitter: float = Field(description=JITTER)
    reset: bool = Field(description=RESET)
    target: Literal["backend"] = Field(description=TARGET)
    status: HealthCheckStatusOut = Field(description="Its results.")

    @classmethod
    def of(cls, check: HealthCheck, results: Iterable[CheckView]) -> HealthCheckOut:
        """Return the body for a check and its results."""
        return cls(
            type=check.type,
            port=check.port,
            path=check.path,
            expect_status=list(check.expect_status),
            interval_seconds=check.interval_seconds,
            timeout_seconds=check.timeout_seconds,
            rise=check.rise,
            fall=check.fall,
            jitter=check.jitter,
            reset=check.reset,
            target="backend",
            status=HealthCheckStatusOut(
                backends=[CheckResultOut.of(result) for result in sorted(results, key=_address)]
            ),
        )
