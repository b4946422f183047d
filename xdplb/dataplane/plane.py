# SPDX-License-Identifier: Apache-2.0
"""The DataPlane protocol: what the control plane can do with a data plane.

Two things implement it: `bcc_plane.BccPlane`, over the pinned maps in the kernel, and `fake.FakePlane`, in memory,
for tests. Both pass the same tests (`tests/contract/test_planes*.py`). All methods block (a map-in-map update waits
for an RCU grace period, milliseconds) and so are called from a worker thread; none is called twice at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.next_hop import ClientWay, NextHop
from xdplb.model.shared_record import SharedRecords
from xdplb.model.vip import (
    NO_LIMITS,
    AllUnhealthy,
    Forward,
    HashKind,
    QuicIds,
    RateLimits,
    Scheduler,
    Sync,
    Vip,
    VipKey,
)

from .decisions import Capture, CaptureFilter, KernelDecision
from .features import Features
from .remembered import FlowId, Remembered
from .spans import Span

__all__ = [
    "ACTIONS",
    "Attachment",
    "BackendCounters",
    "BackendEntry",
    "Capacity",
    "Counters",
    "DataPlane",
    "FlowRecords",
    "Mark",
    "NatWay",
    "ProbeWay",
    "Reading",
    "SharedFlows",
    "Slots",
    "SwapState",
    "VipCounters",
    "VipEntry",
    "probe_mark",
]

Slots = NDArray[np.uint32]
"""A VIP's table, shape (TABLE_SIZE,): owner id in the low 16 bits, previous in the high 16 (0 steady, 0xffff pinned).
"""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much the maps hold. A restart of the daemon can change it, under traffic."""

    vips: int = 1024
    backends: int = 16384
    flows: int = 1 << 20


@dataclass(frozen=True, slots=True)
class SwapState:
    """What the program did before and after it was replaced by one of another source.

    `is_over`: it is not watched any more. `worse` says what became worse: then the one before is back. `alone`: nothing
    else should change what becomes of packets for now.
    """

    before: Span
    after: Span
    alone: bool = False
    is_over: bool = False
    worse: str | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A NIC with a link of xdplb; `mode` is `native` or `skb`.

    `note` says why it is in skb mode although native was wanted, "" if it was not or if that is not known. `other` is
    the program that somebody has put into the link in the place of xdplb's, "" if nobody has.
    """

    interface: str
    ifindex: int
    mode: str
    program_id: int
    note: str = field(default="", compare=False)
    other: str = ""


@dataclass(frozen=True, slots=True)
class VipEntry:
    """A VIP in the index: `id` (0 <= id < capacity.vips) selects its table and counters.

    `candidates` is for lc and wlc: how many slots, from the first, name each backend that may be chosen once.
    `has_access_list`: its sources are looked up in the list that `write_access` gave it. `second_choice`: a new TCP
    connection may go to another backend than the one that comes first, since that one is suspect or has enough.
    `is_sampled`: handshakes are noted of the share of its connections that `write_shares` gave it. `shares_all`: other
    balancers are told of all its connections that are recorded, and not only of those that slots do not tell.
    `rejects`: clients are told if it has no backend.
    """

    id: int
    key: VipKey
    track_always: bool
    idle_seconds: int
    hash: HashKind = HashKind.FIVE_TUPLE
    scheduler: Scheduler = Scheduler.MAGLEV
    candidates: int = 0
    quic: QuicIds | None = None
    limits: RateLimits = NO_LIMITS
    has_access_list: bool = False
    second_choice: bool = False
    is_sampled: bool = False
    shares_all: bool = False
    rejects: bool = False

    @classmethod
    def of(
        cls,
        vip_id: int,
        vip: Vip,
        *,
        candidates: int = 0,
        has_access_list: bool = False,
        second_choice: bool = False,
    ) -> VipEntry:
        """Return the entry that says what `vip` asks for."""
        return cls(
            vip_id,
            vip.key,
            vip.tracks_always,
            vip.idle_timeout_seconds,
            vip.hash or HashKind.FIVE_TUPLE,
            vip.scheduler,
            candidates,
            vip.quic,
            vip.limits,
            has_access_list,
            second_choice,
            vip.samples_handshakes,
            vip.sync is Sync.ALL,
            vip.all_unhealthy is AllUnhealthy.REJECT,
        )


@dataclass(frozen=True, slots=True)
class NatWay:
    """What the packets of a NAT backend are rewritten to.

    A request for the VIP's one address `vip` goes to its port and `shift` more, modulo 2**16. What the backend sends
    from its ports `first_port` to `last_port` by these `protocols` are replies; 0 and 0 are all ports. What it sends
    to the networks `direct` stays as it is; they are in order.
    """

    vip: IPAddress
    shift: int
    first_port: int
    last_port: int
    protocols: tuple[int, ...]
    direct: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A backend in the maps: `id` (1 <= id <= capacity.backends), `epoch` 0 to 65535.

    `usable` False: packets whose record or slot names it are not sent. `next_hop` None makes it unusable. Of a next
    hop only MACs, ifindex, mtu and source reach the maps; one read back has interface "" and gateway None.

    For ipip and gue, `source` None means the next hop's; where `source_mask` has bits, the flow's hash fills them (one
    read back has `source` set, and in its next hop too, only where the mask is not 0). `inner_version` is 4 or 6, of
    the VIP's addresses: it decides the outer header's protocol. `keep_tags`: frames leave with the VLAN tags they came
    in with, not the next hop's. `weight` is what lc, wlc and p2c divide the load by (1 for lc). `takes_new` False: it
    keeps its connections and gets no new ones; a second SYN in a row on one of its records is a new connection.
    `max_new_flows` is how many new TCP connections it gets in a second, of a VIP with `second_choice`; 0 for no limit.
    `nat` is there for nat, and only for it; of such a one that is read back, the next hop's source is the VIP.
    """

    id: int
    epoch: int
    vip_id: int
    address: IPAddress
    forward: Forward
    usable: bool
    next_hop: NextHop | None
    source: IPAddress | None = None
    source_mask: int = 0
    inner_version: int = 4
    keep_tags: bool = False
    weight: int = 1
    quic_server_id: bytes | None = None
    takes_new: bool = True
    max_new_flows: int = 0
    nat: NatWay | None = None

    def used(self, *, usable: bool, takes_new: bool) -> BackendEntry:
        """Return the entry if it is used in another way: many are at once, and `replace` takes three times as long."""
        return BackendEntry(
            *(self.id, self.epoch, self.vip_id, self.address, self.forward, usable, self.next_hop, self.source),
            *(self.source_mask, self.inner_version, self.keep_tags, self.weight, self.quic_server_id, takes_new),
            self.max_new_flows,
            self.nat,
        )


@dataclass(frozen=True, slots=True)
class ProbeWay:
    """Where the probes of a backend go that are sent by the traffic's own way: to this address of its VIP.

    `source` is this host's address of the VIP's family, for a backend whose own address is of the other family; else
    None, and probes leave from the address that their socket has.
    """

    vip: IPAddress
    source: IPAddress | None = None


def probe_mark(backend_id: int) -> int:
    """Return the mark (SO_MARK) of what is sent by the way of this backend's traffic: PROBE_MARK of probe_layout.h."""
    return 0x78640000 | backend_id


class BackendCounters(NamedTuple):
    """Summed over CPUs since the id was given to this backend.

    `failovers` and `over` are new connections that went to another one although this one came first: since it was
    suspect or could not be sent to, and since it had as many as it may get. `replies` are the packets of a NAT backend
    that were sent on to clients.
    """

    packets: int = 0
    bytes: int = 0
    new_flows: int = 0
    failovers: int = 0
    over: int = 0
    replies: int = 0


@dataclass(frozen=True, slots=True)
class VipCounters:
    """Summed over CPUs since the id was given to this VIP."""

    packets: int = 0
    bytes: int = 0
    new_flows: int = 0
    at_risk: int = 0
    records: int = 0
    replies: int = 0


ACTIONS = ("aborted", "drop", "pass", "tx", "redirect")
"""What becomes of a frame, at the place of its number in the kernel's `enum xdp_action`."""


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading of all counters. `reasons` has every reason, lower case, such as `drop_no_backend`.

    `nics` are the frames that came in by each NIC that the program is on, by name, and what became of them: all of
    ACTIONS. They are counted with Feature.NICS alone. `unwrapped` is how many packets were taken out of tunnels that
    end here, None without Feature.DECAP.
    """

    vips: Mapping[int, VipCounters]
    backends: Mapping[int, BackendCounters]
    reasons: Mapping[str, int]
    nics: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unwrapped: int | None = None


@dataclass(frozen=True, slots=True)
class FlowRecords:
    """One scan of the flow tables, as columns of equal length n.

    `key` is shape (n, 40), opaque, for `delete_flows`. `version` is 4 or 6. `source` and `destination` are addresses as
    two numbers each, the upper and the lower 64 bits, shape (n, 2), an IPv4 address in the lower; `source_port` and
    `destination_port` are in host order; `vip` is the VIP's id; `backend` and `epoch` say whom it belongs to; `flags`
    are FLOW_* of layout; `age` is seconds since the last packet. `probation`: no packet but SYNs has followed the one
    it was made for, so that it lies in a table of its own.
    """

    key: NDArray[np.uint8]
    version: NDArray[np.uint8]
    source: NDArray[np.uint64]
    source_port: NDArray[np.uint16]
    destination: NDArray[np.uint64]
    destination_port: NDArray[np.uint16]
    protocol: NDArray[np.uint8]
    vip: NDArray[np.uint16]
    backend: NDArray[np.uint16]
    epoch: NDArray[np.uint16]
    flags: NDArray[np.uint16]
    age: NDArray[np.float64]
    probation: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mark:
    """Which state the maps belong to, by its instance id, and the last of its generations that they hold completely."""

    instance: int
    generation: int


class SharedFlows(Protocol):
    """Reads the connections that other balancers must know, in one thread."""

    def wait(self, seconds: float) -> bool:
        """Return whether there is anything to read, as soon as there is, after this long at most."""
        ...

    def wake(self) -> None:
        """Let `wait` return now, and whenever it is called from now on; in any thread."""
        ...

    def read(self) -> NDArray[np.void]:
        """Return what came about since the last time, of dtype layout.SHARED_FLOW, in order."""
        ...

    def lost(self) -> int:
        """Return how many nobody can read, since there were too many at once."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


class Reading(Protocol):
    """What can be read of a data plane without one that runs. Errors of the kernel are raised as PlatformError."""

    @property
    def capacity(self) -> Capacity:
        """How much the maps hold."""
        ...

    def read_mark(self) -> Mark | None:
        """Return which state the maps belong to, None where that was never written."""
        ...

    def read_vips(self) -> Mapping[int, VipEntry]:
        """Return the VIPs the packets see, by id."""
        ...

    def read_table(self, vip_id: int) -> Slots | None:
        """Return a copy of a VIP's table, None where it has none."""
        ...

    def read_backends(self) -> Mapping[int, BackendEntry]:
        """Return the backends in the maps, by id; those never written are left out."""
        ...

    def read_access(self) -> Mapping[int, AccessList]:
        """Return the access lists of the VIPs that have one, by VIP id, as lists that accept the same sources.

        The prefixes that were written are not in the maps. Slow for long lists: some seconds for 100,000 prefixes.
        """
        ...


class DataPlane(Reading, Protocol):
    """What carries the packets. Errors of the kernel are raised as PlatformError."""

    @property
    def features(self) -> Features:
        """What the program is compiled for."""
        ...

    def require(self, features: Features) -> None:
        """Make sure that the program has at least these; if it does not, recompile and swap it, which takes seconds.

        Another thread may change the maps meanwhile. PlatformError if it cannot be compiled or loaded: the old one
        then goes on.
        """
        ...

    @property
    def is_held_back(self) -> bool:
        """Whether the program is an older one, since that of this xdplb was rolled back. It may be read at any time."""
        ...

    @property
    def rolled_back(self) -> str | None:
        """What was worse with a program of the start before, which this start has put back; None if it has not."""
        ...

    def watch_swap(self) -> SwapState | None:
        """Judge the program if it is of another source than the one before; put that back if it was better.

        None if there is nothing to watch (any more).
        """
        ...

    def repair(self) -> Sequence[str]:
        """Put back what another process has removed of what outlives this one; return the names of that."""
        ...

    def attachments(self) -> Sequence[Attachment]:
        """Return the NICs that have a link of this data plane now, with its program in it or another one."""
        ...

    def take_back(self, interface: str) -> None:
        """Put the program into the link of this NIC again, where another one is in it."""
        ...

    def attach(self, interface: str, mode: str) -> None:
        """Make sure that the program is on this NIC, in `mode` (native, skb or auto), and frames can be sent out by it.

        NotFoundError, with what became of it, where there is no such NIC; ConflictError where another program is on it;
        CapacityError where there are too many; PlatformError where its driver or the kernel refuses.
        """
        ...

    def write_vips(self, vips: Sequence[VipEntry], instead_of: Collection[int] | None = None) -> None:
        """Put these VIPs in place of those with the ids `instead_of`, None for all there are.

        The index is swapped as a whole: packets see the old or the new one. Once this returns they see the new one, but
        for those under way, some microseconds: what deletes anything waits for these.
        CapacityError if they do not fit. ValueError if they need a feature that was not required.
        """
        ...

    def table_ids(self) -> Collection[int]:
        """Return the ids that have a table."""
        ...

    def read_prints(self) -> Mapping[int, bytes]:
        """Return the fingerprints, by VIP id, of the tables that were written with one and are as they were written."""
        ...

    def write_table(self, vip_id: int, slots: Slots, fingerprint: bytes = b"") -> None:
        """Change the slots of a VIP's table that differ, each by itself: packets see the old slot or the new one.

        Once this returns they see new ones only, but for those under way, as after `write_vips`. `fingerprint`, 16
        bytes, is kept for `read_prints`; without one, the next daemon must read the table.
        """
        ...

    def restore_table(self, vip_id: int, slots: Slots) -> bool:
        """Write a VIP's table again if it does not have these slots, as if another process had changed it; say so."""
        ...

    def write_print(self, vip_id: int, fingerprint: bytes) -> None:
        """Set the fingerprint of a table that is right as it is, as `write_table` does."""
        ...

    def verify(self) -> Iterator[str]:
        """Compare everything in the maps but the tables with what was written, a part at each step.

        A step takes a few milliseconds at most; other methods may be called between two. What another process has
        changed is written again: the step then yields the name of the map, else "".
        """
        ...

    def delete_table(self, vip_id: int) -> None:
        """Remove a VIP's table; no error where it has none."""
        ...

    def write_backends(self, backends: Sequence[BackendEntry]) -> None:
        """Write these entries, others untouched. A new (id, epoch) starts with counters and load at zero.

        ValueError if they need a feature that was not required.
        """
        ...

    def clear_backends(self, ids: Sequence[int]) -> None:
        """Empty these entries, which no table names any more, when no packet under way uses them."""
        ...

    def open_probing(self) -> None:
        """Let probes be sent by the traffic's own way, by those NICs that the program is on.

        Seconds the first time, since programs are compiled; other methods may be called meanwhile. PlatformError if the
        kernel refuses them. No error if it is open already.
        """
        ...

    def keep_probing(self) -> Sequence[str]:
        """Put the programs for that on NICs which do not have them, while it is open; return which had lost them.

        PlatformError if the kernel refuses them on a NIC.
        """
        ...

    def write_probe_ways(self, ways: Mapping[int, ProbeWay | None]) -> None:
        """Set where the probes of these backends go, by backend id, None for nowhere; others untouched.

        ValueError if it is not open.
        """
        ...

    def close_probing(self) -> None:
        """Remove what `open_probing` has put there, also that of an earlier process; no error if there is nothing."""
        ...

    def write_access(self, lists: Mapping[int, AccessList]) -> None:
        """Make these the access lists, by VIP id, all at once; CapacityError if they have more prefixes than fit.

        Write them before the VIPs that have one, and remove them afterwards. They cannot be read back as they were.
        """
        ...

    def write_mark(self, mark: Mark) -> None:
        """Note which state the maps belong to, and the generation that they hold."""
        ...

    def write_loads(self, flows: Mapping[int, int]) -> None:
        """Set how many open flows each of these backends has, by id, for schedulers that choose by load."""
        ...

    def write_suspects(self, ids: Collection[int]) -> None:
        """Make these backends suspect, and no others.

        SYNs for them that are sent again go elsewhere, where the VIP has second choices. They stay so over a restart;
        a new (id, epoch) is not suspect.
        """
        ...

    def start_vips(self, vip_ids: Sequence[int]) -> None:
        """Prepare these ids for new VIPs: counters at zero, and an empty table for those that have none.

        Many at once take no longer than one.
        """
        ...

    def counters(self) -> Counters:
        """Read all counters."""
        ...

    def backend_counters(self, backend_ids: Collection[int]) -> Mapping[int, BackendCounters]:
        """Read the counters of these backends."""
        ...

    def vip_counters(self, vip_ids: Collection[int]) -> Mapping[int, VipCounters]:
        """Read the counters of these VIPs."""
        ...

    def write_shares(self, shares: Mapping[int, int]) -> None:
        """Set which connections of these VIPs are sampled, by VIP id: those whose hash has a lower half below this.

        That is `share / 2**32` of them. 0, with which VIPs start, is none. Without the feature nothing is sampled.
        """
        ...

    def write_client_ways(self, ways: Mapping[int, ClientWay]) -> None:
        """Let replies of NAT backends go these ways, by IP version (4, 6).

        Those to clients that are not on the way of their version, or of a version without one, ask the kernel for
        theirs, and all do before the first call. Without the feature nothing is written.
        """
        ...

    def read_handshakes(self, since: int) -> NDArray[np.void]:
        """Return what was noted of the sampled connections whose SYN came at `since` (ns, CLOCK_MONOTONIC) or later.

        One that others have taken the place of is not among them: see layout.h. The dtype is `layout.HANDSHAKE`.
        """
        ...

    def handshake_counters(self, backend_ids: Collection[int]) -> NDArray[np.void]:
        """Return the counters of the sampled connections of these backends, since the id was given to each.

        The dtype is `layout.HANDSHAKE_COUNTERS`, a row for each in the order of `backend_ids`.
        """
        ...

    def scan_flows(self) -> FlowRecords:
        """Read the whole flow table. What is added meanwhile may be missing, what leaves probation be there twice."""
        ...

    def flow_count(self) -> int:
        """Return how many records the flow table holds, without those on probation."""
        ...

    def delete_flows(self, records: FlowRecords) -> None:
        """Delete these records when no packet under way saw an older table; no error for those already gone."""
        ...

    def tell_flows(
        self, records: SharedRecords, vips: NDArray[np.uint16], backends: NDArray[np.uint16], epochs: NDArray[np.uint16]
    ) -> NDArray[np.uint8]:
        """Write records that other balancers told of, if there is none that says as much; return the Fate of each.

        The columns are the ids of their VIPs, the ids of their backends and these ids' epochs.
        """
        ...

    def open_shared(self) -> SharedFlows:
        """Return what reads the connections that other balancers must know, from now on; one at a time.

        ValueError if the feature `sync` was not required.
        """
        ...

    def explain(self, frame: bytes, ifindex: int) -> KernelDecision:
        """Return what would become of a frame, with Ethernet, that comes in by this NIC; nothing is changed or counted.

        Seconds the first time, since the program that says so is compiled; other methods may be called meanwhile.
        InvalidError for a frame of a length that cannot be tried, PlatformError where there is no such NIC or the
        kernel refuses.
        """
        ...

    def recall(self, flow: FlowId, vip_id: int) -> Remembered:
        """Return what the maps hold about this flow, for the VIP with this id."""
        ...

    def start_capture(self, wanted: CaptureFilter) -> Capture:
        """Capture packets until `stop_capture`. Takes seconds, since another program is compiled. One at a time."""
        ...

    def stop_capture(self) -> None:
        """End the capture and put back a program without captures; no error if none runs."""
        ...
