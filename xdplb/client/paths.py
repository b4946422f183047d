# SPDX-License-Identifier: Apache-2.0
"""The URL paths of VIPs and backends."""

from __future__ import annotations

from urllib.parse import quote

from xdplb.model.backend import parse_backend_address
from xdplb.model.vip import VipKey

__all__ = ["backend_path", "vip_path"]


def vip_path(vip: str, *more: str) -> str:
    """Return the URL path of a VIP, given by key (`203.0.113.10:443/tcp`) or name, followed by the parts `more`.

    Raises InvalidError if `vip` can be neither.
    """
    is_key = any(sign in vip for sign in ":/.[")  # a name has none of these
    reference = VipKey.parse(vip).path if is_key else vip
    return "/".join(["/v1/vips", quote(reference, safe=":"), *more])


def backend_path(vip: str, address: str, *more: str) -> str:
    """Return the URL path of a backend of `vip`, followed by the parts `more`. InvalidError if it is no address."""
    parse_backend_address(address)
    return vip_path(vip, "backends", quote(address, safe=":"), *more)
