"""What xdplb needs of a NIC: to be there, to run XDP in its driver, to have no other program on it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from xdplb.dataplane.libbpf import obj_get, program_by_id, program_info
from xdplb.dataplane.pins import PROGRAM
from xdplb.model.errors import NotFoundError
from xdplb.net.links import Link, link, vlan_devices

from .finding import Finding, fail, ok, warn

__all__ = ["examine_nic", "native_xdp", "offloads", "other_program"]

NATIVE_XDP_DRIVERS = frozenset({
    "amazon", "ena", "atlantic", "bnxt_en", "bonding", "cpsw-switch", "dpaa2-eth", "dpaa_eth", "fsl_enetc", "gve",
    "hv_netvsc", "i40e", "iavf", "ice", "igb", "igc", "ixgbe", "ixgbevf", "lan966x-switch", "mana", "mlx4_en",
    "mlx5_core", "mtk_soc_eth", "mvneta", "mvpp2", "netsec", "nfp", "nicvf", "octeontx2-nicpf", "qede", "sfc",
    "stmmac", "st_gmac", "tsnep", "tun", "veth", "virtio_net", "vmxnet3", "xen-netfront",
})  # fmt: skip
"""As ethtool -i calls them. The kernel's word is final: `xdplb up --mode native` asks it."""

_SIOCETHTOOL = 0x8946
_ETHTOOL_GFLAGS = 0x25
_FLAG_RX_VLAN = 1 << 8
_FLAG_LRO = 1 << 15


def examine_nic(name: str, pin_dir: Path) -> Iterator[Finding]:
    """Yield a finding for each thing needed of the NIC; `pin_dir` tells our program from another's."""
    try:
        found = link(name)
    except NotFoundError as error:
        yield fail(name, error.detail, error.hint)
        return
    if not found.ethernet:
        yield fail(name, "it is no Ethernet interface", "xdplb works on Ethernet frames: name another NIC")
        return
    if found.up:
        yield ok(name, f"up, MTU {found.mtu}, driver {found.driver or 'unknown'}")
    else:
        yield fail(name, "it is down or has no carrier", f"ip link set {name} up, and look at the cable")
    yield from place(found)
    yield native_xdp(found)
    yield other_program(found, pin_dir)
    yield from offloads(name, _flags(name), vlan_devices([name]))


def place(nic: Link) -> Iterator[Finding]:
    """Judge whether routes leave by the NIC itself: else backends are found behind another, and not sent to."""
    if nic.vlan_of is not None:
        yield fail(
            f"{nic.name} is a VLAN device",
            f"backends of this VLAN are reached by {nic.vlan_of}, with its tag",
            f"balance on the NIC below it, which takes the frames of all its VLANs: xdplb up {nic.vlan_of}",
        )
    elif nic.master_kind == "bond":
        yield fail(
            f"{nic.name} is part of a bond",
            f"routes leave by {nic.master}",
            f"balance on the bond, whose NICs all run the program then: xdplb up {nic.master}",
        )
    elif nic.master is not None:
        yield warn(
            f"{nic.name} is part of {nic.master}",
            f"where routes leave by {nic.master}, which is no NIC, their backends are not sent to",
            f"have the addresses and routes on {nic.name}, outside of {nic.master}",
        )


def native_xdp(nic: Link) -> Finding:
    """Judge whether XDP runs in the NIC's driver: by what is attached, else by the driver's name."""
    check = f"{nic.name} native XDP"
    if nic.xdp is not None and nic.xdp.mode == "native":
        return ok(check, "a program runs in native mode")
    if nic.driver == "veth":
        return warn(
            check,
            "veth has it, but drops what is sent back out unless its other end has an XDP program too",
            "attach a program that passes everything to the other end of the veth",
        )
    if nic.driver in NATIVE_XDP_DRIVERS:
        return ok(check, f"the driver {nic.driver} has it")
    return warn(
        check,
        f"the driver {nic.driver or 'is unknown, it'} is not known to have it",
        "xdplb up --mode auto takes skb mode then, which is several times slower",
    )


def other_program(nic: Link, pin_dir: Path) -> Finding:
    """Judge the XDP program on the NIC: none, ours, or another's, which `up` does not replace."""
    check = f"{nic.name} XDP program"
    if nic.xdp is None:
        return ok(check, "none yet")
    ours, name = _program_names(nic.xdp.program_id, pin_dir)
    if ours == nic.xdp.program_id:
        return ok(check, f"xdplb's (id {ours}, {nic.xdp.mode} mode)")
    return fail(
        check,
        f"another program is attached: {name}, id {nic.xdp.program_id}, {nic.xdp.mode} mode",
        "if it is an xdplb's: give its --pin-dir; else end what attached it (see bpftool link), or where it has no "
        f"link: ip link set dev {nic.name} xdp off",
    )


def _program_names(program_id: int, pin_dir: Path) -> tuple[int | None, str]:
    """Return the id of the program pinned by us and the name of the program `program_id`, as far as one may know."""
    ours, name = None, "of a name only root may see"
    try:
        with obj_get(pin_dir / PROGRAM) as pinned:
            ours = program_info(pinned).id
    except OSError:
        ours = None
    try:
        with program_by_id(program_id) as program:
            name = repr(program_info(program).name)
    except OSError:
        return ours, name
    return ours, name


def offloads(name: str, flags: int, vlans: Sequence[str] = ()) -> Iterator[Finding]:
    """Judge the offloads that do not go with XDP; `flags` are those of ETHTOOL_GFLAGS, `vlans` its VLAN devices."""
    if flags & _FLAG_LRO:
        yield warn(
            f"{name} LRO",
            "on: received packets are merged, which native XDP does not go with",
            f"ethtool -K {name} lro off",
        )
    if flags & _FLAG_RX_VLAN and vlans:
        yield warn(
            f"{name} rx-vlan-offload",
            f"on: XDP does not see the tags of frames for {', '.join(vlans)}, and sends them on without",
            f"ethtool -K {name} rxvlan off",
        )
    elif flags & _FLAG_RX_VLAN:
        yield ok(f"{name} rx-vlan-offload", "on: of tagged frames XDP does not see the tag; matters on trunks only")


def _flags(name: str) -> int:
    value = array.array("B", struct.pack("II", _ETHTOOL_GFLAGS, 0))
    request = struct.pack("16sP", name.encode(), value.buffer_info()[0]).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            fcntl.ioctl(probe, _SIOCETHTOOL, request)
        except OSError:
            return 0
    flags: int = struct.unpack("II", value.tobytes())[1]
    return flags
