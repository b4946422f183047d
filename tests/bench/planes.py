"""What the benches balance: a data plane on no NIC, with VIPs of a hundred backends each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import numpy as np

from xdplb.balance.slots import pack
from xdplb.balance.table import WeightedBackend, build
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import BackendEntry, Capacity, VipEntry
from xdplb.model.address import IPAddress
from xdplb.model.next_hop import NextHop, VlanTag
from xdplb.model.vip import Forward

__all__ = ["ALL_FEATURES", "BACKENDS", "CAPACITY", "Target", "new_plane", "next_hop"]

ALL_FEATURES: Features = frozenset(Feature) - {Feature.CAPTURE}
"""What VIPs and backends can ask for."""

BACKENDS = 100
CAPACITY = Capacity(flows=1 << 22)
"""Room for every flow of all cases, so that what is measured is not eviction."""

FIRST4, FIRST6 = IPv4Address("10.1.0.1"), IPv6Address("2001:db8:1::1")
SOURCE4, SOURCE6 = IPv4Address("10.0.0.1"), IPv6Address("2001:db8::1")


def new_plane(pin_dir: Path, features: Features = frozenset()) -> BccPlane:
    """Return a data plane over maps of its own, without a program."""
    return BccPlane(Maps.create(pin_dir, CAPACITY, features))


def next_hop(version: int, ifindex: int = 1, *, mtu: int = 9000, tags: tuple[VlanTag, ...] = ()) -> NextHop:
    """Return a way out for backends whose addresses are of that IP version."""
    source = SOURCE4 if version == 4 else SOURCE6
    return NextHop(b"\x02\0\0\0\0\x02", b"\x02\0\0\0\0\x01", "lo", ifindex, mtu, source, None, tags)


class Target:
    """Writes VIPs into a data plane, each with a hundred backends of its own."""

    def __init__(self, plane: BccPlane) -> None:
        self._plane = plane
        self._vips: list[VipEntry] = []
        self._next_backend = 1

    def add(
        self,
        vip: VipEntry,
        forward: Forward,
        hop: NextHop,
        *,
        moving: bool = False,
        keep_tags: bool = False,
        quic: bool = False,
    ) -> None:
        """Add a VIP with backends of the next hop's family; `moving`: each slot had another owner until now."""
        first: IPAddress = FIRST4 if hop.source.version == 4 else FIRST6
        entries = [
            BackendEntry(
                self._next_backend + number,
                1,
                vip.id,
                first + number,
                forward,
                usable=True,
                next_hop=hop,
                inner_version=vip.key.address.version,
                keep_tags=keep_tags,
                quic_server_id=number.to_bytes(2, "big") if quic else None,
            )
            for number in range(BACKENDS)
        ]
        self._next_backend += BACKENDS
        owners = build([WeightedBackend(str(entry.address), entry.id, 1) for entry in entries], frozenset())
        self._plane.write_backends(entries)
        self._plane.write_table(vip.id, pack(owners, np.roll(owners, 1) if moving else np.zeros_like(owners)))
        self._vips.append(vip)

    @property
    def next_id(self) -> int:
        """An id that no VIP has yet."""
        return len(self._vips)

    def publish(self) -> None:
        """Let packets see the VIPs."""
        self._plane.write_vips(self._vips)
