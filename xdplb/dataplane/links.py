# SPDX-License-Identifier: Apache-2.0
"""XDP links: attaches a program to a NIC, finds what is attached, and detaches it.

A link is pinned, so that the program stays on the NIC when the process ends. Once the NIC is gone the link is dead: it
has no ifindex any more, and its pin is only a name. A NIC that is renamed, or moved to another network namespace, takes
its link with it.
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
from .refusal import NO_NATIVE, refusal_of, why_kept_in_skb

__all__ = [
    "MODES",
    "Attached",
    "Nic",
    "PinnedLink",
    "attach",
    "attach_or_keep",
    "attached_mode",
    "attachments",
    "find_nic",
    "pinned_links",
    "take_down",
    "why_missing",
]

MODES = ("native", "skb", "auto")
MODE_FLAGS = {"native": 1 << 2, "skb": 1 << 1}  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
SLOWER_MODE = "try --mode skb, which is several times slower"

_QUERIES = 5


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


@dataclass(frozen=True, slots=True)
class Attached:
    """How a NIC got the program: `made` is the pin of a new link, None if there was one already.

    `note` says why it is not in native mode where that was wanted, "" where it is or was not wanted.
    """

    made: Path | None
    note: str = ""


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
            with suppress(FileNotFoundError):  # an `xdplb down` removed it just now
                with libbpf.obj_get(path) as link:
                    info = libbpf.link_info(link)
                found.append(PinnedLink(path, nic, info.ifindex, info.program_id))
    return found


def attachments(pin_dir: Path) -> list[Attachment]:
    """Return the NICs of this network namespace that the program pinned here is on, under their present names."""
    found = []
    for link in pinned_links(pin_dir):
        mode = _mode_here(link)
        if mode is not None:
            with suppress(OSError):  # the NIC went away just now
                found.append(Attachment(socket.if_indextoname(link.ifindex), link.ifindex, mode, link.program_id))
    return found


def _mode_here(link: PinnedLink) -> str | None:
    """Return `native` or `skb` if the link's NIC is in this network namespace, else None."""
    for _ in range(_QUERIES):
        mode = None if link.is_dead else attached_mode(link.ifindex, link.program_id)
        if mode is not None or link.is_dead:
            return mode
        again = _look_again(link)
        if again == link:
            return None
        link = again  # its program was swapped between the two looks
    return None


def _look_again(link: PinnedLink) -> PinnedLink:
    try:
        with link.open() as opened:
            info = libbpf.link_info(opened)
    except OSError:
        return PinnedLink(link.path, link.nic, 0, 0)
    return PinnedLink(link.path, link.nic, info.ifindex, info.program_id)


def attached_mode(ifindex: int, program_id: int) -> str | None:
    """Return `native` or `skb` if this program is on that NIC of this network namespace, else None."""
    with suppress(OSError):
        for mode, flags in MODE_FLAGS.items():
            if libbpf.xdp_program_id(ifindex, flags) == program_id:
                return mode
    return None


def why_missing(pin_dir: Path, name: str) -> str:
    """Return a sentence for a NIC that does not exist: what became of it, if the program was attached to it."""
    link = next((link for link in pinned_links(pin_dir) if link.nic == name), None)
    if link is None:
        return f"there is no NIC {name}"
    if link.is_dead:
        return f"the NIC {name} is gone"
    if _mode_here(link) is None:
        return f"the NIC {name} was moved to another network namespace"
    return f"there is no NIC {name}: it is called {_present_name(link)} now"


def attach(program: Fd, nic: Nic, mode: str, pin: Path) -> tuple[str, str]:
    """Attach `program` to `nic` and pin the link, in the place of a dead one's pin.

    Returns the mode, `native` or `skb`, that came of `mode`, and a sentence that says why it is not native if `auto`
    asked for that. ConflictError where another program is on the NIC; PlatformError where the driver or the kernel
    refuses.
    """
    note = ""
    for tried in ("native", "skb") if mode == "auto" else (mode,):
        try:
            with libbpf.link_create_xdp(program, nic.ifindex, MODE_FLAGS[tried]) as link:
                pin.unlink(missing_ok=True)
                libbpf.obj_pin(link, pin)
        except OSError as error:
            if mode == "auto" and tried == "native" and error.errno in NO_NATIVE:
                note = refusal_of(error, program, nic.name, nic.ifindex).note()
                continue
            raise _refusal(error, program, nic, tried) from error
        return tried, note
    raise AssertionError("the last mode either attaches or raises")


def attach_or_keep(program: Fd, nic: Nic, mode: str, pin_dir: Path, *, reclaim: bool = False) -> Attached:
    """Make sure that `program` is on `nic`.

    A link found pinned must have this program; that of a NIC that was renamed is pinned by its present name, if no
    other has that name's pin. `reclaim`: the links of `pin_dir` were made in this network namespace, so that one that
    is in another now may be detached. ConflictError where the pin of this name is in another network namespace
    otherwise, or in another mode.
    """
    pin = pin_dir / link_name(nic.name)
    links = pinned_links(pin_dir)
    mine = next((link for link in links if _is_on(link, nic)), None)
    if mine is not None:
        if mine.path != pin and not any(link.path == pin and not link.is_dead for link in links):
            mine.path.rename(pin)
        actual = _check_mode(mine, nic, mode)
        return Attached(None, why_kept_in_skb(nic.name) if (mode, actual) == ("auto", "skb") else "")
    held = next((link for link in links if link.path == pin), None)
    if held is not None and not held.is_dead:
        _make_way(held, reclaim=reclaim)
    return Attached(pin, attach(program, nic, mode, pin)[1])


def _is_on(link: PinnedLink, nic: Nic) -> bool:
    return link.ifindex == nic.ifindex and _mode_here(link) is not None


def _make_way(link: PinnedLink, *, reclaim: bool) -> None:
    """Free the pin of a link whose NIC has another name now, or has left this network namespace."""
    if _mode_here(link) is not None:
        pin = link.path.with_name(link_name(_present_name(link)))
        # The name may be taken by a NIC that was renamed, too.
        link.path.rename(link.path.with_name(link_name(f"index{link.ifindex}")) if pin.exists() else pin)
    elif reclaim:
        link.remove()
    else:
        raise ConflictError(
            f"{link.path.parent} is in use for another {link.nic} (ifindex {link.ifindex}), perhaps in another "
            "network namespace",
            hint="use another --pin-dir, or run xdplb down there",
        )


def _check_mode(link: PinnedLink, nic: Nic, mode: str) -> str:
    """Return the mode of the link of this NIC; ConflictError if another one is wanted."""
    actual = _mode_here(link) or mode
    if mode not in {"auto", actual}:
        raise ConflictError(
            f"{nic.name} is attached in {actual} mode",
            hint=f"`xdplb down {nic.name}` first: a change of mode detaches the program for a moment",
        )
    return actual


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
    if _mode_here(link) is None:
        return link.nic
    try:
        return socket.if_indextoname(link.ifindex)
    except OSError:
        return link.nic


def _refusal(error: OSError, program: Fd, nic: Nic, mode: str) -> ConflictError | PlatformError:
    """Return the error for a failed attach, with a hint."""
    if error.errno in {errno.EBUSY, errno.EEXIST}:
        return _occupied(nic)
    if error.errno == errno.ENODEV:
        return PlatformError(f"the NIC {nic.name} is gone", hint="run it again when it is back")
    if error.errno == errno.EPERM:
        return PlatformError(f"this process may not attach to {nic.name}", hint="run it as root (CAP_NET_ADMIN)")
    if mode == "native" and error.errno in NO_NATIVE:
        refused = refusal_of(error, program, nic.name, nic.ifindex)
        return PlatformError(
            f"{nic.name} cannot run XDP in its driver: {refused.why}",
            hint="; or ".join(filter(None, (SLOWER_MODE, refused.remedy))),
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
    if not program_id:
        return ConflictError(
            f"{nic.name} is a port of another device, such as a bond, that has an XDP program itself",
            hint=f"ip link show {nic.name} names it (master): balance on that device instead",
        )
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
