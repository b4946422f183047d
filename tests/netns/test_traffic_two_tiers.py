# SPDX-License-Identifier: Apache-2.0
"""Two tiers, with the configurations of docs/examples/two-tiers: xdplb in front of two nginx and one HAProxy."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.waiting import until
from xdplb.dataplane.single import pass_program
from xdplb.net.lab_cluster import ADDRESSES, VIP, ClusterLab

from .balancer import READY_SECONDS, XDPLB

EXAMPLES = Path(__file__).parents[2] / "docs/examples/two-tiers"
KEEP_ALIVE = str(Path(__file__).with_name("keep_alive.py"))
KINDS = {"backend1": "nginx", "backend2": "nginx", "backend3": "haproxy"}
WEB = {"backend4": "web1", "shared": "web2"}
WEB_SERVER = "daemon off; master_process off; user root;"
WEB_CONFIG = """\
pid web.pid; error_log error.log; events {{ }}
http {{ access_log off; server {{ listen 8080; location / {{ return 200 "{name} $http_x_forwarded_for\\n"; }} }} }}
"""


class TwoTiers:
    """The lab with both tiers running."""

    def __init__(self, lab: ClusterLab) -> None:
        self.lab = lab
        self.socket = lab.folder / "api.sock"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        told = self.lab.run("balancer1", [XDPLB, "--socket", str(self.socket), *arguments], check=False, timeout=120)
        assert not check or told.returncode == 0, f"{arguments}: {told.stdout}{told.stderr}"
        return told

    def folder(self, host: str) -> Path:
        return self.lab.folder / host

    def start(self, host: str) -> None:
        """Start nginx or HAProxy on a host, and return when it answers."""
        folder = self.folder(host)
        if KINDS[host] == "nginx":
            command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-g", "daemon off; user root;"]
        else:
            command = ["haproxy", "-db", "-f", "haproxy.cfg"]
        with (folder / "log").open("ab") as log:
            self.running[host] = self.lab.popen(host, command, cwd=folder, stdout=log, stderr=log)
        until(lambda: self._answers(host))

    def _answers(self, host: str) -> bool:
        asked = ["curl", "-sf", "-o", "/dev/null", f"http://{ADDRESSES[host]}/l7-health"]
        return self.lab.run(host, asked, check=False).returncode == 0

    def let_go(self, host: str, *, on: bool) -> None:
        """Have each answer of a host say that the connection ends, or no more."""
        if KINDS[host] == "nginx":
            flag = self.folder(host) / "state/drain"
            flag.touch() if on else flag.unlink()
            return
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder(host) / "admin.sock"))
            admin.sendall(f"{'disable' if on else 'enable'} server switch/keep-alive\n".encode())
            assert admin.recv(1000).strip() == b""

    def stop_web(self, host: str) -> None:
        """Kill a web server with -9."""
        self.running[host].kill()
        self.running[host].wait()

    def drain(self, host: str) -> None:
        """Let the connections of a host go, and return when none is left."""
        self.let_go(host, on=True)
        times = ["--wait", "--quiet", "2s", "--timeout", "60s"]
        self.cli("backend", "drain", "--all-vips", str(ADDRESSES[host]), *times)

    def restart(self, host: str) -> None:
        """Restart what runs on a host that has been drained, and use the host again."""
        self.running[host].send_signal(signal.SIGQUIT if KINDS[host] == "nginx" else signal.SIGUSR1)
        self.running[host].wait(20)
        if KINDS[host] == "nginx":
            self.let_go(host, on=False)
        self.start(host)
        self.cli("backend", "undrain", "--all-vips", str(ADDRESSES[host]))

    def share(self, host: str) -> float:
        status = json.loads(self.cli("backend", "show", "http", str(ADDRESSES[host]), "-o", "json").stdout)["status"]
        share: float = status["share"]
        return share


@contextlib.contextmanager
def load(two: TwoTiers, pause: float, kept: int, new: int) -> Iterator[dict[str, Any]]:
    """Send requests while in the block; afterwards, what came of them is in the dictionary."""
    argv = [sys.executable, KEEP_ALIVE, str(VIP), str(pause), str(kept), str(new)]
    process = two.lab.popen("client1", argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    told: dict[str, Any] = {}
    yield told
    process.terminate()
    told.update(json.loads(process.stdout.read()))


@pytest.fixture(scope="module")
def two() -> Iterator[TwoTiers]:
    with pass_program() as program, ClusterLab(port_program=program.fileno()) as lab:
        built = TwoTiers(lab)
        lab.configure("router1", f"route add 203.0.113.0/24 via {ADDRESSES['balancer1']}")
        for host, name in WEB.items():
            built.folder(host).mkdir()
            (built.folder(host) / "web.conf").write_text(WEB_CONFIG.format(name=name))
            command = ["nginx", "-p", str(built.folder(host)), "-c", "web.conf", "-g", WEB_SERVER]
            built.running[host] = lab.popen(host, command)
        certificate, key = Authority(lab.folder).sign("site", "/CN=web.example.com")
        for host, kind in KINDS.items():
            places = ["--pin-dir", str(lab.home.bpffs / host), "--state-dir", str(lab.folder / f"{host}-setup")]
            lab.run(host, [XDPLB, "backend-host", "setup", str(VIP), "--forward", "dr", "--interface", "eth0", *places])
            folder = built.folder(host)
            (folder / "state").mkdir(parents=True)
            shutil.copy(EXAMPLES / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[kind], folder)
            (folder / "site.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
            built.start(host)
        places = ["--listen", f"unix:{built.socket}", "--state-dir", str(lab.folder / "state-dir")]
        places += ["--pin-dir", str(lab.pin_dir), "--config", str(EXAMPLES / "xdplb.toml")]
        with (lab.folder / "daemon.log").open("ab") as log:
            lab.popen("balancer1", [XDPLB, "up", "eth0", *places], stdout=log, stderr=log)
        until(lambda: built.cli("status", "--wait", "--timeout", "10s", check=False).returncode == 0, READY_SECONDS)
        until(lambda: all(built.share(host) > 0 for host in KINDS), 30)
        yield built


def test_restarts_in_the_second_tier_fail_no_request_and_web_servers_see_the_client(two: TwoTiers) -> None:
    hosts = ["backend1", "backend3"]  # one of each kind, both at once to save time
    with load(two, 0.02, kept=12, new=6) as told:
        with ThreadPoolExecutor() as pool:
            list(pool.map(two.drain, hosts))
        assert [two.share(host) for host in KINDS] == [0, 1, 0]
        for host in hosts:
            two.restart(host)
        until(lambda: all(two.share(host) > 0 for host in KINDS))
        two.stop_web("shared")  # requests that it does not answer go to the other one
        time.sleep(1)
    assert told["failures"] == {}, told
    assert told["answers"].keys() == {"web1 198.51.100.2", "web2 198.51.100.2"}
