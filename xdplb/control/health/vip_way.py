# SPDX-License-Identifier: Apache-2.0
"""Probes by the way of a VIP's packets: the mark that sends them there, and the words for what fails only there."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import lru_cache

from xdplb.control.health.health_source import CheckTarget, VipWay
from xdplb.control.health.local_end import without_source
from xdplb.control.health.probes.aim import Aim, Prepare
from xdplb.control.health.probes.result import ProbeResult
from xdplb.model.address import with_port
from xdplb.model.vip import Forward

__all__ = ["by_vip", "words"]

_SO_MARK = 36  # asm-generic/socket.h; Python 3.11 has no name for it
_SEGMENT_BYTES = 1280 - 48 - 40 - 20
"""What fits in any tunnel on a link with the least MTU of IPv6: the outer headers of GUE, and those of IPv6 and TCP."""


@lru_cache(maxsize=1 << 14)
def _marked(mark: int) -> Prepare:
    """Return what marks the socket of a probe."""

    def prepare(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        if sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)

    return prepare


def by_vip(aim: Aim, way: VipWay, mark: int) -> Aim:
    """Return the aim of the probe that goes to the VIP instead, and names that as a client would."""
    return replace(aim, prepare=_marked(mark), name=with_port(way.address, aim.port))


def words(target: CheckTarget, failed: ProbeResult, beside: ProbeResult | None) -> str:
    """Return the reason of a failed probe by the VIP's way; `beside` is what one to the backend's own address found."""
    way = target.way
    assert way is not None
    there = f"{with_port(way.address, target.port)} by {way.forward}"
    own = with_port(target.address, target.port)
    if beside is not None and beside.passed:
        return f"answers at {own}, but not for {there}: {_guess(way, failed)}; {failed.reason}"
    reason = f"for {there}: {failed.reason}"
    if beside is None or beside.passed is None:
        return reason
    if not beside.heard:
        return f"{reason}; no answer at {own} either"
    if without_source(beside.reason) == without_source(failed.reason):
        return f"{reason}; the same at {own}"
    return f"{reason}; at {own}: {beside.reason}"


def _guess(way: VipWay, failed: ProbeResult) -> str:
    """Return what may be wrong with the backend, and how to find out."""
    if failed.heard:
        return f"does its service listen on {way.address} too?"
    unwrap = "" if way.forward is Forward.DR else ", does it unwrap"
    return (
        f"is the VIP on its lo{unwrap}, does rp_filter let it in?"
        f" `xdplb backend-host show {way.address} --forward {way.forward}` there tells"
    )
