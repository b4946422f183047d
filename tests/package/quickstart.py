# SPDX-License-Identifier: Apache-2.0
"""Does docs/quickstart.md with a package, word for word, on bare machines: from nothing to a dashboard with traffic.

    python -m tests.package.quickstart dist/xdplb_0.9.0+deb12_amd64.deb [--vm] [--picture FILE]

The balancer and both backends are Debian as its installer leaves it, made by debootstrap and booted with systemd in
namespaces, each with a login by ssh and a way to Debian's mirror. With `--vm` the balancer is a virtual machine with
Debian's kernel, whose CPU QEMU emulates, and what the package needs of Debian is on the machines before. The router and
the client are network namespaces. It prints each step of the page with the seconds that it took, and ends with 1 at the
first that fails. Needs root.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

from tests.browser.driven import HERE, running_browser
from tests.netns.balancer import KEY
from tests.netns.conftest import new_lab
from tests.netns.page_parts import QUICKSTART
from tests.waiting import until
from xdplb.net.lab import ADDRESSES, Lab

from .container import Container
from .debian import Debian, release_of
from .emulated import NETWORK, Emulated
from .login import Key, Login
from .mirror import mirror_proxy
from .scratch import scratch_folder
from .steps import step

PROXY = (str(ADDRESSES["router"]), 3142)
NAMES = {"balancer": "lb", "dr1": "web1", "dr2": "web2"}
DESK = "client"
PAGE = Path(__file__).parents[2] / "docs/quickstart.md"
DASHBOARD = "xdplb dashboard"
BOOT_SECONDS = 600
STEP_SECONDS = 3600
EXPECTED = (
    (r"^for .* curl -sS", lambda told: set(told.split()) >= {"web1", "web2"}),
    (r"^xdplb status$", lambda told: "native" in told),
    (r"^xdplb backend ls", lambda told: len(re.findall(r"(?m)^10\.0\.0\.", told)) == 2),
    (r"^xdplb stats$", lambda told: "203.0.113.10:80/tcp" in told),
    (r"^xdplb backend drain .* --wait", lambda told: re.search(r"(?m)^outcome +", told)),
)
"""What some commands have to show, beside not failing."""


class Reader:
    """Somebody who has the page, the package and four hosts."""

    def __init__(self, lab: Lab, logins: dict[str, Login], package: Path, picture: Path | None) -> None:
        self._lab, self._logins, self._package, self._picture = lab, logins, package, picture

    def follow(self) -> None:
        """Do all that stands on the page, in its order."""
        for (heading, where), block in groupby(QUICKSTART.commands(), key=lambda each: (each.heading, each.where)):
            lines = [command.text for command in block]
            with step(f"{heading}: {lines[0]}{' …' if lines[1:] else ''}"):
                self._do(where, "\n".join(lines))

    def _do(self, where: str, commands: str) -> None:
        if commands.startswith("scripts/package"):
            for login in self._logins.values():  # it has been built; the line below copies it
                login.copy(self._package, "/tmp")
        elif commands == DASHBOARD:
            self._look()
        else:
            (hosts,) = (hosts for words, hosts in QUICKSTART.places.items() if words in where)
            with ThreadPoolExecutor(len(hosts)) as shells:  # on all of them at once
                for told in shells.map(lambda host: self._type(host, commands), hosts):
                    self._check(commands, told)

    def _type(self, host: str, commands: str) -> str:
        if host in self._logins:
            return self._logins[host].sh(
                commands, typed="y\n" if "apt install" in commands else "", seconds=STEP_SECONDS
            )
        return self._lab.run(host, ["sh", "-ec", commands], timeout=STEP_SECONDS).stdout

    def _check(self, commands: str, told: str) -> None:
        for pattern, is_shown in EXPECTED:
            assert not re.search(pattern, commands, re.MULTILINE) or is_shown(told), f"{commands}\n{told}"

    def _look(self) -> None:
        """Open the dashboard in a browser on the desk, by ssh as the page says, while the client goes on."""
        (command,) = re.findall(
            r"`ssh -t (-L \S+) root@10\.0\.0\.2 (xdplb dashboard)`", PAGE.read_text(encoding="utf-8")
        )
        words = command[0].split()
        with self._requests(), self._logins["balancer"].open(command[1], *words) as shown:
            try:
                assert shown.stdout is not None
                url = next(line.strip() for line in shown.stdout if line.startswith("http://"))
                print(f"          packets, bits, new flows a second: {', '.join(self._browse(url))}", flush=True)
            finally:
                shown.terminate()

    def _browse(self, url: str) -> list[str]:
        def start(argv: Sequence[str]) -> subprocess.Popen[str]:
            return self._lab.popen(DESK, argv, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        base, _, token = url.partition("/#token=")
        picture = None if self._picture is None else str(self._picture)
        with running_browser(start) as browser:
            rates: list[str] = browser.do("traffic", base, token=token, vip=KEY, picture=picture)["rates"]
        return rates

    @contextmanager
    def _requests(self) -> Iterator[None]:
        line = "while :; do curl -sS --max-time 5 http://203.0.113.10/; sleep 0.02; done"
        client = self._lab.popen("client", ["sh", "-c", line], stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            client.kill()


def bare(package: Path, folder: Path) -> Debian:
    """Make what Debian's installer leaves, with the login by ssh; or take what is in the folder."""
    if folder.exists():
        return Debian(folder)
    return Debian.make(release_of(package), folder, "openssh-server", variant=None)


def emulable(package: Path, folder: Path) -> Debian:
    """Make one that boots by itself, with all that the package needs: an emulated CPU would unpack for an hour."""
    if folder.exists():
        return Debian(folder)
    system = bare(package, folder)
    system.run("apt-get", "update", "-q")
    system.install("linux-image-amd64")
    system.install(system.put(package), recommended=True)
    system.run("dpkg", "--purge", "xdplb")
    return system


def machine(system: Debian, name: str, key: Key) -> None:
    """Make it a machine of its own: a name, the login, and the way to the mirror."""
    (system.folder / "etc/hostname").write_text(f"{name}\n")
    (system.folder / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n")
    proxy = f'Acquire::http::Proxy "http://{PROXY[0]}:{PROXY[1]}";\n'
    (system.folder / "etc/apt/apt.conf.d/90proxy").write_text(proxy)
    key.let_into(system)


def boot(stack: ExitStack, lab: Lab, folder: Path, systems: dict[str, Debian], *, vm: bool) -> list[Emulated]:
    """Boot the machines, which run until the stack ends; return those that are emulated."""
    machines = []
    for host, system in systems.items():
        if vm and host == "balancer":
            gateway = str(ADDRESSES["router"])
            interfaces = NETWORK.format(address=ADDRESSES[host], gateway=gateway)
            (system.folder / "etc/network/interfaces").write_text(interfaces)
            (system.folder / "etc/environment").write_text("XDPLB_REQUEST_TIMEOUT=300s\n")  # its CPU is emulated
            emulated = Emulated(system, folder)
            lab.configure(host, "link set eth0 down")  # it takes the place of that one
            emulated.boot(lab, "switch", "ports")
            machines.append(emulated)
            print(f"          the balancer is a virtual machine with Linux {emulated.kernel}, its CPU emulated")
        else:
            bpffs, log = lab.home.bpffs / host, folder / f"{host}.log"
            stack.enter_context(Container(system, lab.namespace(host), bpffs, log))
    return machines


def wait(logins: Iterable[Login], machines: Iterable[Emulated]) -> None:
    """Wait until all let one in; if one does not, say what the consoles do."""
    try:
        until(lambda: all(login.answers() for login in logins), seconds=BOOT_SECONDS)
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *(each.console() for each in machines)])) from error


def attempt(package: Path, folder: Path, root: Path | None, *, vm: bool, picture: Path | None) -> None:
    """Have the machines, and follow the page."""
    key = Key(folder)
    with step("bare machines, by debootstrap"):
        base = emulable(package, root or folder / "root") if vm else bare(package, root or folder / "root")
        systems = {host: base.copy(folder / host) for host in NAMES}
        for host, system in systems.items():
            machine(system, NAMES[host], key)
    with new_lab() as lab, ExitStack() as stack:
        lab.configure("router", "route del 203.0.113.0/24")  # the page has a route of its own
        listener = lab.inside("router", lambda: socket.create_server(PROXY))
        stack.enter_context(mirror_proxy(listener, folder / "mirror"))
        logins = {host: Login(lab, DESK, str(ADDRESSES[host]), key) for host in NAMES}
        with step("they boot"):
            wait(logins.values(), boot(stack, lab, folder, systems, vm=vm))
        began = time.monotonic()
        Reader(lab, logins, package, picture).follow()
        print(f"the page leads to a dashboard with live traffic, and back: {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Do docs/quickstart.md with a package, on bare machines.")
    parser.add_argument("package", type=Path)
    parser.add_argument("--vm", action="store_true", help="the balancer is a virtual machine with Debian's kernel")
    parser.add_argument("--keep-root", type=Path, help="keep the bare system there, or take the one that is there")
    parser.add_argument("--picture", type=Path, help="draw the dashboard into this PNG file")
    options = parser.parse_args()
    if missing := [name for name in ("chromium", "node", "ssh") if shutil.which(name) is None]:
        sys.exit(f"not installed: {', '.join(missing)}; scripts/package quickstart installs it")
    with scratch_folder(Path("/var/tmp")) as folder:
        picture = options.picture and options.picture.resolve()
        attempt(options.package, folder, options.keep_root, vm=options.vm, picture=picture)


if __name__ == "__main__":
    main()
