"""The mirror holds: what Python writes into the maps is what the C structs say, field by field, to the compiler."""

from __future__ import annotations

import numpy as np
import pytest

from xdplb.balance import hashing
from xdplb.dataplane import layout
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.source import capacity_defines, flatten, source_dir, vip_groups
from xdplb.model.errors import PlatformError

pytestmark = pytest.mark.root

CAPACITY = Capacity(vips=64, backends=256, flows=4096)

STRUCTS = {
    "vip_entry": layout.VIP_ENTRY,
    "vip_index": layout.vip_index(vip_groups(CAPACITY)),
    "vip_table": layout.VIP_TABLE,
    "backend": layout.BACKEND,
    "flow_key": layout.FLOW_KEY,
    "flow": layout.FLOW,
    "backend_counters": layout.BACKEND_COUNTERS,
    "vip_counters": layout.VIP_COUNTERS,
    "meta": layout.META,
}

CONSTANTS = [name for name in layout.__all__ if isinstance(getattr(layout, name), int)]


def compiles(*assertions: str) -> None:
    """Compile the headers with these assertions; the error names the first that does not hold."""
    headers = "".join(flatten(source_dir() / "lib" / name) for name in ("layout.h", "reasons.h", "hash.h"))
    text = headers + "".join(f'_Static_assert({assertion}, "{assertion}");\n' for assertion in assertions)
    compile_program(text, [f"-D{name}={value}" for name, value in capacity_defines(CAPACITY).items()], {})


def fields(name: str, dtype: np.dtype[np.void]) -> list[str]:
    """Return the assertions that a C struct is this dtype."""
    assertions = [f"sizeof(struct {name}) == {dtype.itemsize}"]
    for field, (kind, offset, *_) in (dtype.fields or {}).items():
        assertions.append(f"__builtin_offsetof(struct {name}, {field}) == {offset}")
        assertions.append(f"sizeof(((struct {name} *)0)->{field}) == {kind.itemsize}")
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
        f"TABLE_SIZE == {hashing.TABLE_SIZE}",
        f"HASH_SEED == {hashing.HASH_SEED}ULL",
    )


def test_reasons_are_alike() -> None:
    compiles(f"REASONS == {len(REASONS)}", *(f"{reason.name.upper()} == {reason.number}" for reason in REASONS))


def test_a_backend_is_one_cache_line() -> None:
    compiles("sizeof(struct backend) == 64")


def test_a_difference_would_be_found() -> None:
    exchanged = np.dtype([("destination", ">u4"), ("source", ">u4"), ("rest", "u1", (8,))])
    with pytest.raises(PlatformError, match="destination"):
        compiles("__builtin_offsetof(struct flow_key, source) == 0", *fields("flow_key", exchanged)[:2])
