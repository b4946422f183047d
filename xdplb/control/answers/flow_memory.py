"""How much kernel memory the flow table takes: all of it is allocated when the data plane is loaded."""

from __future__ import annotations

from xdplb.dataplane.layout import FLOW, FLOW6_KEY, FLOW_KEY

__all__ = ["flow_table_bytes"]

_ELEMENT_BYTES = 48  # struct htab_elem, with the node of the LRU list
_BUCKET_BYTES = 16  # struct bucket; their number is the next power of two
_PROBATION_PART = 4


def flow_table_bytes(capacity: int, *, with_ipv6: bool) -> int:
    """Return the bytes of the tables for `capacity` open flows a family, and for those on probation."""
    keys = [FLOW_KEY.itemsize, FLOW6_KEY.itemsize] if with_ipv6 else [FLOW_KEY.itemsize]
    tables = (capacity, max(1, capacity // _PROBATION_PART))
    return sum(_lru_bytes(entries, key_bytes + FLOW.itemsize) for key_bytes in keys for entries in tables)


def _lru_bytes(entries: int, key_and_value_bytes: int) -> int:
    """Return the memory of an LRU hash map, as the kernel has counted it since 5.15."""
    buckets = 1 << (entries - 1).bit_length()
    return entries * (_ELEMENT_BYTES + key_and_value_bytes) + buckets * _BUCKET_BYTES
