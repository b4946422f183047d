# SPDX-License-Identifier: Apache-2.0
"""The paths of VIPs and of the resources below them."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor

__all__ = [
    "ACCESS",
    "ALL_BACKENDS",
    "ALL_CHECKS",
    "BACKEND",
    "BACKENDS",
    "BACKEND_OVERLAY",
    "CHANGES",
    "CHECKS",
    "CONFIG",
    "DRAIN",
    "HEALTH_CHECK",
    "OVERLAY",
    "PROBE",
    "PROBE_BACKEND",
    "RELOAD",
    "VIP",
    "VIPS",
    "VIP_NODES",
    "VIP_STATS",
]


class _VipConvertor(Convertor[str]):
    """A name or `ADDRESS:PORT:PROTOCOL`. Slashes are accepted in prefix and protocol, since %2F is decoded first."""

    regex = r"[^/]+(?:/[0-9]+\]?)?:[0-9-]*[:/][^/]+|[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("vip", _VipConvertor())

ALL_BACKENDS = "/backends"
ALL_CHECKS = "/checks"
VIPS = "/vips"
VIP = f"{VIPS}/{{vip:vip}}"
BACKENDS = f"{VIP}/backends"
BACKEND = f"{BACKENDS}/{{address}}"
DRAIN = f"{BACKEND}/drain"
HEALTH_CHECK = f"{VIP}/health-check"
CHECKS = f"{VIP}/checks"
PROBE = f"{VIP}/probe"
PROBE_BACKEND = f"{BACKEND}/probe"
ACCESS = f"{VIP}/access"
CONFIG = "/config"
OVERLAY = f"{CONFIG}/overlay"
RELOAD = f"{CONFIG}/reload"
BACKEND_OVERLAY = f"{BACKEND}/overlay"
CHANGES = "/changes"
VIP_STATS = f"{VIP}/stats"
VIP_NODES = f"{VIP}/nodes"
