# SPDX-License-Identifier: Apache-2.0
"""What xdplb needs of a NIC: that it exists, that its driver runs XDP, that no other program is attached to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from xdplb.dataplane.libbpf import obj_get, program_by_id, program_info
from xdplb.dataplane.pins import PROGRAM
from xdplb.model.errors import NotFoundError
from xdplb.net import ethtool
from xdplb.net.links import Link, link, vlan_devices

from .finding import Finding, fail, ok, warn

__all__ = ["examine_nic", "native_xdp", "offloads", "other_program"]

NATIVE_XDP_DRIVERS = frozenset({
    "amazon", "ena", "atlantic", "bnxt_en", "bonding", "cpsw-switch", "dpaa2-eth", "dpaa_eth", "fsl_enetc", "gve",
    "hv_netvsc", "i40e", "iavf", "ice", "igb", "igc", "ixgbe", "ixgbevf", "lan966x-switch", "mana", "mlx4_en",
    "mlx5_core", "mtk_soc_eth", "mvneta", "mvpp2", "netsec", "nfp", "nicvf", "octeontx2-nicpf", "qede", "sfc",
    "stmmac", "st_gmac", "tsnep", "tun", "veth", "virtio_net", "vmxnet3", "xen-netfront",
})  # fmt: skip
"""Drivers with native XDP, by the names that ethtool -i prints. `xdplb up --mode native` asks the kernel itself."""


def examine_nic(name: str, pin_dir: Path, why_skb: str = "") -> Iterator[Finding]:
    """Yield a finding for each thing that xdplb needs of the NIC; the pins in `pin_dir` identify our own program.

    `why_skb` is what the daemon says about its being in skb mode, "" if it is not, or none runs.
    """
    try:
        found = link(name)
    except NotFoundError as error:
        yield fail(name, error.detail, error.hint)
        return
    if not found.ethernet:
        yield fail(name, "it is not an Ethernet interface", "xdplb works on Ethernet frames: name another NIC")
        return
    if found.up:
        yield ok(name, f"up, MTU {found.mtu}, driver {found.driver or 'unknown'}")
    else:
        yield fail(name, "it is down or has no carrier", f"ip link set {name} up, and check the cable")
    yield from place(found)
    yield native_xdp(found, why_skb)
    yield other_program(found, pin_dir)
    yield from offloads(name, ethtool.flags(name), vlan_devices([name]))


def place(nic: Link) -> Iterator[Finding]:
    """Check that routes use the NIC itself. If they use another device, its backends are not reachable by this NIC."""
    if nic.vlan_of is not None:
        yield fail(
            f"{nic.name} is a VLAN device",
            f"backends of this VLAN are reached through {nic.vlan_of}, with its tag",
            f"balance on the NIC below it, which receives the frames of all its VLANs: xdplb up {nic.vlan_of}",
        )
    elif nic.master_kind == "bond":
        yield fail(
            f"{nic.name} is part of a bond",
            f"routes use {nic.master}",
            f"balance on the bond; all its NICs run the program then: xdplb up {nic.master}",
        )
    elif nic.master is not None:
        yield warn(
            f"{nic.name} is part of {nic.master}",
            f"routes that use {nic.master} do not use a NIC, so their backends get no packets",
            f"put the addresses and routes on {nic.name} itself, outside of {nic.master}",
        )


def native_xdp(nic: Link, why_skb: str = "") -> Finding:
    """Check whether XDP runs in the NIC's driver: by the program attached, if any, else by the driver's name."""
    check = f"{nic.name} native XDP"
    if nic.xdp is not None and nic.xdp.mode == "native":
        return ok(check, "a program runs in native mode")
    if nic.xdp is not None and nic.xdp.mode == "skb":
        return warn(
            check,
            why_skb or "a program runs in skb mode, which is several times slower",
            f"remove the cause, then xdplb down {nic.name} and xdplb up {nic.name}; --mode skb if it is what you want",
        )
    if nic.driver == "veth":
        return warn(
            check,
            "veth supports it, but drops the packets that XDP sends unless its other end has an XDP program too",
            "attach an XDP program that passes everything to the other end of the veth",
        )
    if nic.driver in NATIVE_XDP_DRIVERS:
        return ok(check, f"the driver {nic.driver} supports it")
    return warn(
        check,
        f"the driver {nic.driver} is not known to support it" if nic.driver else "its driver is unknown",
        "nothing is needed: xdplb up --mode auto falls back to skb mode, which is several times slower",
    )


def other_program(nic: Link, pin_dir: Path) -> Finding:
    """Check the XDP program on the NIC: none, ours, or a foreign one, which `up` does not replace."""
    check = f"{nic.name} XDP program"
    if nic.xdp is None:
        return ok(check, "none yet")
    ours, name = _program_names(nic.xdp.program_id, pin_dir)
    if ours == nic.xdp.program_id:
        return ok(check, f"xdplb's (id {ours}, {nic.xdp.mode} mode)")
    if name is None:
        return warn(
            check,
            f"one is attached (id {nic.xdp.program_id}, {nic.xdp.mode} mode), but only root can see which",
            "run it as root",
        )
    return fail(
        check,
        f"another program is attached: {name}, id {nic.xdp.program_id}, {nic.xdp.mode} mode",
        "if it belongs to another xdplb, give its --pin-dir; else stop what attached it (see bpftool link), or if it "
        f"has no link: ip link set dev {nic.name} xdp off",
    )


def _program_names(program_id: int, pin_dir: Path) -> tuple[int | None, str | None]:
    """Return the id of our pinned program, None if there is none to be read, and the name of the program `program_id`.

    The name is None if this process may not read it.
    """
    ours: int | None = None
    name: str | None = "it is gone"
    with suppress(OSError), obj_get(pin_dir / PROGRAM) as pinned:
        ours = program_info(pinned).id
    try:
        with program_by_id(program_id) as program:
            name = repr(program_info(program).name)
    except PermissionError:
        name = None
    except OSError:
        pass
    return ours, name


def offloads(name: str, flags: int, vlans: Sequence[str] = ()) -> Iterator[Finding]:
    """Check for offloads that conflict with XDP; `flags` are `ethtool.flags`, `vlans` the NIC's VLAN devices."""
    if flags & ethtool.LRO:
        yield warn(
            f"{name} LRO",
            "on: the NIC merges received packets, which native XDP cannot handle",
            f"ethtool -K {name} lro off",
        )
    if flags & ethtool.RX_VLAN and vlans:
        yield warn(
            f"{name} rx-vlan-offload",
            f"on: the NIC strips the tags of frames for {', '.join(vlans)} before XDP, which forwards them untagged",
            f"ethtool -K {name} rxvlan off",
        )
    elif flags & ethtool.RX_VLAN:
        yield ok(f"{name} rx-vlan-offload", "on: XDP does not see VLAN tags; this matters on trunks only")
