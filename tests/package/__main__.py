# SPDX-License-Identifier: Apache-2.0
"""Installs, runs, upgrades and removes a package in a bare Debian, with packets from the first to the last step.

    python -m tests.package dist/xdplb_0.9.0+deb12_amd64.deb [--from OLDER.deb] [--keep-root FOLDER]

debootstrap makes the system in a temporary folder. It is tried first as a plain chroot without systemd, with `xdplb
up` by hand, then booted with systemd as the balancer of a lab and as a backend in it. What it is upgraded to is a copy
with a later number; with `--from`, an older package is upgraded to this one, and back if both have the same map layout.
Needs root and systemd-nspawn; nothing is attached to a NIC of the host.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.netns.balancer import KEY, Balancer, Stream
from tests.netns.conftest import new_lab
from tests.waiting import until
from xdplb.net.lab import ADDRESSES, VIP, Lab

from .container import Container
from .debian import Debian, newer, release_of, version_of
from .scratch import scratch_folder
from .steps import step

LEFT = ("/usr/lib/xdplb", "/usr/bin/xdplb", "/etc/xdplb", "/etc/default/xdplb", "/var/lib/xdplb", "/var/cache/xdplb")
MOST_EXPOSURE = 4.0
READY = "300s"
"""On a busy host, the compiler takes its time."""

PAIR = Path(__file__).parents[2] / "docs/examples/ha/xdplb-pair.conf"


def by_hand(system: Debian, package: Path, later: Path, lab: Lab) -> None:
    """Without systemd, as in a container: `xdplb up` in the foreground."""
    balancer, pins = Balancer(lab), lab.home.bpffs / "by-hand"
    pins.mkdir()

    def ask(*arguments: str) -> str:
        return system.run("xdplb", *arguments, bpffs=pins).stdout

    def up() -> subprocess.Popen[bytes]:
        log = (lab.folder / "by-hand.log").open("ab")
        started = lab.popen("balancer", system.argv("xdplb", "up", "eth0", bpffs=pins), stdout=log, stderr=log)
        ask("status", "--wait", "--timeout", READY)
        return started

    with step("apt install in a bare Debian"):
        system.install(system.put(package))
        assert system.run("getent", "group", "xdplb").stdout
    with step("xdplb up, a VIP, packets"):
        daemon = up()
        ask("vip", "add", KEY)
        for host in ("dr1", "dr2"):
            ask("backend", "add", KEY, str(ADDRESSES[host]))
        until(lambda: ask("backend", "ls", KEY).count("up") == 2)
        assert set(balancer.get(40)) == {"dr1", "dr2"}
    with step("apt install of a later version while packets flow, and a restart"):
        stream = Stream(balancer)
        system.install(system.put(later))
        daemon.terminate()
        daemon.wait(30)
        up()
        assert system.run("dpkg-query", "-W", "-f", "${Version}", "xdplb").stdout == version_of(later)
        stream.finish()
    with step("apt remove: the daemon is stopped, the program is off the NIC, the configuration stays"):
        system.run("apt-get", "remove", "-y", "-q", "xdplb", bpffs=pins)
        assert "prog/xdp" not in lab.run("balancer", ["ip", "link", "show", "eth0"]).stdout
        assert not list(pins.iterdir())
        assert (system.folder / "etc/default/xdplb").exists()
        assert (system.folder / "var/lib/xdplb/state.db").exists()
        assert not (system.folder / "usr/lib/xdplb").exists()
    with step("apt purge: nothing is left"):
        system.run("apt-get", "purge", "-y", "-q", "xdplb", bpffs=pins)
        assert [path for path in LEFT if (system.folder / path.removeprefix("/")).exists()] == []


def as_service(system: Debian, package: Path, later: Path, lab: Lab) -> None:
    """With systemd: the units in their sandboxes, on a balancer and on a backend."""
    balancer = Balancer(lab)
    system.install(system.put(package))
    later_there, drop_in = system.put(later), system.put(PAIR)
    other = system.copy(system.folder.with_name("backend"))
    backend = Container(other, lab.namespace("dr1"), lab.home.bpffs / "unit-dr1", lab.folder / "dr1.log")
    host = Container(system, lab.namespace("balancer"), lab.home.bpffs / "unit", lab.folder / "balancer.log")
    with backend, host:
        units(host)
        with step("xdplb-backend-host@ on a backend"):
            backend.run("systemctl", "enable", "--now", f"xdplb-backend-host@{VIP}")
            assert str(VIP) in backend.run("ip", "address", "show", "lo").stdout
            balancer.serve("dr1")
        serve(host, balancer)
        layout = map_layout(host)
        change(host, balancer, later_there, f"apt install of {version_of(later)}")
        if map_layout(host) == layout:
            change(host, balancer, f"--allow-downgrades /root/{package.name}", f"back to {version_of(package)}")
        else:
            print("          not back again: the older version has another map layout")
        backend.run("apt-get", "install", "-y", "-q", later_there)
        boots(backend, balancer)
        with step("systemctl stop xdplb-backend-host@: undone"):
            backend.run("systemctl", "stop", f"xdplb-backend-host@{VIP}")
            assert str(VIP) not in backend.run("ip", "address", "show", "lo").stdout
        with step("xdplb-decap@ on a backend, and apt remove there"):
            backend.run("systemctl", "enable", "--now", "xdplb-decap@eth0")
            assert "prog/xdp" in lab.run("dr1", ["ip", "link", "show", "eth0"]).stdout
            backend.run("apt-get", "remove", "-y", "-q", "xdplb")
            assert "prog/xdp" not in lab.run("dr1", ["ip", "link", "show", "eth0"]).stdout
        with step("the drop-in for a pair of balancers: the unit's sandbox has room for keepalived's file"):
            folder = "/etc/systemd/system/xdplb.service.d"
            host.run("xdplb", "vip", "rm", KEY)
            host.run("mkdir", folder)
            host.run("cp", drop_in, f"{folder}/pair.conf")
            host.run("systemctl", "daemon-reload")
            host.run("systemctl", "restart", "xdplb")
            assert host.run("cat", "/run/xdplb/vrrp").stdout.strip() in {"0", "-30"}
        with step("apt purge: stopped, detached, gone"):
            host.run("apt-get", "purge", "-y", "-q", "xdplb")
            assert "prog/xdp" not in lab.run("balancer", ["ip", "link", "show", "eth0"]).stdout
            assert host.run("sh", "-c", "ls -d " + " ".join(LEFT), check=False).stdout == ""
            assert host.run("systemctl", "list-units", "--all", "xdplb*", "--no-legend").stdout == ""


def lintian(package: Path) -> None:
    with step("lintian has no error to tell"):
        told = subprocess.run(
            ["lintian", "--allow-root", "--fail-on", "error", package], capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr


def units(host: Container) -> None:
    with step("units: verified, hardened, neither enabled nor started"):
        names = ["xdplb.service", f"xdplb-backend-host@{VIP}.service", "xdplb-decap@eth0.service"]
        said = host.run("systemd-analyze", "verify", "--man=no", *names)
        assert (said.stdout, said.stderr) == ("", "")
        for name in names:
            exposure = host.run("systemd-analyze", "security", "--no-pager", name, check=False).stdout
            found = re.search(r"exposure level for \S+: ([\d.]+)", exposure)
            assert found is not None
            print(f"          {name}: {found[1]}")
            assert float(found[1]) < MOST_EXPOSURE
        assert host.run("systemctl", "is-enabled", "xdplb", check=False).stdout.strip() == "disabled"
        assert host.run("systemctl", "is-active", "xdplb", check=False).stdout.strip() == "inactive"


def serve(host: Container, balancer: Balancer) -> None:
    with step("systemctl start without a NIC: refused, in words, and not tried again"):
        assert host.run("systemctl", "start", "xdplb", check=False).returncode
        assert "/etc/default/xdplb" in host.run("journalctl", "-u", "xdplb", "--no-pager").stdout
        assert host.run("systemctl", "is-active", "xdplb", check=False).stdout.strip() == "failed"
    with step("systemctl enable --now xdplb: ready when the command returns, packets"):
        host.run("sed", "-i", 's/^INTERFACES=.*/INTERFACES="eth0"/', "/etc/default/xdplb")
        host.run("systemctl", "enable", "--now", "xdplb")
        host.run("xdplb", "vip", "add", KEY)
        host.run("xdplb", "backend", "add", KEY, str(ADDRESSES["dr1"]))
        until(lambda: " up " in host.run("xdplb", "backend", "ls", KEY).stdout)
        assert set(balancer.get(20)) == {"dr1"}
    with step("the watchdog hears it, systemctl reload, kill -9: back within seconds, and packets flow meanwhile"):
        stream = Stream(balancer)
        host.run("systemctl", "reload", "xdplb")
        assert host.run("systemctl", "show", "-P", "WatchdogUSec", "xdplb").stdout.strip() == "30s"
        host.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", "xdplb")
        host.run("xdplb", "status", "--wait", "--timeout", READY)
        assert host.run("systemctl", "show", "-P", "NRestarts", "xdplb").stdout.strip() == "1"
        stream.finish()
    with step("a drain with its certificate, in the sandbox"):
        host.run("xdplb", "backend", "drain", KEY, str(ADDRESSES["dr1"]), "--timeout", "1s")
        host.run("xdplb", "backend", "undrain", KEY, str(ADDRESSES["dr1"]))
        balancer.get(20)


def boots(backend: Container, balancer: Balancer) -> None:
    """Several units at one boot; what they set up is there after a boot in good order, and after a loss of power."""
    vips = (f"{VIP}", "203.0.113.11:80-tcp", "203.0.113.16-28", "2001:db8:f::10")
    addresses = (f"{VIP}", "203.0.113.11", "203.0.113.16", "2001:db8:f::10")
    names = [f"xdplb-backend-host@{vip}" for vip in vips]
    lab = balancer.lab

    def shown() -> list[str]:
        local = [lab.run("dr1", ["ip", family, "route", "show", "table", "local"]).stdout for family in ("-4", "-6")]
        return [each for each in addresses if f"local {each}" in "".join(local)]

    def stand(wanted: Sequence[str]) -> None:
        there = shown()
        assert there == list(wanted), f"{there} is there: {backend.log()}"

    def are_back() -> None:
        states = backend.run("systemctl", "is-active", *names, check=False).stdout.split()
        assert states == ["active"] * len(names), f"{states}: {backend.log()}"
        stand(addresses)

    with step("xdplb-backend-host@ for four VIPs; a boot in good order: undone when it goes, there when it is back"):
        backend.run("systemctl", "enable", "--now", *names)
        stand(addresses)
        backend.power_off()
        stand([])
        backend.power_on()
        are_back()
    with step("a loss of power: there again, and traffic"):
        backend.cut_power()
        forget(lab)
        stand([])
        backend.power_on()
        are_back()
        for vip in vips:
            backend.run("xdplb", "backend-host", "show", vip.replace("-", "/"))
        until(lambda: set(balancer.get(1)) == {"dr1"})
    with step("the further units stopped: what was there before is there again"):
        backend.run("systemctl", "disable", "--now", *names[1:])
        stand([str(VIP)])


def forget(lab: Lab) -> None:
    """Have a backend's network as it is after a boot of a host; the namespace of a container outlives it."""
    for words in (
        f"-4 address flush dev lo to {VIP}/24",
        "-6 address flush dev lo scope global",
        "-4 route flush table local root 203.0.113.16/28",
    ):
        lab.run("dr1", ["ip", *words.split()])
    for name in ("arp_ignore", "arp_announce"):
        lab.run("dr1", ["sysctl", "-q", f"net.ipv4.conf.all.{name}=0", f"net.ipv4.conf.lo.{name}=0"])


def map_layout(host: Container) -> str:
    told: str = json.loads(host.run("xdplb", "version", "-o", "json").stdout)["daemon"]["map_layout"]
    return told


def change(host: Container, balancer: Balancer, words: str, what: str) -> None:
    with step(f"{what} while packets flow: restarted, no request fails"):
        before = host.run("systemctl", "show", "-P", "MainPID", "xdplb").stdout
        stream = Stream(balancer)
        host.run("apt-get", "install", "-y", "-q", *words.split())
        host.run("xdplb", "status", "--wait", "--timeout", READY)
        assert host.run("systemctl", "show", "-P", "MainPID", "xdplb").stdout != before
        print(f"          {sum(stream.finish().values())} requests")
        assert 'INTERFACES="eth0"' in host.run("cat", "/etc/default/xdplb").stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Try a package in a bare Debian.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--from", dest="older", type=Path, help="upgrade from this package to the other")
    parser.add_argument("--keep-root", type=Path, help="keep the bare system there, or take the one that is there")
    options = parser.parse_args()
    lintian(options.package)
    release = release_of(options.package)
    with scratch_folder(Path("/var/tmp")) as folder:
        root = options.keep_root or folder / "root"
        if not root.exists():
            with step(f"debootstrap of Debian {release}"):
                Debian.make(release, root)
        system = Debian(root).copy(folder / "bare")
        with step("what the package recommends: kernel headers"):
            system.run("apt-get", "update", "-q")
            system.install("linux-headers-amd64")
        booted = system.copy(folder / "booted")
        first = options.older or options.package
        later = options.package if options.older else newer(first, folder)
        with new_lab() as lab:
            Balancer(lab).prepare("dr1", "dr2")
            by_hand(system, first, later, lab)
        with step("systemd in the other copy"):
            booted.install("systemd", "systemd-sysv", "dbus", "iproute2", "procps")
        with new_lab() as lab:
            as_service(booted, first, later, lab)
    print("the package is fit")


if __name__ == "__main__":
    main()
