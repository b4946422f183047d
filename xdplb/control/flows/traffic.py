# SPDX-License-Identifier: Apache-2.0
"""Which backends and VIPs have traffic, from their packet counters: most open connections have no record to count."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from xdplb.control.flows.readings import Readings
from xdplb.control.plan.impact import Concern, CutOff, Warned
from xdplb.dataplane.plane import BackendCounters, VipCounters
from xdplb.model.address import IPAddress
from xdplb.model.vip import VipKey

__all__ = ["Traffic", "breaking"]


class Traffic:
    """Since when each backend has had no packet, and how many packets and connections came, as readings show it."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, datetime | None]] = {}
        self._vips: dict[int, int] = {}
        self._recent: dict[int, int] = {}
        self._packets, self._vip_packets, self._new_flows = Readings(), Readings(), Readings()

    def note(self, counters: Mapping[int, BackendCounters], at: datetime) -> None:
        """Take in a reading of all counters at `at` (UTC), by backend id; in any thread.

        A count that differs from that of the reading before, or is the first, means packets now.
        """
        self._seen = self._after(counters, at)
        self._packets.note({number: counter.packets for number, counter in counters.items()}, at.timestamp())

    def note_some(self, counters: Mapping[int, BackendCounters], at: datetime) -> None:
        """Take in a reading of the counters of some backends, as `note` does; it keeps what is known of all others."""
        self._seen = {**self._seen, **self._after(counters, at)}

    def _after(self, counters: Mapping[int, BackendCounters], at: datetime) -> dict[int, tuple[int, datetime | None]]:
        seen: dict[int, tuple[int, datetime | None]] = {}
        for backend_id, counter in counters.items():
            packets, last = self._seen.get(backend_id, (0, None))
            changed = counter.packets != packets
            seen[backend_id] = (counter.packets, (at if counter.packets else None) if changed else last)
        return seen

    def note_vips(self, counters: Mapping[int, VipCounters], at: datetime) -> None:
        """Take in a reading of the VIPs' counters at `at` (UTC), by id."""
        packets = {vip_id: counter.packets for vip_id, counter in counters.items()}
        self._recent = {vip_id: count - self._vips.get(vip_id, 0) for vip_id, count in packets.items()}
        self._vips = packets
        self._vip_packets.note(packets, at.timestamp())
        self._new_flows.note({vip_id: counter.new_flows for vip_id, counter in counters.items()}, at.timestamp())

    def reissued(self, backend_ids: Collection[int]) -> None:
        """Forget what was counted under these ids: they have been given to other backends."""
        self._packets.forget(backend_ids)

    def packets_within(self, backend_id: int, packets: int, seconds: float, now: datetime) -> int:
        """Return how many of a backend's `packets` so far came in the last `seconds`, or some more."""
        return self._packets.since(backend_id, packets, seconds, now.timestamp())

    def vip_packets_within(self, vip_id: int, packets: int, seconds: float, now: datetime) -> int:
        """Return how many of a VIP's `packets` so far came in the last `seconds`, or some more."""
        return self._vip_packets.since(vip_id, packets, seconds, now.timestamp())

    def new_flows_within(self, vip_id: int, seconds: float, now: datetime) -> int:
        """Return how many new flows of a VIP came in the last `seconds`, or some more, as of the last reading."""
        return self._new_flows.since(vip_id, self._new_flows.latest(vip_id), seconds, now.timestamp())

    def busiest_first(self, vip_ids: Collection[int]) -> list[int]:
        """Return these VIPs, those first that had most packets between the last two readings of their counters."""
        return sorted(vip_ids, key=lambda vip_id: (-self._recent.get(vip_id, 0), vip_id))

    def last_packet(self, backend_id: int) -> datetime | None:
        """Return when a backend had packets last (UTC), at the latest; None if it never had one."""
        return self._seen.get(backend_id, (0, None))[1]


def breaking(cut_off: Sequence[CutOff], traffic: Traffic, now: datetime) -> list[Warned]:
    """Return a warning for each VIP whose backends in `cut_off` have, as far as can be seen, open connections.

    That is so if some are recorded, or if a packet came within the VIP's idle timeout. A backend that took no new
    connections is believed to have none once its records say so: while it drains, open connections are recorded.
    """
    found: dict[VipKey, list[CutOff]] = {}
    for each in cut_off:
        if _is_open(each, traffic, now):
            found.setdefault(each.vip, []).append(each)
    return [
        Warned(Concern.CONNECTIONS_BREAK, vip, _backends(those), _evidence(those, traffic, now))
        for vip, those in found.items()
    ]


def _is_open(each: CutOff, traffic: Traffic, now: datetime) -> bool:
    if each.flows:
        return True
    if each.flows == 0 and not each.served:
        return False
    last = traffic.last_packet(each.id)
    return last is not None and (now - last).total_seconds() <= each.idle_seconds


def _backends(those: Sequence[CutOff]) -> tuple[IPAddress, ...]:
    return tuple(each.backend for each in those)


def _evidence(those: Sequence[CutOff], traffic: Traffic, now: datetime) -> str:
    """Return what is known of the connections of these backends, as a clause."""
    who = str(those[0].backend) if len(those) == 1 else f"its {len(those)} backends with traffic"
    flows = sum(each.flows or 0 for each in those)
    has = "has" if len(those) == 1 else "have"
    if flows:
        return f"{who} {has} at least {flows} open"
    last = max(last for each in those if (last := traffic.last_packet(each.id)) is not None)
    seconds = (now - last).total_seconds()
    return f"{who} had packets {'just now' if seconds < 1 else f'{seconds:.0f} s ago'}"
