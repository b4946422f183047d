# SPDX-License-Identifier: Apache-2.0
"""A socket filter for the ICMP errors that may be about packets in a tunnel: the kernel drops all others unread.

Programs of classic BPF, which the kernel runs on what a packet socket is about to get. A load beyond the packet's end
drops it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .tunnel_settings import GUE_PORT

__all__ = ["TAG_BYTES", "attach_filter", "filter_program"]

# linux/filter.h, linux/bpf_common.h
_LD_BYTE, _LD_HALF = 0x30, 0x28
_LD_BYTE_X, _LD_HALF_X = 0x50, 0x48  # from the index register on
_LDX_HEADER = 0xB1  # the length of the IPv4 header at k, into the index register
_JUMP_EQUAL, _JUMP_SET = 0x15, 0x45
_AND, _SHIFT_LEFT, _ADD_X, _TAX = 0x54, 0x64, 0x0C, 0x07
_RETURN = 0x06
_SO_ATTACH_FILTER = 26
_WHOLE = 0xFFFF

_IPIP = (4, 41)
_UDP = 17
_EXTENSIONS = (0, 43, 60)  # of IPv6: what is behind them is looked at once the packet is read
_FRAGMENT = 44


@dataclass(frozen=True, slots=True)
class _Line:
    """An instruction. `yes` and `no` are where a jump goes: `next`, `keep` or `drop`."""

    code: int
    k: int = 0
    yes: str = "next"
    no: str = "next"


def _one_of(*values: int) -> list[_Line]:
    """Go on if the accumulator has one of these values."""
    *others, last = values
    return [*(_Line(_JUMP_EQUAL, value, "found") for value in others), _Line(_JUMP_EQUAL, last, no="drop")]


def _tunnel(protocols: Sequence[int]) -> list[_Line]:
    """Keep what the accumulator, the quoted packet's protocol, says; go on for UDP; drop the rest."""
    return [*(_Line(_JUMP_EQUAL, each, "keep") for each in protocols), _Line(_JUMP_EQUAL, _UDP, no="drop")]


_GUE = _Line(_JUMP_EQUAL, GUE_PORT, "keep", "drop")

_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
TAG_BYTES = 4


def _lines4(at: int) -> list[_Line]:
    """Return the program for IPv4, if the IP header begins at this offset."""
    return [
        *(_Line(_LD_BYTE, at + 9), _Line(_JUMP_EQUAL, 1, no="drop")),
        *(_Line(_LD_HALF, at + 6), _Line(_JUMP_SET, 0x3FFF, "drop")),
        _Line(_LDX_HEADER, at),
        *(_Line(_LD_BYTE_X, at), *_one_of(3, 11, 12)),
        *(_Line(_LD_BYTE_X, at + 8 + 9), *_tunnel(_IPIP)),
        # UDP: its destination port, behind the quoted IP header
        *(_Line(_LD_BYTE_X, at + 8), _Line(_AND, 0xF), _Line(_SHIFT_LEFT, 2), _Line(_ADD_X), _Line(_TAX)),
        *(_Line(_LD_HALF_X, at + 8 + 2), _GUE),
    ]


def _lines6(at: int) -> list[_Line]:
    """Return the same for IPv6."""
    return [
        *(_Line(_LD_BYTE, at + 6), *(_Line(_JUMP_EQUAL, each, "keep") for each in _EXTENSIONS)),
        _Line(_JUMP_EQUAL, 58, no="drop"),
        *(_Line(_LD_BYTE, at + 40), *_one_of(1, 2, 3, 4)),
        *(_Line(_LD_BYTE, at + 48 + 6), *_tunnel((*_IPIP, *_EXTENSIONS, _FRAGMENT))),
        *(_Line(_LD_HALF, at + 48 + 40 + 2), _GUE),
    ]


def filter_program(version: int, *, tagged: bool = False) -> bytes:
    """Return the program for IPv4 or IPv6, an array of struct sock_filter; `tagged`: a VLAN tag comes first."""
    lines = (_lines4 if version == 4 else _lines6)(TAG_BYTES if tagged else 0)
    if tagged:
        lines = [_Line(_LD_HALF, 2), _Line(_JUMP_EQUAL, _ETHERTYPES[version], no="drop"), *lines]
    keep, drop = len(lines), len(lines) + 1
    program = [_assembled(lines, at, keep, drop) for at in range(len(lines))]
    return b"".join((*program, struct.pack("HBBI", _RETURN, 0, 0, _WHOLE), struct.pack("HBBI", _RETURN, 0, 0, 0)))


def attach_filter(to: socket.socket, version: int, *, tagged: bool = False) -> None:
    """Have the kernel give this socket nothing but what that program keeps. Raises OSError."""
    program = filter_program(version, tagged=tagged)
    place = ctypes.create_string_buffer(program, len(program))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(place)))


def _assembled(lines: Sequence[_Line], at: int, keep: int, drop: int) -> bytes:
    line = lines[at]
    if line.code not in {_JUMP_EQUAL, _JUMP_SET}:
        return struct.pack("HBBI", line.code, 0, 0, line.k)
    after = next((to for to in range(at, len(lines)) if lines[to].code not in {_JUMP_EQUAL, _JUMP_SET}), keep)
    places = {"next": at + 1, "found": after, "keep": keep, "drop": drop}
    return struct.pack("HBBI", line.code, places[line.yes] - at - 1, places[line.no] - at - 1, line.k)
