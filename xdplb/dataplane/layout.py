# SPDX-License-Identifier: Apache-2.0
"""What the maps hold, as numpy dtypes: the mirror of bpf/lib/layout.h, field by field (a test compares the two).

Multi-byte fields that lie in network order are `>`, so that numbers in Python are always in host order. IPv6 addresses
are two numbers of 64 bits, the upper half first. A union of C is a dtype for each of its forms.
"""

from __future__ import annotations

import numpy as np

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.balance.rotation import MAX_CANDIDATES

__all__ = [
    "ACCESS4",
    "ACCESS4_INTERVALS",
    "ACCESS6",
    "ACCESS6_BLOCKS",
    "ACCESS6_INTERVALS",
    "ACCESS_CLASSES",
    "ACCESS_LISTS",
    "ACCESS_MASK",
    "BACKEND",
    "BACKEND6",
    "BACKEND_COUNTERS",
    "BACKEND_DOUBT",
    "BACKEND_INNER6",
    "BACKEND_IPV6",
    "BACKEND_LOAD",
    "BACKEND_NOTHING_NEW",
    "BACKEND_QINQ",
    "BACKEND_USABLE",
    "BACKEND_VLAN",
    "BACKEND_VLAN_AD",
    "BACKEND_VLAN_KEEP",
    "BUCKET",
    "BUCKET_NS",
    "CAPTURE_EVENT",
    "CAPTURE_FILTER",
    "CAPTURE_IN",
    "CAPTURE_OUT",
    "CHOSEN_FRAGMENT",
    "CHOSEN_NOBODY",
    "CHOSEN_OWNER",
    "CHOSEN_PREVIOUS",
    "CHOSEN_QUIC",
    "CHOSEN_RECORD",
    "CHOSEN_REPLY",
    "CHOSEN_SCHEDULER",
    "CHOSEN_SECOND",
    "CLIENT_FEW",
    "CLIENT_OTHERS",
    "CLIENT_PREFIX",
    "CLIENT_WAY",
    "DECISION",
    "DECISION_AT_RISK",
    "DECISION_NEW",
    "DECISION_RECORD",
    "DECISION_SLOT",
    "DECISION_VIP",
    "FLOW",
    "FLOW6_KEY",
    "FLOW6_LINE",
    "FLOW6_PLACE",
    "FLOW_BUSY",
    "FLOW_ESTABLISHED",
    "FLOW_FIN",
    "FLOW_FROM_PEER",
    "FLOW_KEY",
    "FLOW_KEY_BITS",
    "FLOW_LINE",
    "FLOW_PLACE",
    "FLOW_RST",
    "FLOW_SECOND_CHOICE",
    "FLOW_WAYS",
    "FORWARD_DR",
    "FORWARD_GUE",
    "FORWARD_GUE6",
    "FORWARD_IPIP",
    "FORWARD_IPIP6",
    "FORWARD_NAT",
    "FRAGMENT",
    "FRAGMENT_KEY",
    "FRAGMENT_SECONDS",
    "HANDSHAKE",
    "HANDSHAKES",
    "HANDSHAKE_ANSWERED",
    "HANDSHAKE_BITS",
    "HANDSHAKE_BUCKETS",
    "HANDSHAKE_BUSY",
    "HANDSHAKE_COUNTERS",
    "HANDSHAKE_FIN",
    "HANDSHAKE_FIRST_BIT",
    "HANDSHAKE_RESET",
    "HANDSHAKE_WAIT_NS",
    "HASH_ADDRESSES",
    "HASH_BY_FLAG",
    "HASH_DESTINATION_PORT",
    "HASH_SHIFT",
    "LAYOUTS_ROOM",
    "LAYOUT_VERSION",
    "MAX_CANDIDATES",
    "META",
    "META_CARRIED",
    "META_READY",
    "NAT_DIRECT_KEY",
    "NAT_ELSEWHERE",
    "NAT_GROUP",
    "NAT_HASH_BITS",
    "NAT_HASH_SHIFT",
    "NAT_ID_BITS",
    "NAT_KEY",
    "NAT_SEED",
    "NAT_SEED6",
    "NAT_TAG_SHIFT",
    "NAT_WAYS",
    "NIC_ACTIONS",
    "NIC_COUNTERS",
    "NIC_PLACES",
    "NO_BACKEND",
    "PREFIX4",
    "PREFIX6",
    "QUIC_KEY",
    "RULE_TCP",
    "RULE_UDP",
    "SCHEDULER_BITS",
    "SCHEDULER_HASH",
    "SCHEDULER_LEAST",
    "SCHEDULER_ROTATION",
    "SCHEDULER_TWO",
    "SECOND_COUNTERS",
    "SHARED_FLOW",
    "SHARED_FLOWS_BYTES",
    "SHARED_OPENED",
    "SLOT_PINNED",
    "SOURCE_KEY",
    "TABLE_PRINT",
    "TABLE_SIZE",
    "TUNNEL_ENDS",
    "TUNNEL_KEY",
    "TUNNEL_KEY_BITS",
    "TUNNEL_SOURCES",
    "VIP",
    "VIP6_ENTRY",
    "VIP_ACCESS",
    "VIP_ALIAS",
    "VIP_BOTH",
    "VIP_COUNTERS",
    "VIP_ENTRY",
    "VIP_GROUP_SIZE",
    "VIP_GUARD",
    "VIP_HASH_SOURCE",
    "VIP_LIMITED",
    "VIP_RULE",
    "VIP_RULES",
    "VIP_RULES_VALUE",
    "VIP_SAMPLED",
    "VIP_SECOND_CHOICE",
    "VIP_TABLE",
    "VIP_TRACK_ALWAYS",
    "bucket_cost",
    "vip6_index",
    "vip_index",
]

LAYOUT_VERSION = 4
"""Of `meta`, which has the version and the layout of every other map."""

DECISION_VIP = 0x01
DECISION_SLOT = 0x02
DECISION_RECORD = 0x04
DECISION_NEW = 0x08
DECISION_AT_RISK = 0x10

CHOSEN_NOBODY = 0
CHOSEN_OWNER = 1
CHOSEN_PREVIOUS = 2
CHOSEN_RECORD = 3
CHOSEN_SCHEDULER = 4
CHOSEN_QUIC = 5
CHOSEN_FRAGMENT = 6
CHOSEN_SECOND = 7
CHOSEN_REPLY = 8

CAPTURE_IN = 0
CAPTURE_OUT = 1

VIP_GROUP_SIZE = 4
VIP_TRACK_ALWAYS = 0x01
VIP_HASH_SOURCE = 0x02
VIP_ACCESS = 0x04
VIP_LIMITED = 0x08
VIP_ALIAS = 0x10
VIP_BOTH = 0x20
VIP_SAMPLED = 0x80
VIP_SECOND_CHOICE = 0x40

SCHEDULER_HASH = 0
SCHEDULER_ROTATION = 1
SCHEDULER_LEAST = 2
SCHEDULER_TWO = 3
SCHEDULER_BITS = 0x0F
HASH_SHIFT = 4
HASH_BY_FLAG = 0
HASH_DESTINATION_PORT = 1
HASH_ADDRESSES = 2

VIP_RULES = 32
RULE_TCP = 0x01
RULE_UDP = 0x02

NO_BACKEND = 0
SLOT_PINNED = 0xFFFF

FORWARD_DR = 1
FORWARD_IPIP = 2
FORWARD_IPIP6 = 3
FORWARD_GUE = 4
FORWARD_GUE6 = 5
FORWARD_NAT = 6
NAT_WAYS = 4
NAT_TAG_SHIFT = 16
NAT_ID_BITS = 0xFFFF
NAT_HASH_BITS = 0xFFFFFF000000
NAT_HASH_SHIFT = 8
NAT_ELSEWHERE = 1
NAT_SEED = 0x9E3779B97F4A7C15
NAT_SEED6 = 0xD1B54A32D192ED03
CLIENT_OTHERS = 8
CLIENT_FEW = 4
BACKEND_USABLE = 0x01
BACKEND_VLAN = 0x02
BACKEND_QINQ = 0x04
BACKEND_VLAN_AD = 0x08
BACKEND_VLAN_KEEP = 0x10
BACKEND_IPV6 = 0x20
BACKEND_INNER6 = 0x40
BACKEND_NOTHING_NEW = 0x80

FLOW_ESTABLISHED = 0x01
FLOW_FIN = 0x02
FLOW_RST = 0x04
FLOW_SECOND_CHOICE = 0x08
FLOW_FROM_PEER = 0x10

SHARED_FLOWS_BYTES = 1 << 19
SHARED_OPENED = 0x20

FLOW_WAYS = 4
FLOW_KEY_BITS = 40
FLOW_BUSY = 1 << 63

HANDSHAKES = 16384
HANDSHAKE_BITS = 14
HANDSHAKE_BUSY = 1
HANDSHAKE_WAIT_NS = 4_000_000_000
HANDSHAKE_ANSWERED = 0x01
HANDSHAKE_FIN = 0x02
HANDSHAKE_RESET = 0x04
HANDSHAKE_BUCKETS = 20
HANDSHAKE_FIRST_BIT = 16

NIC_PLACES = 1024
NIC_ACTIONS = 8

FRAGMENT_SECONDS = 30
BUCKET_NS = 1_000_000_000

META_READY = 1
META_CARRIED = 2
LAYOUTS_ROOM = 16256

ACCESS_LISTS = 256
ACCESS_CLASSES = 4096
ACCESS4_INTERVALS = 524288
ACCESS6_INTERVALS = 131072
ACCESS6_BLOCKS = 65536

VIP = np.dtype(
    [
        ("id", "<u2"),
        ("idle_seconds", "<u2"),
        ("flags", "u1"),
        ("scheduler", "u1"),
        ("quic", "u1"),
        ("candidates", "u1"),
    ]
)

VIP_ENTRY = np.dtype(
    [
        ("address", ">u4"),
        ("port", ">u2"),
        ("protocol", "u1"),
        ("unused", "u1"),
        ("vip", VIP),
    ]
)

VIP6_ENTRY = np.dtype(
    [
        ("address", ">u8", (2,)),
        ("port", ">u2"),
        ("protocol", "u1"),
        ("unused", "u1"),
        ("unused_too", "<u4"),
        ("vip", VIP),
    ]
)

VIP_RULE = np.dtype(
    [
        ("first_port", "<u2"),
        ("last_port", "<u2"),
        ("protocols", "u1"),
        ("unused", "u1", (3,)),
        ("vip", VIP),
    ]
)

VIP_RULES_VALUE = np.dtype([("count", "<u4"), ("unused", "<u4"), ("rules", VIP_RULE, (VIP_RULES,))])

PREFIX4 = np.dtype([("length", "<u4"), ("address", ">u4")])

PREFIX6 = np.dtype([("length", "<u4"), ("address", "u1", (16,))])

TUNNEL_ENDS = np.dtype([("to", "u1", (16,)), ("from", "u1", (16,))])

TUNNEL_KEY = np.dtype([("bits", "<u4"), ("ends", TUNNEL_ENDS)])

TUNNEL_KEY_BITS = 256
TUNNEL_SOURCES = 2048

VIP_TABLE = np.dtype([("slots", "<u4", (TABLE_SIZE,)), ("unused", "<u4")])

TABLE_PRINT = np.dtype([("fingerprint", "u1", (16,))])
"""Not in layout.h: the program does not use it."""

_OUTER4 = np.dtype([("address", ">u4"), ("source", ">u4"), ("source_mask", ">u4"), ("unused", "<u4", (5,))])

_OUTER6 = np.dtype([("address", ">u8", (2,)), ("source", ">u8", (2,))])

_BACKEND = [
    ("destination_mac", "u1", (6,)),
    ("epoch", "<u2"),
    ("source_mac", "u1", (6,)),
    ("forward", "u1"),
    ("flags", "u1"),
    ("ifindex", "<u4"),
    ("mtu", "<u2"),
    ("vip", "<u2"),
    ("vlan", ">u2", (2,)),
]

BACKEND = np.dtype([*_BACKEND, ("checksum", "<u4"), ("v4", _OUTER4)])

BACKEND6 = np.dtype([*_BACKEND, ("source_mask", ">u4"), ("v6", _OUTER6)])

BACKEND_LOAD = np.dtype([("flows", "<u8"), ("weight", "<u4"), ("usable", "<u2"), ("server_id_bytes", "<u2")])

BACKEND_DOUBT = np.dtype(
    [
        ("empty_at", "<u8"),
        ("flow_cost", "<u4"),
        ("rate", "<u4"),
        ("suspect", "<u2"),
        ("takes", "<u2"),
        ("unused", "<u4"),
    ]
)

QUIC_KEY = np.dtype([("server_id", "<u8"), ("vip", "<u4"), ("unused", "<u4")])

NAT_KEY = np.dtype(
    [("address", "<u8", (2,)), ("port", ">u2"), ("protocol", "u1"), ("version", "u1"), ("unused", "<u4")]
)

NAT_GROUP = np.dtype([("places", "<u8", (NAT_WAYS,))])

NAT_DIRECT_KEY = np.dtype([("length", "<u4"), ("backend", "<u4"), ("address", "<u8", (2,))])
CLIENT_PREFIX = np.dtype([("network", "<u8"), ("mask", "<u8")])
CLIENT_WAY = np.dtype([("hop", BACKEND), ("has_more", "<u8"), ("others", CLIENT_PREFIX, (CLIENT_OTHERS,))])

FLOW_KEY = np.dtype(
    [
        ("source", ">u4"),
        ("destination", ">u4"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "<u4"),
    ]
)

FLOW6_KEY = np.dtype(
    [
        ("source", ">u8", (2,)),
        ("destination", ">u8", (2,)),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "<u4"),
    ]
)

FLOW = np.dtype([("backend", "<u2"), ("epoch", "<u2"), ("flags", "<u2"), ("vip", "<u2"), ("last_seen", "<u8")])

FRAGMENT_KEY = np.dtype([("source", ">u8", (2,)), ("destination", ">u8", (2,)), ("id", "<u4"), ("protocol", "<u4")])

FLOW_PLACE = np.dtype([("addresses", "<u8"), ("ports", "<u8"), ("flow", FLOW)])
FLOW6_PLACE = np.dtype([("addresses", "<u8", 4), ("ports", "<u8"), ("flow", FLOW), ("unused", "<u8")])
FLOW_LINE = np.dtype([("places", FLOW_PLACE, FLOW_WAYS)])
FLOW6_LINE = np.dtype([("places", FLOW6_PLACE, FLOW_WAYS)])

FRAGMENT = np.dtype(
    [
        ("backend", "<u2"),
        ("epoch", "<u2"),
        ("vip", "<u4"),
        ("last_seen", "<u8"),
        ("protocol", "u1"),
        ("unused", "u1", (7,)),
    ]
)

VIP_GUARD = np.dtype(
    [
        ("source_packet_cost", "<u8"),
        ("source_flow_cost", "<u8"),
        ("packet_cost", "<u8"),
        ("flow_cost", "<u8"),
        ("access_list", "<u4"),
        ("rates", "<u4", (4,)),
        ("shares_all", "<u4"),
        ("rejects", "<u4"),
        ("unused", "<u4"),
    ]
)

BUCKET = np.dtype([("packets", "<u8"), ("flows", "<u8")])

SOURCE_KEY = np.dtype([("source", ">u8", (2,)), ("vip", "<u4"), ("unused", "<u4")])

ACCESS_MASK = np.dtype([("denied", "<u8", (ACCESS_LISTS // 64,))])

ACCESS4 = np.dtype(
    [
        ("root", "<u4", (65537,)),
        ("unused", "<u4"),
        ("starts", "<u4", (ACCESS4_INTERVALS,)),
        ("classes", "<u2", (ACCESS4_INTERVALS,)),
        ("masks", ACCESS_MASK, (ACCESS_CLASSES,)),
    ]
)

ACCESS6 = np.dtype(
    [
        ("base", "<u8"),
        ("shift", "<u8"),
        ("root", "<u4", (1 + ACCESS6_BLOCKS + 1,)),
        ("starts", [("high", "<u8"), ("low", "<u8")], (ACCESS6_INTERVALS,)),
        ("classes", "<u2", (ACCESS6_INTERVALS,)),
        ("masks", ACCESS_MASK, (ACCESS_CLASSES,)),
    ]
)

SHARED_FLOW = np.dtype(
    [
        ("source", ">u8", (2,)),
        ("destination", ">u8", (2,)),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("vip", "<u2"),
        ("backend", "<u2"),
        ("epoch", "<u2"),
        ("flags", "u1"),
        ("protocol", "u1"),
        ("version", "u1"),
        ("unused", "u1", (3,)),
    ]
)

HANDSHAKE = np.dtype(
    [
        ("hash", "<u8"),
        ("flow", "<u8"),
        ("source", ">u8"),
        ("syn_at", "<u8"),
        ("last_at", "<u8"),
        ("vip", "<u2"),
        ("backend", "<u2"),
        ("epoch", "<u2"),
        ("flags", "u1"),
        ("repeated", "u1"),
    ]
)

HANDSHAKE_COUNTERS = np.dtype(
    [
        ("begun", "<u8"),
        ("repeated", "<u8"),
        ("answered", "<u8"),
        ("refused", "<u8"),
        ("reset", "<u8"),
        ("latency_ns", "<u8"),
        ("latency", "<u8", (HANDSHAKE_BUCKETS,)),
    ]
)

BACKEND_COUNTERS = np.dtype([("packets", "<u8"), ("bytes", "<u8"), ("new_flows", "<u8"), ("replies", "<u8")])

SECOND_COUNTERS = np.dtype([("failovers", "<u8"), ("over", "<u8")])

VIP_COUNTERS = np.dtype(
    [
        *(("packets", "<u8"), ("bytes", "<u8"), ("new_flows", "<u8")),
        *(("at_risk", "<u8"), ("records", "<u8"), ("replies", "<u8")),
    ]
)

NIC_COUNTERS = np.dtype([("packets", "<u8", (NIC_ACTIONS,))])

DECISION = np.dtype(
    [
        ("hash", "<u8"),
        ("slot_number", "<u4"),
        ("slot", "<u4"),
        ("reason", "<u2"),
        ("vip", "<u2"),
        ("backend", "<u2"),
        ("chosen", "u1"),
        ("flags", "u1"),
        ("capture_id", "<u8"),
    ]
)

CAPTURE_FILTER = np.dtype(
    [
        ("source", ">u8", (2,)),
        ("source_mask", ">u8", (2,)),
        ("destination", ">u8", (2,)),
        ("destination_mask", ">u8", (2,)),
        ("snap_bytes", "<u4"),
        ("one_in", "<u4"),
        ("version", "u1"),
        ("unused", "u1", (7,)),
    ]
)

CAPTURE_EVENT = np.dtype(
    [
        ("time", "<u8"),
        ("id", "<u8"),
        ("ifindex", "<u4"),
        ("frame_bytes", "<u4"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("slot_number", "<u4"),
        ("slot", "<u4"),
        ("reason", "<u2"),
        ("vip", "<u2"),
        ("backend", "<u2"),
        ("verdict", "u1"),
        ("chosen", "u1"),
        ("flags", "u1"),
        ("direction", "u1"),
        ("unused", "u1", (2,)),
    ]
)

META = np.dtype(
    [
        ("layout_version", "<u4"),
        ("vips", "<u4"),
        ("backends", "<u4"),
        ("flows", "<u4"),
        ("program_hash", "<u8"),
        ("explain_hash", "<u8"),
        ("features", "<u8"),
        ("state", "<u4"),
        ("layouts_bytes", "<u4"),
        ("refused_text", "<u8"),
        ("unused", "<u8", (9,)),
        ("layouts", "u1", (LAYOUTS_ROOM,)),
    ]
)


def vip_index(groups: int) -> np.dtype[np.void]:
    """Return the dtype of the index of IPv4 VIPs with this many groups."""
    return np.dtype([("seed", "<u8"), ("entries", VIP_ENTRY, (groups * VIP_GROUP_SIZE,))])


def vip6_index(groups: int) -> np.dtype[np.void]:
    """Return the dtype of the index of IPv6 VIPs with this many groups."""
    return np.dtype([("seeds", "<u8", (3,)), ("unused", "<u8"), ("entries", VIP6_ENTRY, (groups * VIP_GROUP_SIZE,))])


def bucket_cost(rate: int) -> int:
    """Return how much a bucket is charged for one of `rate` a second, in ns; 0 for no limit."""
    return max(1, round(BUCKET_NS / rate)) if rate else 0
