# SPDX-License-Identifier: Apache-2.0
"""A Debian with the kernel of its release, as a virtual machine on the switch of a lab. QEMU emulates its CPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

from xdplb.net.lab_hosts import Hosts

from .debian import Debian

__all__ = ["NETWORK", "Emulated"]

NIC = "vm"
QUEUES = 4
"""XDP wants a queue to send for each CPU, beside those of the kernel."""

NETWORK = """auto eth0
iface eth0 inet static
    address {address}/24
    gateway {gateway}
"""


class Emulated:
    """It runs until the lab goes."""

    def __init__(self, system: Debian, scratch: Path, memory: int = 3072) -> None:
        """Make the disk of what is in a folder, with Debian's kernel in it."""
        (kernel,) = (system.folder / "boot").glob("vmlinuz-*")
        (early,) = (system.folder / "boot").glob("initrd.img-*")
        self.kernel = kernel.name.removeprefix("vmlinuz-")
        disk = scratch / "disk.img"
        subprocess.run(["truncate", "--size", "8G", disk], check=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", system.folder, disk], check=True)
        self._log = scratch / "console.log"
        self._argv = [
            *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35"),
            *("-accel", "tcg,thread=multi", "-cpu", "Haswell-noTSX", "-smp", "2", "-m", str(memory)),
            *("-kernel", str(kernel), "-initrd", str(early)),
            *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off"),
            *("-serial", f"file:{self._log}", "-device", "virtio-rng-pci"),
            *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
            *("-netdev", f"tap,id=net,ifname={NIC},script=no,downscript=no,queues={QUEUES}"),
            *("-device", f"virtio-net-pci,netdev=net,mq=on,vectors={2 * QUEUES + 2}"),
        ]

    def boot(self, lab: Hosts, switch: str, bridge: str) -> subprocess.Popen[bytes]:
        """Start it, with its NIC on a bridge of a host of the lab."""
        lab.run(switch, ["ip", "tuntap", "add", NIC, "mode", "tap", "multi_queue"])
        lab.configure(switch, f"link set {NIC} master {bridge} up")
        return lab.popen(switch, self._argv, stderr=subprocess.STDOUT, stdout=self._log.with_suffix(".qemu").open("wb"))

    def console(self) -> str:
        """Return the end of what it has said since it was started."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:]) if self._log.exists() else ""
