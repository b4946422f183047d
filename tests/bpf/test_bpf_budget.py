# SPDX-License-Identifier: Apache-2.0
"""What the program costs the kernel, for each configuration: the verifier's work, the stack, and no call through a
pointer."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.bpf.conftest import CAPACITY
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.libbpf import Fd, call, obj_get
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.source import compile_flags, flatten, source_dir

pytestmark = pytest.mark.root

EVERYTHING = frozenset(Feature)
PLAIN: Features = frozenset()

CEILINGS: dict[Features, int] = {
    PLAIN: 60_000,
    frozenset({Feature.IPV6}): 150_000,
    EVERYTHING - {Feature.CAPTURE}: 800_000,
    **{EVERYTHING - {feature}: 900_000 for feature in Feature if feature is not Feature.CAPTURE},
    EVERYTHING: 700_000,
}
"""What the verifier may go through, of the million that it allows.

Less to do can be more to verify, where what is left out would have made ways through the program the same: all sets
that lack one feature are here.
"""

STACK_CEILING = 480
"""Of the 512 bytes that there are."""

INFO_BYTES = 224  # of struct bpf_prog_info, up to verified_insns and what shares its 8 bytes
LENGTHS_AT, VERIFIED_AT = 16, 216
BPF_CALL, MOVE, ADD = 0x85, 0xBF, 0x07
LOAD, STORE_IMMEDIATE, STORE = 1, 2, 3  # classes of instructions, their lowest three bits
FRAME_POINTER = 10


@pytest.fixture(scope="module")
def program_for(pin_dir: Path) -> Callable[[Features], Fd]:
    """Compile and load the program for a configuration, each once."""
    folder = pin_dir / "budget"
    folder.mkdir()
    Maps.create(folder, CAPACITY, EVERYTHING)

    @cache
    def load(features: Features) -> Fd:
        pin = folder / "_".join(["for", *sorted(features)])
        flags = compile_flags(folder, CAPACITY, features)
        compile_program(flatten(source_dir() / "xdplb.c"), flags, {"xdplb": pin})
        return obj_get(pin)

    return load


def name_of(features: Features) -> str:
    """Return how a configuration is called in a test's name."""
    if len(features) < 2:
        return next(iter(features), "plain")
    missing = EVERYTHING - features
    return "everything" if not missing else f"everything but {next(iter(missing))}"


def info(program: Fd, request: bytes = b"") -> bytes:
    """Return struct bpf_prog_info, asked for with `request` in it."""
    buffer = ctypes.create_string_buffer(request, INFO_BYTES)
    length = ctypes.c_uint32(INFO_BYTES)
    call("bpf_obj_get_info_by_fd", program.fileno(), buffer, ctypes.byref(length))
    return buffer.raw


def translated(program: Fd) -> list[tuple[int, int, int, int]]:
    """Return the instructions as the verifier rewrote them: code, registers, offset and immediate."""
    length = struct.unpack_from("=II", info(program), LENGTHS_AT)[1]
    instructions = ctypes.create_string_buffer(length)
    request = bytes(LENGTHS_AT) + struct.pack("=IIQQ", 0, length, 0, ctypes.addressof(instructions))
    info(program, request)
    return list(struct.iter_unpack("=BBhi", instructions.raw))


def called(program: Fd) -> Iterator[str]:
    """Yield the kernel functions that the program calls; a call's immediate is the distance to __bpf_call_base."""
    symbols = {}
    for line in Path("/proc/kallsyms").read_text().splitlines():
        address, _, name = line.split()[:3]
        symbols[int(address, 16)] = name
    base = next(address for address, name in symbols.items() if name == "__bpf_call_base")
    for code, _, _, immediate in translated(program):
        if code == BPF_CALL:
            yield symbols[base + immediate]


def stack_bytes(program: Fd) -> int:
    """Return how far below the frame pointer the program reads, writes or points."""
    depth = 0
    pointer = None  # the register that the last instruction made a copy of the frame pointer
    for code, registers, offset, immediate in translated(program):
        target, source = registers & 0xF, registers >> 4
        kind = code & 7
        if (kind == LOAD and source == FRAME_POINTER) or (kind in {STORE, STORE_IMMEDIATE} and target == FRAME_POINTER):
            depth = max(depth, -offset)
        elif code == ADD and target == pointer:
            depth = max(depth, -immediate)
        pointer = target if code == MOVE and source == FRAME_POINTER else None
    return depth


@pytest.mark.parametrize("features", CEILINGS, ids=name_of)
def test_the_verifier_has_little_to_do(program_for: Callable[[Features], Fd], features: Features) -> None:
    (verified,) = struct.unpack_from("=I", info(program_for(features)), VERIFIED_AT)
    assert 0 < verified < CEILINGS[features]


@pytest.mark.parametrize("features", CEILINGS, ids=name_of)
def test_the_stack_is_not_full(program_for: Callable[[Features], Fd], features: Features) -> None:
    assert 0 < stack_bytes(program_for(features)) <= STACK_CEILING


@pytest.mark.parametrize("features", CEILINGS, ids=name_of)
def test_every_map_call_knows_its_map(program_for: Callable[[Features], Fd], features: Features) -> None:
    """A lookup that could reach two maps stays a call through a pointer, which costs many times an inlined one."""
    functions = list(called(program_for(features)))
    assert "bpf_xdp_adjust_head" in functions
    assert not {"bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_xdp_redirect_map"}.intersection(functions)


def test_no_packet_for_a_steady_slot_looks_into_a_hash_table(program_for: Callable[[Features], Fd]) -> None:
    """Arrays are inlined. What is called looks for a flow's record, in two tables, for a plain packet, for another and
    for what an ICMP error is about, and for where a first fragment went.
    """
    lookups = [name for name in called(program_for(PLAIN)) if "lookup" in name and "percpu" not in name]
    assert lookups == ["__htab_map_lookup_elem"] * 7
