"""XDP links: attaches a program to a NIC, finds what is attached, and detaches it.

A link is pinned, so that the program stays on the NIC when the process ends. Once the NIC is gone the link is dead: it
has no ifindex any more, and its pin is only a name.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xdplb.model.errors import ConflictError, NotFoundError, PlatformError

from . import libbpf
from .bpffs import mounts
from .libbpf import Fd
from .pins import DECAP, PROGRAM, link_name, linked_interface
from .plane import Attachment

__all__ = [
    "MODES",
    "Nic",
    "PinnedLink",
    "attach",
    "attach_or_keep",
    "attached_mode",
    "attachments",
    "find_nic",
    "pinned_links",
    "take_down",
]

MODES = ("native", "skb", "auto")
MODE_FLAGS = {"native": 1 << 2, "skb": 1 << 1}  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
NO_NATIVE = {errno.EOPNOTSUPP, errno.ERANGE, errno.EINVAL, errno.ENOMEM, errno.ENOSPC}
"""What drivers answer when they cannot run XDP themselves: none at all, the MTU, or too few queues."""


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC of the current network namespace."""

    name: str
    ifindex: int


@dataclass(frozen=True, slots=True)
class PinnedLink:
    """A link found pinned: `nic` is the name it was pinned for, `ifindex` 0 when that NIC is gone."""

    path: Path
    nic: str
    ifindex: int
    program_id: int

    @property
    def is_dead(self) -> bool:
        """Whether its NIC is gone, or it was detached by somebody."""
        return self.ifindex == 0

    def open(self) -> Fd:
        """Open the link."""
        return libbpf.obj_get(self.path)

    def remove(self) -> None:
        """Detach the program, if it still is on the NIC, and remove the pin."""
        if not self.is_dead:
            with self.open() as link:
                libbpf.link_detach(link)
        self.path.unlink(missing_ok=True)


def find_nic(name: str) -> Nic:
    """Return the NIC of that name, or raise NotFoundError listing those there are."""
    try:
        ifindex = socket.if_nametoindex(name)
        return Nic(socket.if_indextoname(ifindex), ifindex)  # `name` may be an alternative one, or an alias eth0:1
    except OSError:
        there = ", ".join(sorted(known for _, known in socket.if_nameindex() if known != "lo"))
        raise NotFoundError(f"there is no NIC {name}", hint=f"NICs of this host: {there or 'only lo'}") from None


def pinned_links(pin_dir: Path) -> list[PinnedLink]:
    """Return the links pinned in `pin_dir`, by name."""
    found = []
    for path in sorted(pin_dir.iterdir()) if pin_dir.is_dir() else []:
        nic = linked_interface(path.name)
        if nic is not None:
            with libbpf.obj_get(path) as link:
                info = libbpf.link_info(link)
            found.append(PinnedLink(path, nic, info.ifindex, info.program_id))
    return found


def attachments(pin_dir: Path) -> list[Attachment]:
    """Return the NICs of this network namespace that the program pinned here is on, under their present names."""
    found = []
    for link in pinned_links(pin_dir):
        mode = None if link.is_dead else attached_mode(link.ifindex, link.program_id)
        if mode is not None:
            found.append(Attachment(socket.if_indextoname(link.ifindex), link.ifindex, mode, link.program_id))
    return found


def attached_mode(ifindex: int, program_id: int) -> str | None:
    """Return `native` or `skb` if this program is on that NIC of this network namespace, else None."""
    with suppress(OSError):
        for mode, flags in MODE_FLAGS.items():
            if libbpf.xdp_program_id(ifindex, flags) == program_id:
                return mode
    return None


def attach(program: Fd, nic: Nic, mode: str, pin: Path) -> str:
    """Attach `program` to `nic` and pin the link; return the mode, `native` or `skb`, that came of `mode`.

    ConflictError where another program is on the NIC; PlatformError where the driver or the kernel refuses.
    """
    for tried in ("native", "skb") if mode == "auto" else (mode,):
        try:
            with libbpf.link_create_xdp(program, nic.ifindex, MODE_FLAGS[tried]) as link:
                libbpf.obj_pin(link, pin)
        except OSError as error:
            if mode == "auto" and tried == "native" and error.errno in NO_NATIVE:
                continue
            raise _refusal(error, nic, tried) from error
        return tried
    raise AssertionError("the last mode either attaches or raises")


def attach_or_keep(program: Fd, nic: Nic, mode: str, pin_dir: Path) -> Path | None:
    """Make sure that `program` is on `nic`; return the pin of a link that was made, None where one was there.

    A link found pinned must have this program; one of a NIC that was renamed since keeps its pin. ConflictError where
    the pin of this name is on another NIC, or in another mode.
    """
    pin = pin_dir / link_name(nic.name)
    links = pinned_links(pin_dir)
    renamed = next((link for link in links if link.path != pin and _is_on(link, nic)), None)
    if renamed is not None:
        _check_kept(renamed, nic, mode)
        return None
    held = next((link for link in links if link.path == pin), None)
    if held is not None and held.is_dead:
        held.remove()
    elif held is not None:
        _check_kept(held, nic, mode)
        return None
    attach(program, nic, mode, pin)
    return pin


def _is_on(link: PinnedLink, nic: Nic) -> bool:
    return link.ifindex == nic.ifindex and attached_mode(nic.ifindex, link.program_id) is not None


def _check_kept(link: PinnedLink, nic: Nic, mode: str) -> None:
    actual = attached_mode(nic.ifindex, link.program_id) if link.ifindex == nic.ifindex else None
    if actual is None:
        raise ConflictError(
            f"{link.path.parent} is in use for another {link.nic} (ifindex {link.ifindex}), perhaps in another "
            "network namespace",
            hint="use another --pin-dir, or run xdplb down there",
        )
    if mode not in {"auto", actual}:
        raise ConflictError(
            f"{nic.name} is attached in {actual} mode",
            hint=f"`xdplb down {nic.name}` first: a change of mode detaches the program for a moment",
        )


def take_down(pin_dir: Path, interfaces: Collection[str] | None) -> list[str]:
    """Detach from these NICs, None for all, named as now or as when they were attached; return what was removed."""
    removed = []
    for link in pinned_links(pin_dir):
        if interfaces is None or link.nic in interfaces or _present_name(link) in interfaces:
            link.remove()
            removed.append(f"the pin of {link.nic}, which is gone" if link.is_dead else f"the program on {link.nic}")
    return removed


def _present_name(link: PinnedLink) -> str:
    """Return the name that the link's NIC has now; it may have been renamed."""
    if attached_mode(link.ifindex, link.program_id) is None:
        return link.nic
    return socket.if_indextoname(link.ifindex)


def _refusal(error: OSError, nic: Nic, mode: str) -> ConflictError | PlatformError:
    """Return the error for a failed attach, with a hint."""
    if error.errno in {errno.EBUSY, errno.EEXIST}:
        return _occupied(nic)
    if error.errno == errno.ENODEV:
        return PlatformError(f"the NIC {nic.name} is gone", hint="run it again when it is back")
    if error.errno == errno.EPERM:
        return PlatformError(f"this process may not attach to {nic.name}", hint="run it as root (CAP_NET_ADMIN)")
    if mode == "native" and error.errno in NO_NATIVE:
        return PlatformError(
            f"{nic.name} cannot run XDP in its driver: {error.strerror}",
            hint="try --mode skb; or lower its MTU (some drivers run XDP only on frames that fit a page), "
            "or its queues (ethtool -L)",
        )
    return PlatformError(
        f"the kernel refused to attach to {nic.name} in {mode} mode: {error.strerror}", hint="see `dmesg`"
    )


def _occupied(nic: Nic) -> ConflictError:
    """Return the error that names the program on the NIC, and its pin dir if it is one of xdplb."""
    program_id, name = 0, "?"
    with suppress(OSError):
        program_id = libbpf.xdp_program_id(nic.ifindex)
        with libbpf.program_by_id(program_id) as program:
            name = libbpf.program_info(program).name
    pin_dir = _pin_dir_of(program_id)
    if pin_dir is not None and name == DECAP:
        return ConflictError(
            f"{nic.name} runs xdplb's decap, pinned in {pin_dir}",
            hint=f"xdplb decap down {nic.name} --pin-dir {pin_dir.parent}",
        )
    if pin_dir is not None:
        return ConflictError(
            f"{nic.name} runs the xdplb that is pinned in {pin_dir}",
            hint=f"xdplb down {nic.name} --pin-dir {pin_dir}, or continue with it: xdplb up --pin-dir {pin_dir}",
        )
    return ConflictError(
        f"{nic.name} has another XDP program: {name!r} (id {program_id})",
        hint=f"if it is not needed: ip link set dev {nic.name} xdp off, or stop what holds its link (bpftool link)",
    )


def _pin_dir_of(program_id: int) -> Path | None:
    """Return the pin dir, in any bpffs in sight, that has this program."""
    for mount in mounts():
        for path in (*mount.glob(f"{PROGRAM}"), *mount.glob(f"*/{PROGRAM}"), *mount.glob(f"*/*/{PROGRAM}")):
            with suppress(OSError), libbpf.obj_get(path) as program:
                if libbpf.program_info(program).id == program_id:
                    return path.parent
    return None
