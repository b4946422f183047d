"""A whole configuration: all VIPs with what belongs to them, and the settings of the daemon that may change."""

from __future__ import annotations

from dataclasses import dataclass

from .access import AccessList
from .address import IPNetwork
from .backend import Backend
from .health import HealthCheck
from .vip import Vip

__all__ = ["NO_SETTINGS", "Config", "Settings", "VipConfig"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that may change while the daemon runs; None is what `xdplb up` was told, or its default.

    `ipip_source` are the prefixes that outer source addresses are taken from, at most one per family; empty for the
    host's own addresses.
    """

    ipip_source: tuple[IPNetwork, ...] | None = None


NO_SETTINGS = Settings()
"""All is as `xdplb up` was told."""


_NO_ACCESS_LIST = AccessList()


@dataclass(frozen=True, slots=True)
class VipConfig:
    """A VIP with its backends, check and access list."""

    vip: Vip
    backends: tuple[Backend, ...] = ()
    check: HealthCheck | None = None
    access: AccessList = _NO_ACCESS_LIST


@dataclass(frozen=True, slots=True)
class Config:
    """All that is desired."""

    vips: tuple[VipConfig, ...] = ()
    settings: Settings = NO_SETTINGS
