# SPDX-License-Identifier: Apache-2.0
"""The reference model's state as it lies in the maps (bpf/lib/layout.h)."""

from __future__ import annotations

import struct

from xdplb.model.address import IPAddress
from xdplb.reference.flow_state import Bucket, Flow, FlowKey, Fragment, FragmentKey, Handshake, SharedFlow, SourceKey

__all__ = [
    "decode_bucket",
    "decode_flow",
    "decode_fragment",
    "encode_bucket",
    "encode_flow",
    "encode_flow_key",
    "encode_fragment",
    "encode_fragment_key",
    "encode_handshake",
    "encode_shared",
    "encode_source_key",
]


def encode_flow_key(key: FlowKey) -> bytes:
    """Return a `struct flow_key` or `struct flow6_key`."""
    ports = struct.pack("!HH", key.source_port, key.destination_port)
    return key.source.packed + key.destination.packed + ports + struct.pack("=I", key.protocol)


def encode_flow(flow: Flow) -> bytes:
    """Return a `struct flow`."""
    return struct.pack("=HHHHQ", flow.backend, flow.epoch, flow.flags, flow.vip, flow.last_seen)


def decode_flow(value: bytes) -> Flow:
    """Return the record in a `struct flow`."""
    return Flow(*struct.unpack("=HHHHQ", value))


def encode_fragment_key(key: FragmentKey) -> bytes:
    """Return a `struct fragment_key`; IPv4's id of 16 bits fills the first two bytes."""
    size = 2 if key.source.version == 4 else 4
    identification = key.identification.to_bytes(size, "big").ljust(4, b"\0")
    return _wide(key.source) + _wide(key.destination) + identification + struct.pack("=I", key.protocol)


def encode_fragment(fragment: Fragment) -> bytes:
    """Return a `struct fragment`."""
    return struct.pack(
        "=HHIQB7x", fragment.backend, fragment.epoch, fragment.vip, fragment.last_seen, fragment.protocol
    )


def decode_fragment(value: bytes) -> Fragment:
    """Return what is in a `struct fragment`."""
    return Fragment(*struct.unpack("=HHIQB7x", value))


def encode_source_key(key: SourceKey) -> bytes:
    """Return a `struct source_key`."""
    return _wide(key.source) + struct.pack("=II", key.vip, 0)


def encode_bucket(bucket: Bucket) -> bytes:
    """Return a `struct bucket`."""
    return struct.pack("=QQ", bucket.packets, bucket.flows)


def decode_bucket(value: bytes) -> Bucket:
    """Return what is in a `struct bucket`."""
    return Bucket(*struct.unpack("=QQ", value))


def encode_handshake(value: Handshake) -> bytes:
    """Return a `struct handshake`."""
    begin = struct.pack("=QQ8sQQ", value.hash, value.flow, value.source, value.syn_at, value.last_at)
    return begin + struct.pack("=HHHBB", value.vip, value.backend, value.epoch, value.flags, value.repeated)


def encode_shared(flow: SharedFlow) -> bytes:
    """Return a `struct shared_flow`."""
    key = flow.key
    ports = struct.pack("!HH", key.source_port, key.destination_port)
    told = struct.pack("=HHHBBB3x", flow.vip, flow.backend, flow.epoch, flow.flags, key.protocol, key.source.version)
    return _wide(key.source) + _wide(key.destination) + ports + told


def _wide(address: IPAddress) -> bytes:
    """Return an address in 16 bytes; IPv4's fills the first four."""
    return address.packed.ljust(16, b"\0")
