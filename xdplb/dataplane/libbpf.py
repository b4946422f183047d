# SPDX-License-Identifier: Apache-2.0
"""The kernel's bpf() as far as xdplb needs it, through libbpf.so.1 by ctypes: objects, pins, programs, links.

bcc is not here: this is what a daemon runs on once the program is compiled. Every failure is an OSError with the
kernel's errno; those who call turn it into a sentence. Maps are in `maps.py`, on top of `call` and `Fd`.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import c_char, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xdplb.model.errors import PlatformError

__all__ = [
    "XDP_ABORTED",
    "XDP_DROP",
    "XDP_PASS",
    "XDP_REDIRECT",
    "XDP_TX",
    "Fd",
    "LinkInfo",
    "ProgramInfo",
    "RunResult",
    "call",
    "call_quickly",
    "count_runs",
    "library",
    "link_create_xdp",
    "link_detach",
    "link_info",
    "link_update",
    "load_xdp",
    "obj_get",
    "obj_pin",
    "object_id",
    "possible_cpus",
    "prog_test_run",
    "program_by_id",
    "program_info",
    "program_maps",
    "xdp_program_id",
]

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)

BPF_PROG_TYPE_XDP = 6
BPF_XDP = 37  # enum bpf_attach_type
BPF_STATS_RUN_TIME = 0  # enum bpf_stats_type
NAME_BYTES = 16  # BPF_OBJ_NAME_LEN
ROOM_TO_GROW = 256  # for headers that a program puts in front of a packet


class Fd:
    """A file descriptor of a BPF object, closed with its owner."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return the descriptor's number."""
        return self._number

    def close(self) -> None:
        """Close it; closing again is not an error. A map or program that is pinned or attached stays."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _LinkCreateOpts(ctypes.Structure):
    _fields_ = [
        ("sz", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
        ("cookie", c_uint64),
    ]


class _TestRunOpts(ctypes.Structure):
    _fields_ = [
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class _XdpMd(ctypes.Structure):
    _fields_ = [
        ("data", c_uint32),
        ("data_end", c_uint32),
        ("data_meta", c_uint32),
        ("ingress_ifindex", c_uint32),
        ("rx_queue_index", c_uint32),
        ("egress_ifindex", c_uint32),
    ]


class _ObjectInfo(ctypes.Structure):
    """What struct bpf_prog_info, bpf_map_info and bpf_link_info begin with."""

    _fields_ = [("type", c_uint32), ("id", c_uint32)]


class _ProgInfo(ctypes.Structure):
    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint8 * 8),
        ("jited_prog_len", c_uint32),
        ("xlated_prog_len", c_uint32),
        ("jited_prog_insns", c_uint64),
        ("xlated_prog_insns", c_uint64),
        ("load_time", c_uint64),
        ("created_by_uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", c_char * NAME_BYTES),
        ("unused", c_uint64 * 14),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
    ]


class _LinkInfo(ctypes.Structure):
    # The union behind prog_id is aligned to 8 bytes, which puts the ifindex of an XDP link at 16.
    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("prog_id", c_uint32),
        ("padding", c_uint32),
        ("ifindex", c_uint32),
        ("unused", c_uint32),
    ]


@cache
def library() -> ctypes.CDLL:
    """Return libbpf, for functions that return something else than an error's number."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise PlatformError(f"libbpf is missing: {error}", hint="apt-get install libbpf1") from error
    library.libbpf_set_print(None)  # what went wrong is told by errors, not on stderr
    return library


@cache
def _library_without_switches() -> ctypes.PyDLL:
    library()  # says what to do where it is missing
    return ctypes.PyDLL("libbpf.so.1", use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """Call a function of libbpf that returns a negative errno on failure; raise that as OSError."""
    return _result(name, getattr(library(), name)(*arguments))


def call_quickly(name: str, *arguments: Any) -> int:
    """Do the same with a function that takes microseconds, without letting other threads run meanwhile.

    Among busy threads it would take milliseconds to get Python's lock back.
    """
    return _result(name, getattr(_library_without_switches(), name)(*arguments))


def _result(name: str, result: int) -> int:
    if result < 0:
        raise OSError(-result, f"{name}: {os.strerror(-result)}")
    return result


@cache
def possible_cpus() -> int:
    """Return how many values a per-CPU map has for each key."""
    return call("libbpf_num_possible_cpus")


def obj_pin(fd: Fd, path: Path) -> None:
    """Pin an object as a file in a bpffs, where it must not exist yet."""
    call("bpf_obj_pin", fd.fileno(), os.fsencode(path))


def obj_get(path: Path) -> Fd:
    """Open the object pinned at `path`."""
    return Fd(call("bpf_obj_get", os.fsencode(path)))


def load_xdp(name: str, instructions: bytes) -> Fd:
    """Load an XDP program of raw instructions, 8 bytes each."""
    count = c_size_t(len(instructions) // 8)
    return Fd(call("bpf_prog_load", BPF_PROG_TYPE_XDP, name.encode(), b"GPL", instructions, count, None))


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """A loaded program: its id and the name it was loaded under (15 characters at most).

    `runs` is how often it has run while an Fd of `count_runs` was open.
    """

    id: int
    name: str
    runs: int


def program_info(program: Fd) -> ProgramInfo:
    """Return what the kernel says about a program."""
    info = _ProgInfo()
    _get_info(program, info)
    return ProgramInfo(info.id, info.name.decode(errors="replace"), info.run_cnt)


def count_runs() -> Fd:
    """Let the kernel count how often each program runs as long as this is open. It costs a packet 20 to 70 ns."""
    return Fd(call("bpf_enable_stats", BPF_STATS_RUN_TIME))


def program_maps(program: Fd) -> list[int]:
    """Return the ids of the maps that a program uses."""
    info = _ProgInfo()
    _get_info(program, info)
    ids = (c_uint32 * info.nr_map_ids)()
    _get_info(program, _ProgInfo(nr_map_ids=len(ids), map_ids=ctypes.addressof(ids)))
    return list(ids)


def program_by_id(program_id: int) -> Fd:
    """Open a loaded program by its id."""
    return Fd(call("bpf_prog_get_fd_by_id", c_uint32(program_id)))


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """An XDP link: `ifindex` is 0 once its NIC is gone or it was detached."""

    id: int
    program_id: int
    ifindex: int


def link_info(link: Fd) -> LinkInfo:
    """Return what the kernel says about an XDP link."""
    info = _LinkInfo()
    _get_info(link, info)
    return LinkInfo(info.id, info.prog_id, info.ifindex)


def object_id(fd: Fd) -> tuple[int, int]:
    """Return the type and the id of a program, map or link: the same for two descriptors of the same one."""
    info = _ObjectInfo()
    _get_info(fd, info)
    return info.type, info.id


def _get_info(fd: Fd, info: ctypes.Structure) -> None:
    length = c_uint32(ctypes.sizeof(info))
    call("bpf_obj_get_info_by_fd", fd.fileno(), ctypes.byref(info), ctypes.byref(length))


def link_create_xdp(program: Fd, ifindex: int, flags: int) -> Fd:
    """Attach a program to a NIC of the current network namespace; it stays while the link is open or pinned."""
    options = _LinkCreateOpts(sz=ctypes.sizeof(_LinkCreateOpts), flags=flags)
    return Fd(call("bpf_link_create", program.fileno(), ifindex, BPF_XDP, ctypes.byref(options)))


def link_update(link: Fd, program: Fd) -> None:
    """Swap the program of a link; every packet sees the old or the new one."""
    call("bpf_link_update", link.fileno(), program.fileno(), None)


def link_detach(link: Fd) -> None:
    """Take the program off the NIC, whoever else holds the link."""
    call("bpf_link_detach", link.fileno())


def xdp_program_id(ifindex: int, flags: int = 0) -> int:
    """Return the id of the program on a NIC, 0 where there is none; `flags` of XDP_FLAGS_* pick one mode."""
    program_id = c_uint32()
    call("bpf_xdp_query_id", ifindex, flags, ctypes.byref(program_id))
    return program_id.value


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a program did with a packet: its verdict (XDP_*), the packet after it, and ns per turn."""

    verdict: int
    packet: bytes
    duration: int


def prog_test_run(
    program: Fd,
    packet: bytes,
    *,
    repeat: int = 1,
    metadata: bytes = b"",
    ifindex: int = 0,
) -> RunResult:
    """Run an XDP program on a packet (BPF_PROG_TEST_RUN), `repeat` times on what it made of it.

    `metadata` lies in front of the packet, as another program would leave it there, and takes room from the headroom.
    `ifindex` is the NIC it comes in by, 0 for the loopback.
    """
    data = metadata + packet
    buffer = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(len(data) + ROOM_TO_GROW)
    context = _XdpMd(data=len(metadata), data_end=len(data), ingress_ifindex=ifindex)
    has_context = bool(metadata or ifindex)
    options = _TestRunOpts(
        sz=ctypes.sizeof(_TestRunOpts),
        data_in=ctypes.addressof(buffer),
        data_size_in=len(data),
        data_out=ctypes.addressof(out),
        data_size_out=len(out),
        ctx_in=ctypes.addressof(context) if has_context else None,
        ctx_size_in=ctypes.sizeof(context) if has_context else 0,
        repeat=repeat,
    )
    call("bpf_prog_test_run_opts", program.fileno(), ctypes.byref(options))
    return RunResult(options.retval, out.raw[len(metadata) : options.data_size_out], options.duration)
