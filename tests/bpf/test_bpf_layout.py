# SPDX-License-Identifier: Apache-2.0
"""The mirror holds: what Python writes into the maps is what the C structs say, field by field, to the compiler."""

from __future__ import annotations

import numpy as np
import pytest

from xdplb.balance import hashing
from xdplb.dataplane import layout
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.source import capacity_defines, flatten, source_dir, vip_groups, vip_groups6
from xdplb.model.errors import PlatformError

pytestmark = pytest.mark.root

CAPACITY = Capacity(vips=64, backends=256, flows=4096)

STRUCTS = {
    "vip": layout.VIP,
    "vip_entry": layout.VIP_ENTRY,
    "vip_index": layout.vip_index(vip_groups(CAPACITY)),
    "vip6_entry": layout.VIP6_ENTRY,
    "vip6_index": layout.vip6_index(vip_groups6(CAPACITY)),
    "vip_rule": layout.VIP_RULE,
    "vip_rules": layout.VIP_RULES_VALUE,
    "prefix4": layout.PREFIX4,
    "prefix6": layout.PREFIX6,
    "vip_table": layout.VIP_TABLE,
    "backend": layout.BACKEND,
    "backend ": layout.BACKEND6,
    "backend_load": layout.BACKEND_LOAD,
    "backend_doubt": layout.BACKEND_DOUBT,
    "quic_key": layout.QUIC_KEY,
    "nat_key": layout.NAT_KEY,
    "nat_direct_key": layout.NAT_DIRECT_KEY,
    "nat_group": layout.NAT_GROUP,
    "client_prefix": layout.CLIENT_PREFIX,
    "client_way": layout.CLIENT_WAY,
    "tunnel_ends": layout.TUNNEL_ENDS,
    "tunnel_key": layout.TUNNEL_KEY,
    "flow_key": layout.FLOW_KEY,
    "flow6_key": layout.FLOW6_KEY,
    "flow": layout.FLOW,
    "flow_place": layout.FLOW_PLACE,
    "flow6_place": layout.FLOW6_PLACE,
    "flow_line": layout.FLOW_LINE,
    "flow6_line": layout.FLOW6_LINE,
    "fragment_key": layout.FRAGMENT_KEY,
    "fragment": layout.FRAGMENT,
    "vip_guard": layout.VIP_GUARD,
    "bucket": layout.BUCKET,
    "source_key": layout.SOURCE_KEY,
    "access_mask": layout.ACCESS_MASK,
    "access4": layout.ACCESS4,
    "access6": layout.ACCESS6,
    "shared_flow": layout.SHARED_FLOW,
    "handshake": layout.HANDSHAKE,
    "handshake_counters": layout.HANDSHAKE_COUNTERS,
    "backend_counters": layout.BACKEND_COUNTERS,
    "second_counters": layout.SECOND_COUNTERS,
    "vip_counters": layout.VIP_COUNTERS,
    "nic_counters": layout.NIC_COUNTERS,
    "decision": layout.DECISION,
    "capture_filter": layout.CAPTURE_FILTER,
    "capture_event": layout.CAPTURE_EVENT,
    "meta": layout.META,
}
"""The dtype of each struct; `backend` is there in both forms of its unions."""

CONSTANTS = [name for name in layout.__all__ if isinstance(getattr(layout, name), int)]


def compiles(*assertions: str) -> None:
    """Compile the headers with these assertions; the error names the first that does not hold."""
    headers = "".join(flatten(source_dir() / "lib" / name) for name in ("layout.h", "reasons.h", "flow_hash.h"))
    text = headers + "".join(f'_Static_assert({assertion}, "{assertion}");\n' for assertion in assertions)
    compile_program(text, [f"-D{name}={value}" for name, value in capacity_defines(CAPACITY).items()], {})


def fields(name: str, dtype: np.dtype[np.void]) -> list[str]:
    """Return the assertions that a C struct is this dtype."""
    return [f"sizeof(struct {name}) == {dtype.itemsize}", *members(name, dtype, "")]


def members(name: str, dtype: np.dtype[np.void], inside: str) -> list[str]:
    """Return the assertions that the fields lie where the dtype says, those of structs within it too."""
    begin = f"__builtin_offsetof(struct {name}, {inside.removesuffix('.')})" if inside else "0"
    assertions = []
    for field, (kind, offset, *_) in (dtype.fields or {}).items():
        path = f"{inside}{field}"
        assertions.append(f"__builtin_offsetof(struct {name}, {path}) == {begin} + {offset}")
        assertions.append(f"sizeof(((struct {name} *)0)->{path}) == {kind.itemsize}")
        element = kind.subdtype[0] if kind.subdtype else kind
        if element.fields:
            assertions += members(name, element, f"{path}[0]." if kind.subdtype else f"{path}.")
    return assertions


def test_structs_are_alike() -> None:
    compiles(*(assertion for name, dtype in STRUCTS.items() for assertion in fields(name, dtype)))


@pytest.mark.parametrize("name", STRUCTS)
def test_no_byte_is_without_a_name(name: str) -> None:
    """So no field of C can be missing in Python."""
    dtype = STRUCTS[name]
    assert sum(kind.itemsize for kind, *_ in (dtype.fields or {}).values()) == dtype.itemsize


def test_constants_are_alike() -> None:
    assert "TABLE_SIZE" in CONSTANTS
    compiles(
        *(f"{name} == {getattr(layout, name)}" for name in CONSTANTS),
        f"HASH_SEED == {hashing.HASH_SEED}ULL",
    )


def test_reasons_are_alike() -> None:
    compiles(*(f"{reason.name.upper()} == {reason.number}" for reason in REASONS))


def test_a_reason_s_verdict_is_what_its_name_says() -> None:
    """Else a packet that the list says was dropped would be passed."""
    ranges = {
        "pass": (1, "REASON_DROP"),
        "drop": ("REASON_DROP", "REASON_ANSWER"),
        "answer": ("REASON_ANSWER", "REASONS"),
    }
    named = [(reason.name.upper(), *ranges[reason.name.partition("_")[0]]) for reason in REASONS]
    compiles(*(f"{low} <= {name} && {name} < {high}" for name, low, high in named))


def test_a_backend_is_one_cache_line() -> None:
    compiles("sizeof(struct backend) == 64")


def test_a_difference_would_be_found() -> None:
    exchanged = np.dtype([("destination", ">u4"), ("source", ">u4"), ("rest", "u1", (8,))])
    with pytest.raises(PlatformError, match="destination"):
        compiles("__builtin_offsetof(struct flow_key, source) == 0", *fields("flow_key", exchanged)[:2])
