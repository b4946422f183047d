# SPDX-License-Identifier: Apache-2.0
"""A lab for the dashboard: a daemon with real traffic, and a host for the browser, which has no way to anywhere else.

The host `visitor` (10.0.9.2) is on a link of its own to the balancer (10.0.9.1), which forwards nothing. Its route to
everywhere goes there too, so whatever the browser tries to reach is seen on that link.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.browser.driven import HERE, Browser, running_browser
from tests.certificates import Authority
from tests.netns.balancer import FORWARDS, Balancer
from tests.netns.held import Held
from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.net.lab import Lab

__all__ = ["LiveSite", "Watched", "live_site"]

DOOR, VISITOR, PORT = "10.0.9.1", "10.0.9.2", 8443
BASE = f"https://{DOOR}:{PORT}"
SITE = HERE / "site.toml"
CROWD = str(HERE / "crowd.py")
TALKER = str(HERE.parent / "netns/talker.py")

SERVED = {
    "dr1": ["203.0.113.10:80", "[2001:db8:f::10]:80", "203.0.113.20:8080", "203.0.113.25:25"],
    "dr2": ["203.0.113.10:80", "[2001:db8:f::10]:80", "203.0.113.20:8080"],
    "ipip1": ["203.0.113.10:80", "203.0.113.53:53"],
    "ipip2": ["203.0.113.53:53"],
}
"""Which host serves what. Nobody serves smtp on dr2, so that something is out of order."""
TALKERS = ("dr1", "dr2")
MQTT = ("203.0.113.30", 1883)
ASKED = [
    "http@203.0.113.10:80@45",
    "http@[2001:db8:f::10]:80@20",
    "http@203.0.113.20:8080@25",
    "http@203.0.113.25:25@4",
    "dns@203.0.113.53:53@90",
    "syn@203.0.113.20:8080@3",
]


class LiveLab(Lab):
    """The lab with the visitor, whose only link is to the balancer."""

    def _build(self) -> None:
        super()._build()
        self._create(("visitor",))
        self.configure("balancer", f"link add mgmt {self._veth('visitor', 'eth0')}")
        self.configure("balancer", "link set mgmt up", f"address add {DOOR}/30 dev mgmt")
        self.configure("visitor", "link set eth0 up", f"address add {VISITOR}/30 dev eth0")
        self.configure("visitor", f"route add default via {DOOR}")
        self.configure("client", "address add 198.51.100.66/24 dev eth0")


class Watched:
    """What leaves the visitor for anywhere but the balancer's API, as tcpdump sees it; also questions for a name."""

    _OURS = f"host {DOOR} and tcp port {PORT}"
    _MARK = "192.0.2.253"  # where a datagram goes that says that all before it has been seen

    def __init__(self, lab: Lab) -> None:
        self._lab, self._file, self._turn = lab, lab.folder / "left", count(1)
        argv = [
            "tcpdump",
            "-i",
            "any",
            "-nl",
            "--immediate-mode",
            f"not arp and not ip6 multicast and not ({self._OURS})",
        ]
        with self._file.open("w") as out, (lab.folder / "tcpdump").open("w") as errors:
            lab.popen("visitor", argv, stdout=out, stderr=errors)
        until(lambda: "listening" in (lab.folder / "tcpdump").read_text())

    def left(self) -> list[str]:
        """Return a line for each packet that has left until now."""
        port = 10_000 + next(self._turn)
        mark = f"> {self._MARK}.{port}:"
        send = f"import socket; socket.socket(2, 2).sendto(b'', ('{self._MARK}', {port}))"
        self._lab.run("visitor", [sys.executable, "-c", send])
        until(lambda: mark in self._file.read_text())
        return [line for line in self._file.read_text().splitlines() if f"> {self._MARK}." not in line]


class LiveSite:
    """The lab at work: a daemon, its VIPs, backends and clients, and a browser on the visitor."""

    def __init__(self, lab: LiveLab, folder: Path) -> None:
        self.lab, self.balancer = lab, Balancer(lab)
        self._tls = Authority(folder).sign("lb1", "/CN=lb1", names=f"IP:{DOOR}")
        self.watched = Watched(lab)
        for host, vips in SERVED.items():
            self._set_up(host, vips)
        self.start()
        self.balancer.cli("config", "apply", "-f", str(SITE))
        self.token = self.balancer.cli("token", "add", "noc", "--role", "operate").stdout.strip()
        lab.popen("client", [sys.executable, CROWD, "ask", *ASKED])
        until(self._all_serve, 120)

    def start(self) -> None:
        """Run the daemon, and wait until it is ready."""
        certificate, key = self._tls
        api = ["--listen", f"{DOOR}:{PORT}", "--tls-cert", str(certificate), "--tls-key", str(key)]
        self.balancer.start(*api)

    def hold(self, connections: int) -> Held:
        """Hold this many connections to the VIP `mqtt`."""
        return Held(self.lab, *MQTT, connections)

    def _set_up(self, host: str, served: list[str]) -> None:
        vips = {each.rpartition(":")[0].strip("[]") for each in served} | ({MQTT[0]} if host in TALKERS else set())
        first, *more = sorted(vips)
        self.balancer.backend_host(host, "setup", first, "--forward", FORWARDS[host], "--interface", "eth0")
        lines = [f"address add {vip}/{128 if ':' in vip else 32} dev lo" for vip in more]
        self.lab.configure(host, *lines)
        serving = self.lab.popen(host, [sys.executable, CROWD, "serve", *served], stdout=subprocess.PIPE, text=True)
        assert serving.stdout is not None
        assert serving.stdout.readline() == "ready\n"
        if host in TALKERS:
            self.lab.popen(host, [sys.executable, TALKER, "serve", host, str(MQTT[1])])

    def _all_serve(self) -> bool:
        vips: list[dict[str, Any]] = self.balancer.ask("vip", "ls")["vips"]
        states = {vip["name"]: vip["status"]["operating_status"] for vip in vips}
        return states.pop("smtp") == "DEGRADED" and set(states.values()) == {"ONLINE"}


@contextmanager
def live_site() -> Iterator[tuple[LiveSite, Browser]]:
    """Have such a site, and a browser that is on the visitor, for the block."""
    with ExitStack() as open_:
        program = open_.enter_context(pass_program())
        lab = open_.enter_context(LiveLab(port_program=program.fileno()))
        site = LiveSite(lab, lab.folder)

        def start(argv: Sequence[str]) -> subprocess.Popen[str]:
            return lab.popen("visitor", argv, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        yield site, open_.enter_context(running_browser(start))
