# SPDX-License-Identifier: Apache-2.0
"""Drain a host that is a backend of several VIPs, and end that: `xdplb backend drain --all-vips ADDRESS`."""

from __future__ import annotations

from collections.abc import Sequence

from xdplb.client import Client, TimedOutError
from xdplb.client.bodies import BackendOfVipOut, CertificateOut, DrainBackendEdit, DrainIn, DrainOut, UndrainBackendEdit
from xdplb.model.backend import parse_backend_address
from xdplb.model.errors import ConflictError, NotFoundError

from .changes import Change
from .drain_wait import Settling, is_cut, is_over, wait_until_over
from .output import Column, coloured, print_json, table
from .params import duration_text

__all__ = ["drain_everywhere", "undrain_everywhere"]

_COLUMNS = [
    Column("VIP"),
    Column("OUTCOME", style=coloured),
    Column("TOOK", right=True),
    Column("SEEN", right=True),
    Column("ENDED", right=True),
    Column("HANDED-OVER", right=True),
    Column("CUT", right=True),
    Column("LEFT", right=True),
    Column("UNSEEN", right=True),
]


def drain_everywhere(change: Change, address: str, times: DrainIn, *, wait: bool) -> None:
    """Drain the backend in all its VIPs in one step; with `wait`, return when no connection is left in any of them.

    TimedOutError then says in how many VIPs some are left, and ConflictError that somebody cancelled a drain.
    """
    address = str(parse_backend_address(address))
    vips = _vips_of(change.client, address)
    edits: list[DrainBackendEdit] = [{"kind": "drain_backend", "vip": vip, "address": address, **times} for vip in vips]
    answer = change.made(change.client.config.edit({"edits": [*edits]}, **change.how))
    what = f"backend {address} of {len(vips)} VIP{'' if len(vips) == 1 else 's'}"
    if change.dry_run or not wait:
        change.tell(answer, f"{what} is draining")
        return
    last, left = _wait(change.client, address, vips, times)
    if change.as_json:
        print_json({"backends": last})
    else:
        table(_COLUMNS, [_row(each) for each in last])
    if left:
        raise TimedOutError(
            f"{what} is not drained after {duration_text(times['timeout_seconds'])}: {left}",
            hint="no connection was cut and the drains continue; wait again, or give --cut-at-deadline",
        )
    if not change.as_json:
        cut = sum(is_cut(each["status"]) for each in last)
        end = "drained: no connection is left" if cut < len(last) else "cut off: it gets no packets any more"
        also = f", but in {cut} of them it is cut off: it gets no packets any more" if 0 < cut < len(last) else ""
        change.tell(answer, f"{what} is {end}{also}")


def undrain_everywhere(change: Change, address: str) -> None:
    """End the drains of a backend in all VIPs in which it drains, in one step."""
    address = str(parse_backend_address(address))
    vips = [each["vip"] for each in _backends_at(change.client, address) if each["admin_state"] == "drain"]
    if not vips:
        change.tell(change.client.backends.all(), f"backend {address} drains in no VIP")
        return
    edits: list[UndrainBackendEdit] = [{"kind": "undrain_backend", "vip": vip, "address": address} for vip in vips]
    answer = change.made(change.client.config.edit({"edits": [*edits]}, **change.how))
    change.tell(answer, f"backend {address} of {len(vips)} VIP{'' if len(vips) == 1 else 's'} is no longer draining")


def _vips_of(client: Client, address: str) -> list[str]:
    vips = [each["vip"] for each in _backends_at(client, address)]
    if not vips:
        raise NotFoundError(f"no VIP has the backend {address}", hint="xdplb backend ls shows those there are")
    return vips


def _backends_at(client: Client, address: str, *, within: float | None = None) -> list[BackendOfVipOut]:
    listed = client.backends.all(within=within).json()["backends"]
    return [each for each in listed if each["address"] == address]


def _wait(client: Client, address: str, vips: Sequence[str], times: DrainIn) -> tuple[list[BackendOfVipOut], str]:
    """Wait until nothing is left in any VIP; return the last answer, and what is left when the time is over."""
    last: list[BackendOfVipOut] = []
    settling = Settling()

    def look(within: float) -> str:
        nonlocal last
        last = [each for each in _backends_at(client, address, within=within) if each["vip"] in vips]
        waiting = sum(not is_over(drain) for drain in _drains_of(address, vips, last))
        if waiting:
            return f"connections are left in {waiting} of them"
        return "" if settling.is_done([each["status"] for each in last], within) else "what came of them is noted"

    goes_on = f"the drains of {address} continue; cancel them with: xdplb backend undrain --all-vips {address}"
    cut = times.get("cut_at_deadline", False)
    left = wait_until_over(address, look, times["timeout_seconds"], cut=cut, goes_on=goes_on)
    return last, left


def _drains_of(address: str, vips: Sequence[str], found: Sequence[BackendOfVipOut]) -> list[DrainOut]:
    """Return the backends' drains in these VIPs; ConflictError if one of them was cancelled."""
    drains = {each["vip"]: drain for each in found if (drain := each["status"]["drain"]) is not None}
    called_off = set(vips) - drains.keys()
    if called_off:
        raise ConflictError(
            f"the drain of {address} in {min(called_off)} was cancelled",
            hint="it was undrained, set to maint or removed",
        )
    return list(drains.values())


def _row(backend: BackendOfVipOut) -> tuple[object, ...]:
    told: CertificateOut | None = backend["status"].get("certificate")
    if told is None:
        return (backend["vip"], *[None] * 8)
    unseen = "?" if told["silent_at_most"] is None else f"at most {told['silent_at_most']}"
    numbers = [told["seen"], told["ended"], told["handed_over"], told["cut"], told["left"]]
    shown = ["?" if number is None else number for number in numbers]
    return (backend["vip"], told["outcome"], duration_text(round(told["seconds"], 1)), *shown, unseen)
