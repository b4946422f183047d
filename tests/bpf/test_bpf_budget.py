"""What the program costs the kernel: the verifier's work, and no call that it could not resolve."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.balancer import Balancer
from xdplb.dataplane.libbpf import Fd, call, obj_get

pytestmark = pytest.mark.root

INSTRUCTIONS_CEILING = 30_000
"""Of the million that the verifier allows; 13 000 when this was written. Room for what is to come, not for a slip."""

INFO_BYTES = 224  # of struct bpf_prog_info, up to verified_insns and what shares its 8 bytes
LENGTHS_AT, POINTERS_AT, VERIFIED_AT = 16, 24, 216
BPF_CALL = 0x85


@pytest.fixture
def program(loaded_balancer: Balancer) -> Fd:
    """The balancer's program as pinned."""
    return obj_get(loaded_balancer.plane.maps.pin_dir / "program")


def info(program: Fd, request: bytes = b"") -> bytes:
    """Return struct bpf_prog_info, asked for with `request` in it."""
    buffer = ctypes.create_string_buffer(request, INFO_BYTES)
    length = ctypes.c_uint32(INFO_BYTES)
    call("bpf_obj_get_info_by_fd", program.fileno(), buffer, ctypes.byref(length))
    return buffer.raw


def translated(program: Fd) -> bytes:
    """Return the instructions as the verifier rewrote them."""
    length = struct.unpack_from("=II", info(program), LENGTHS_AT)[1]
    instructions = ctypes.create_string_buffer(length)
    request = bytes(LENGTHS_AT) + struct.pack("=IIQQ", 0, length, 0, ctypes.addressof(instructions))
    info(program, request)
    return instructions.raw


def called(program: Fd) -> Iterator[str]:
    """Yield the kernel functions that the program calls; a call's immediate is the distance to __bpf_call_base."""
    symbols = {}
    for line in Path("/proc/kallsyms").read_text().splitlines():
        address, _, name = line.split()[:3]
        symbols[int(address, 16)] = name
    base = next(address for address, name in symbols.items() if name == "__bpf_call_base")
    for code, _, _, immediate in struct.iter_unpack("=BBhi", translated(program)):
        if code == BPF_CALL:
            yield symbols[base + immediate]


def test_the_verifier_has_little_to_do(program: Fd) -> None:
    (verified,) = struct.unpack_from("=I", info(program), VERIFIED_AT)
    assert 0 < verified < INSTRUCTIONS_CEILING


def test_every_map_call_knows_its_map(program: Fd) -> None:
    """A lookup that could reach two maps stays a call through a pointer, which costs many times an inlined one."""
    functions = list(called(program))
    assert "bpf_xdp_adjust_head" in functions
    assert not {"bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_xdp_redirect_map"}.intersection(functions)


def test_the_steady_path_looks_up_no_hash_table(program: Fd) -> None:
    """Arrays are inlined: of lookups that are calls there is one, that of the flow table behind a changing slot."""
    lookups = [name for name in called(program) if "lookup" in name and "percpu" not in name]
    assert lookups == ["__htab_map_lookup_elem"]
