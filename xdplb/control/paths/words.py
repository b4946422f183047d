# SPDX-License-Identifier: Apache-2.0
"""ICMP errors as a sentence for a backend's reason. Pure."""

from __future__ import annotations

from xdplb.control.paths.tunnel import Tunnel
from xdplb.control.plan.path_mtu import least_mtu
from xdplb.model.address import IPAddress
from xdplb.model.vip import Forward
from xdplb.net.icmp_message import ErrorKind, IcmpError

__all__ = ["sentence"]

_NO_NETWORK = "there is no route to it (network unreachable)"
_NO_HOST = "it does not answer there (host unreachable)"
_FILTERED = "a filter forbids these packets (administratively prohibited)"

_UNREACHABLE = {
    4: {
        **dict.fromkeys((0, 6, 11), _NO_NETWORK),
        **dict.fromkeys((1, 7, 8, 12), _NO_HOST),
        **dict.fromkeys((9, 10, 13), _FILTERED),
    },
    6: {
        **dict.fromkeys((0, 6), _NO_NETWORK),
        3: "it does not answer there (address unreachable)",
        **dict.fromkeys((1, 5), _FILTERED),
    },
}
"""By IP version and code. The codes that are missing say so themselves."""

_NOT_TAKEN = {
    (4, ErrorKind.UNREACHABLE, 2): "protocol unreachable",
    (4, ErrorKind.UNREACHABLE, 3): "port unreachable",
    (6, ErrorKind.UNREACHABLE, 4): "port unreachable",
    (6, ErrorKind.PARAMETER_PROBLEM, 1): "unrecognized next header",
}
"""What a host answers that has no tunnel, or whose firewall rejects what comes through it."""


def sentence(error: IcmpError, tunnel: Tunnel, inner_version: int) -> str:
    """Return what an error says about a backend, or an empty string if it asks nothing of the operator.

    `inner_version` is that of the packets to the backend.
    """
    version = tunnel.address.version
    if error.kind is ErrorKind.TOO_BIG:
        return _too_small(error, least_mtu(version, tunnel.forward, inner_version))
    if (not_taken := _NOT_TAKEN.get((version, error.kind, error.code))) is not None:
        kind = "GUE" if tunnel.forward is Forward.GUE else f"IPv{inner_version} in IPv{version}"
        return (
            f"{_who(error.router, tunnel.address)} rejects {kind} packets ({not_taken}):"
            " see `xdplb backend-host show` there"
        )
    return f"{_who(error.router, tunnel.address)} says: {_what(error, version)}"


def _who(router: IPAddress, backend: IPAddress) -> str:
    return "the backend" if router == backend else f"{router}, on the way to it,"


def _what(error: IcmpError, version: int) -> str:
    if error.kind is ErrorKind.UNREACHABLE:
        return _UNREACHABLE[version].get(error.code, f"it cannot be reached (unreachable, code {error.code})")
    if error.kind is ErrorKind.PARAMETER_PROBLEM:
        return f"the outer header has a fault (parameter problem, code {error.code})"
    if error.code == 1:
        return "fragments were missing (reassembly time exceeded)"
    return "there are too many hops, or a routing loop (time exceeded)"


def _too_small(error: IcmpError, least: int) -> str:
    if not 0 < error.mtu < least:
        return ""
    return (
        f"{error.router}, on the way to it, takes packets of {error.mtu} bytes at most,"
        f" and xdplb does not go below {least}"
    )
