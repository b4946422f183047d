"""What the maps hold, as numpy dtypes: the mirror of bpf/lib/layout.h, field by field (a test compares the two).

Multi-byte fields that lie in network order are `>`, so that numbers in Python are always in host order.
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "BACKEND",
    "BACKEND_COUNTERS",
    "BACKEND_USABLE",
    "FLOW",
    "FLOW_ESTABLISHED",
    "FLOW_FIN",
    "FLOW_KEY",
    "FLOW_RST",
    "FORWARD_DR",
    "FORWARD_IPIP",
    "LAYOUT_VERSION",
    "META",
    "NO_BACKEND",
    "SLOT_PINNED",
    "TABLE_SIZE",
    "VIP_COUNTERS",
    "VIP_ENTRY",
    "VIP_GROUP_SIZE",
    "VIP_HASH_SOURCE",
    "VIP_TABLE",
    "VIP_TRACK_ALWAYS",
    "vip_index",
]

LAYOUT_VERSION = 1

VIP_GROUP_SIZE = 4
VIP_TRACK_ALWAYS = 0x01
VIP_HASH_SOURCE = 0x02

TABLE_SIZE = 65537
NO_BACKEND = 0
SLOT_PINNED = 0xFFFF

FORWARD_DR = 1
FORWARD_IPIP = 2
BACKEND_USABLE = 0x01

FLOW_ESTABLISHED = 0x01
FLOW_FIN = 0x02
FLOW_RST = 0x04

VIP_ENTRY = np.dtype(
    [
        ("address", ">u4"),
        ("port", ">u2"),
        ("protocol", "u1"),
        ("flags", "u1"),
        ("id", "<u2"),
        ("idle_seconds", "<u2"),
        ("unused", "<u4"),
    ]
)

VIP_TABLE = np.dtype([("slots", "<u4", (TABLE_SIZE,)), ("unused", "<u4")])

BACKEND = np.dtype(
    [
        ("destination_mac", "u1", (6,)),
        ("epoch", "<u2"),
        ("source_mac", "u1", (6,)),
        ("forward", "u1"),
        ("flags", "u1"),
        ("ifindex", "<u4"),
        ("address", ">u4"),
        ("source", ">u4"),
        ("source_mask", ">u4"),
        ("checksum", "<u4"),
        ("mtu", "<u2"),
        ("vip", "<u2"),
        ("unused", "<u4", (6,)),
    ]
)

FLOW_KEY = np.dtype(
    [
        ("source", ">u4"),
        ("destination", ">u4"),
        ("source_port", ">u2"),
        ("destination_port", ">u2"),
        ("protocol", "<u4"),
    ]
)

FLOW = np.dtype([("backend", "<u2"), ("epoch", "<u2"), ("flags", "<u4"), ("last_seen", "<u8")])

BACKEND_COUNTERS = np.dtype([("packets", "<u8"), ("bytes", "<u8"), ("new_flows", "<u8"), ("unused", "<u8")])

VIP_COUNTERS = np.dtype([("packets", "<u8"), ("bytes", "<u8"), ("new_flows", "<u8"), ("at_risk", "<u8")])

META = np.dtype(
    [
        ("layout_version", "<u4"),
        ("vips", "<u4"),
        ("backends", "<u4"),
        ("flows", "<u4"),
        ("program_hash", "<u8"),
    ]
)


def vip_index(groups: int) -> np.dtype[np.void]:
    """Return the dtype of the VIP index with this many groups."""
    return np.dtype([("seed", "<u8"), ("entries", VIP_ENTRY, (groups * VIP_GROUP_SIZE,))])
