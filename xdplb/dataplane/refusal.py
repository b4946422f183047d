# SPDX-License-Identifier: Apache-2.0
"""Why a NIC does not run XDP in its driver: the kernel's own words, and what an operator can do about it.

The call that makes a link returns an error number only. The same attempt by rtnetlink fails in the same place, with the
sentence that the driver has for it (an extended acknowledgement).
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from . import netlink
from .libbpf import Fd

__all__ = ["NO_NATIVE", "Refusal", "refusal_of", "why_kept_in_skb"]

NO_NATIVE = {errno.EOPNOTSUPP, errno.ERANGE, errno.EINVAL, errno.ENOMEM, errno.ENOSPC}
"""What drivers answer when they cannot run XDP themselves: none at all, the MTU, or too few queues."""

SAFE_MTU = 3498
"""The MTU that drivers which keep a packet in one page take with XDP: 4096 bytes without 256 of headroom, 320 for the
kernel's skb_shared_info, and 22 for an Ethernet header with two VLAN tags. Some take a few bytes more."""

_USUAL_MTU = 1500
_SIOCGIFMTU = 0x8921
_IFREQ_BYTES = 40
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_RTM_SETLINK, _NLM_F_ACK, _NLM_F_ACK_TLVS = 19, 4, 0x200
_NLMSGERR_ATTR_MSG = 1
_IFLA_XDP, _IFLA_XDP_FD, _IFLA_XDP_FLAGS, _NLA_F_NESTED = 43, 1, 3, 1 << 15
_XDP_IF_NOEXIST, _XDP_DRV_MODE = 1, 1 << 2
_TIMEOUT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a driver does not run a program, and what may make it, each as a clause; `remedy` is "" if nothing does."""

    why: str
    remedy: str

    def note(self) -> str:
        """Return why the NIC is in skb mode instead of native, and the remedy."""
        then = f"; {self.remedy}, then detach and attach again (`down` and `up`)" if self.remedy else ""
        return f"native mode was refused, since {self.why}{then}"


def refusal_of(error: OSError, program: Fd, name: str, ifindex: int) -> Refusal:
    """Return what the refusal of `program` means, by the kernel's words; `error` is what the attempt to attach gave."""
    mtu, said = _mtu(name), _words(program, ifindex)
    says = f" (the kernel says: {said})" if said else ""
    if _has_no_xdp(error, said):
        return Refusal("its driver has no XDP of its own", "")
    if error.errno in {errno.ENOMEM, errno.ENOSPC}:
        no_room = error.errno == errno.ENOSPC
        lacks = "it has too few queues left for XDP" if no_room else "there is not enough memory for its queues"
        return Refusal(f"{lacks}{says}", f"use fewer of them for packets: ethtool -L {name} combined N")
    above = f"is above what the driver takes with XDP{says}"
    if "peer mtu" in said.lower():  # of a veth, which may be in another network namespace
        lower = f"lower the MTU of the other end of {name} (to {SAFE_MTU} or less)"
        return Refusal(f"the MTU of its other end {above}", lower)
    if mtu > _USUAL_MTU or "mtu" in said.lower():
        lower = f"lower its MTU (most drivers take up to {SAFE_MTU}): ip link set {name} mtu {SAFE_MTU}"
        return Refusal(f"its MTU of {mtu} {above}", lower)
    return Refusal(f"the driver refuses: {said or error.strerror}", "")


def _has_no_xdp(error: OSError, said: str) -> bool:
    """Return whether it is not a matter of settings; for those some drivers give the same errno, with other words."""
    return error.errno == errno.EOPNOTSUPP and (not said or "does not support XDP" in said)


def why_kept_in_skb(name: str) -> str:
    """Return a clause for a NIC in skb mode whose driver was asked earlier: its answer is not known."""
    mtu = _mtu(name)
    because = f", and its MTU of {mtu} is more than most drivers take with XDP" if mtu > SAFE_MTU else ""
    return f"it was in skb mode already{because}"


def _mtu(name: str) -> int:
    """Return the MTU of the interface, 0 if it is not known."""
    request = array.array("B", struct.pack("16s", name.encode()).ljust(_IFREQ_BYTES, b"\0"))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCGIFMTU, request)
        mtu: int = struct.unpack_from("i", request, 16)[0]
        return mtu
    return 0


def _words(program: Fd, ifindex: int) -> str:
    """Attach `program` by rtnetlink, in native mode; return the kernel's sentence about the failure, "" for none."""
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(_TIMEOUT_SECONDS)
        asking.bind((0, 0))
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            asking.setsockopt(_SOL_NETLINK, option, 1)
        error, said = _set_program(asking, ifindex, program.fileno())
        if not error:  # it did not fail this time: take it off again, since it has no link
            _set_program(asking, ifindex, -1)
        return said
    return ""


def _set_program(asking: socket.socket, ifindex: int, program: int) -> tuple[int, str]:
    """Set the program of a NIC, -1 for none; return the errno and the kernel's sentence."""
    flags = _XDP_DRV_MODE | (_XDP_IF_NOEXIST if program >= 0 else 0)
    nested = struct.pack("=HHiHHI", 8, _IFLA_XDP_FD, program, 8, _IFLA_XDP_FLAGS, flags)
    attribute = struct.pack("=HH", 4 + len(nested), _IFLA_XDP | _NLA_F_NESTED) + nested
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, ifindex, 0, 0) + attribute
    header = netlink.HEADER.pack(netlink.HEADER.size + len(body), _RTM_SETLINK, netlink.REQUEST | _NLM_F_ACK, 1, 0)
    asking.send(header + body)
    return _acknowledged(asking.recv(8192))


def _acknowledged(answer: bytes) -> tuple[int, str]:
    """Return the errno and the sentence of an NLMSG_ERROR with a capped copy of the request."""
    length, kind, flags, _, _ = netlink.HEADER.unpack_from(answer)
    if kind != netlink.ERROR:
        return 0, ""
    behind = answer[2 * netlink.HEADER.size + 4 : length] if flags & _NLM_F_ACK_TLVS else b""
    said = dict(netlink.attributes(behind)).get(_NLMSGERR_ATTR_MSG, b"")
    return netlink.errno_in(answer[netlink.HEADER.size :]), said.split(b"\0")[0].decode(errors="replace")
