# SPDX-License-Identifier: Apache-2.0
"""A whole configuration: all VIPs with what belongs to them, and the settings of the daemon that may change."""

from __future__ import annotations

from dataclasses import dataclass, field

from .access import AccessList
from .backend import Backend
from .errors import InvalidError
from .health import HealthCheck
from .vip import Vip, VipKey

__all__ = ["API_MOST", "NO_SETTINGS", "ApiSettings", "Config", "DeclaredVip", "Settings"]


API_MOST = {
    "connections": 65536,
    "requests": 1024,
    "head_timeout_seconds": 3600,
    "body_timeout_seconds": 3600,
    "idle_timeout_seconds": 86400,
    "max_body_mib": 1024,
}
"""The largest value of each setting of the API; all are above 0."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """What the API takes on at once, and how long it waits for a client."""

    connections: int | None = None
    requests: int | None = None
    head_timeout_seconds: float | None = None
    body_timeout_seconds: float | None = None
    idle_timeout_seconds: float | None = None
    max_body_mib: int | None = None

    def __post_init__(self) -> None:
        for name, most in API_MOST.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= most:
                raise InvalidError.field(
                    f"/settings/api/{name}", f"{name} is {value}", hint=f"give more than 0, and at most {most}"
                )


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that may change while the daemon runs; None is what `xdplb up` was told, or its default."""

    api: ApiSettings = ApiSettings()


NO_SETTINGS = Settings()
"""All is as `xdplb up` was told."""

_NO_ACCESS_LIST = AccessList()


@dataclass(frozen=True, slots=True)
class DeclaredVip:
    """A VIP with all that belongs to it, as declared.

    `pointer` is where it is in the body, such as `/vips/3`.
    """

    pointer: str = field(compare=False)
    vip: Vip
    checks: tuple[HealthCheck, ...] = ()
    access: AccessList = _NO_ACCESS_LIST
    backends: tuple[Backend, ...] = ()

    @property
    def key(self) -> VipKey:
        """What identifies it."""
        return self.vip.key


@dataclass(frozen=True, slots=True)
class Config:
    """All that is desired."""

    vips: tuple[DeclaredVip, ...] = ()
    settings: Settings = NO_SETTINGS
