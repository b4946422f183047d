# SPDX-License-Identifier: Apache-2.0
"""Programs that tc runs on a NIC: filters of the kind bpf in a clsact qdisc, beside those of others.

libbpf adds and removes one filter and makes the qdisc. What it has no call for, to list the filters, is asked by
netlink here. xdplb's own are known by their handle, so that they are found again whatever else is lost.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from ctypes import c_int, c_size_t, c_uint32
from dataclasses import dataclass
from enum import IntEnum

from . import libbpf, netlink
from .libbpf import Fd, call

__all__ = ["Filter", "Hook", "attach", "detach", "filters", "is_first", "make_qdisc", "remove_qdisc"]

_HANDLE = 0x78646C62
"""The handle of xdplb's filters: `xdlb`."""

_REPLACE = 1  # BPF_TC_F_REPLACE

_NLMSG_DONE = 3
_NLM_F_DUMP = 0x300
_RTM_GETQDISC, _RTM_GETTFILTER = 38, 46
_TCA_KIND, _TCA_OPTIONS, _TCA_BPF_ID = 1, 2, 11
_CLSACT = 0xFFFFFFF0
_NOT_THERE = frozenset({errno.ENODEV, errno.EINVAL, errno.ENOENT})
_TCMSG = struct.Struct("=BxxxiIII")
_ANSWER_BYTES = 1 << 16
_ANSWER_SECONDS = 5.0


class Hook(IntEnum):
    """Where a program runs: on what comes in, or on what leaves. BPF_TC_INGRESS and BPF_TC_EGRESS."""

    IN = 1
    OUT = 2


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter on a NIC; `program_id` is 0 if it runs no program."""

    hook: Hook
    kind: str
    handle: int
    priority: int
    program_id: int

    @property
    def is_ours(self) -> bool:
        """Whether xdplb has made it."""
        return self.kind == "bpf" and self.handle == _HANDLE


class _TcHook(ctypes.Structure):
    _fields_ = [("sz", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32)]


class _TcOpts(ctypes.Structure):
    _fields_ = [
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    ]


def make_qdisc(ifindex: int) -> bool:
    """Make sure that the NIC has a clsact qdisc; return whether it had none.

    Raises FileExistsError if an `ingress` qdisc has its place: that takes filters for what leaves, too, and runs them
    on what comes in.
    """
    try:
        call("bpf_tc_hook_create", _hook(ifindex, Hook.IN | Hook.OUT))
    except FileExistsError:
        if _kind_of_qdisc(ifindex) != "clsact":
            raise
        return False
    return True


def remove_qdisc(ifindex: int) -> None:
    """Remove the clsact qdisc, and all filters in it with it."""
    call("bpf_tc_hook_destroy", _hook(ifindex, Hook.IN | Hook.OUT))


def attach(program: Fd, ifindex: int, hook: Hook) -> None:
    """Have this program run first on what passes the NIC, in the place of an earlier one of xdplb's.

    The kernel puts a filter without a priority in front of all there are. Others that come later do the same: then it
    is put in front of theirs, and only after that taken from its old place.
    """
    found = filters(ifindex)
    ours = [each for each in found if each.is_ours and each.hook is hook]
    stays = next((each for each in ours if is_first(each, found)), None)
    if stays is None or stays.program_id != libbpf.program_info(program).id:
        options = _TcOpts(sz=ctypes.sizeof(_TcOpts), prog_fd=program.fileno(), handle=_HANDLE)
        if stays is not None:
            options.flags, options.priority = _REPLACE, stays.priority
        call("bpf_tc_attach", _hook(ifindex, hook), ctypes.byref(options))
    for each in ours:
        if each is not stays:
            _remove(ifindex, each)


def is_first(filter_: Filter, among: Sequence[Filter]) -> bool:
    """Return whether a filter runs before the others of its hook, or cannot: there is no place before priority 1."""
    before = [each.priority for each in among if each.hook is filter_.hook and each.priority < filter_.priority]
    return not before or min(before) <= 1


def detach(ifindex: int) -> None:
    """Remove xdplb's filters from the NIC; those of others stay."""
    for each in filters(ifindex):
        if each.is_ours:
            _remove(ifindex, each)


def _remove(ifindex: int, filter_: Filter) -> None:
    options = _TcOpts(sz=ctypes.sizeof(_TcOpts), handle=filter_.handle, priority=filter_.priority)
    call("bpf_tc_detach", _hook(ifindex, filter_.hook), ctypes.byref(options))


def filters(ifindex: int) -> list[Filter]:
    """Return the filters in the NIC's clsact qdisc; none where there is no such NIC or qdisc."""
    found = []
    for hook in Hook:
        parent = _CLSACT + (2 if hook is Hook.IN else 3)  # TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
        found += [_filter_of(message, hook) for message in _dump(_RTM_GETTFILTER, ifindex, parent)]
    return [each for each in found if each.handle]  # what has no handle is no filter but a priority that has some


def _kind_of_qdisc(ifindex: int) -> str:
    """Return the kind of the qdisc that the NIC has in the place of clsact."""
    for message in _dump(_RTM_GETQDISC, ifindex, 0):
        _, index, _, parent, _ = _TCMSG.unpack_from(message)
        if (index, parent) == (ifindex, _CLSACT + 1):
            return _kind(dict(netlink.attributes(message[_TCMSG.size :])))
    return ""


def _hook(ifindex: int, hooks: int) -> object:
    return ctypes.byref(_TcHook(sz=ctypes.sizeof(_TcHook), ifindex=ifindex, attach_point=hooks))


def _dump(request: int, ifindex: int, parent: int) -> Iterator[bytes]:
    """Yield the messages that answer a request, without their headers; none if the NIC or the parent is not there."""
    body = _TCMSG.pack(socket.AF_UNSPEC, ifindex, 0, parent, 0)
    size = netlink.HEADER.size
    header = netlink.HEADER.pack(size + len(body), request, netlink.REQUEST | _NLM_F_DUMP, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(_ANSWER_SECONDS)
        asking.send(header + body)
        while True:
            answer, at = asking.recv(_ANSWER_BYTES), 0
            while at < len(answer):
                length, kind, *_ = netlink.HEADER.unpack_from(answer, at)
                message = answer[at + size : at + length]
                if kind == _NLMSG_DONE:
                    return
                if kind == netlink.ERROR:
                    code = netlink.errno_in(message)
                    if code in _NOT_THERE:
                        return
                    raise OSError(code, os.strerror(code))
                yield message
                at += (length + 3) & ~3


def _filter_of(message: bytes, hook: Hook) -> Filter:
    _, _, handle, _, info = _TCMSG.unpack_from(message)
    found = dict(netlink.attributes(message[_TCMSG.size :]))
    options = dict(netlink.attributes(found.get(_TCA_OPTIONS, b"")))
    kind = _kind(found)
    program_id = int.from_bytes(options.get(_TCA_BPF_ID, b"")[:4], "little") if kind == "bpf" else 0
    return Filter(hook, kind, handle, info >> 16, program_id)


def _kind(attributes: Mapping[int, bytes]) -> str:
    return attributes.get(_TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
