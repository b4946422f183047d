# SPDX-License-Identifier: Apache-2.0
"""A newer xdplb takes over from an older one, with connections open, slots moving and packets under way.

Each test has TCP connections that talk, numbered datagrams that are sent back, a drain that goes on and a backend that
has just been added. None of it may be lost: every datagram must reach its backend and come back, once; no connection
may end; no counter may fall.

New connections are opened every few milliseconds, and none may fail. Where the flow tables are replaced, they go only
to VIPs whose slots are steady: a record made in the last moment before the swap is missing for a moment after it, and a
packet in a moving slot may then go to another backend (docs/takeover.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from xdplb.dataplane.layout import LAYOUT_VERSION
from xdplb.dataplane.map_specs import map_layouts
from xdplb.dataplane.pins import Meta
from xdplb.dataplane.plane import Capacity
from xdplb.net.lab import ADDRESSES, VIP, Lab

from .versions import ROOT, Version, Versioned, change, copy_of_this

BEFORE = "e30274d"
"""The last commit whose maps have layout 3."""

TALKER, SEQUENCE = (str(Path(__file__).with_name(name)) for name in ("talker.py", "sequence.py"))
TCP = {81: "auto", 82: "always"}
STEADY_TCP = {83: "auto", 84: "always"}
UDP = 90
CONNECTIONS, FLOWS, RATE = 40, 16, 500
HOSTS = ("dr1", "dr2", "ipip1", "ipip2")
ROOM = ("--max-vips", "64", "--max-backends", "256", "--max-flows", "16384")


class Traffic:
    """What goes through the balancer, and whether any of it was lost."""

    def __init__(self, balancer: Versioned) -> None:
        self._balancer = balancer
        self._servers: dict[str, subprocess.Popen[Any]] = {}
        self._talks: dict[int, subprocess.Popen[Any]] = {}
        self._sender: subprocess.Popen[Any] | None = None
        self._opener: subprocess.Popen[Any] | None = None

    def prepare(self) -> None:
        """Make the hosts backends of all VIPs, with their services; the last host is not one yet."""
        balancer = self._balancer
        for host in HOSTS:
            forward = "dr" if host.startswith("dr") else "ipip"
            balancer.backend_host(host, "setup", str(VIP), "--forward", forward, "--interface", "eth0")
            balancer.lab.popen(host, [sys.executable, TALKER, "serve", host, *map(str, TCP | STEADY_TCP)])
            self._servers[host] = self._start(host, "serve", host, str(VIP), str(UDP))
        for port, tracking in TCP.items():
            balancer.add(*HOSTS[:3], key=f"{VIP}:{port}/tcp", vip_options=["--tracking", tracking])
        for port, tracking in STEADY_TCP.items():  # their slots move while backends are added, and soon settle
            settling = ["--tracking", tracking, "--idle-timeout", "1"]
            balancer.add(*HOSTS[:3], key=f"{VIP}:{port}/tcp", vip_options=settling)
        until(lambda: all(self._is_steady(port) for port in STEADY_TCP))
        balancer.add(*HOSTS[:3], key=f"{VIP}:{UDP}/udp", vip_options=["--tracking", "always"])

    def _is_steady(self, port: int) -> bool:
        slots = self._balancer.ask("vip", "show", f"{VIP}:{port}/tcp")["status"]["slots"]
        return bool(slots["moving"] == slots["pinned"] == 0)

    def start(self) -> None:
        """Open the connections, send datagrams; then drain a backend and add another, so that slots move."""
        balancer = self._balancer
        for port in TCP:
            argv = [sys.executable, TALKER, "talk", str(VIP), str(port), str(CONNECTIONS)]
            self._talks[port] = balancer.lab.popen("client", argv, stdout=subprocess.PIPE)
        self._sender = self._start("client", "send", str(VIP), str(UDP), str(FLOWS), str(RATE))
        until(lambda: self.opened() >= CONNECTIONS)
        time.sleep(1)
        for port in TCP:
            key = f"{VIP}:{port}/tcp"
            balancer.cli("backend", "drain", key, str(ADDRESSES["dr1"]))
            balancer.add_backend("ipip2", key=key)
        until(lambda: all(balancer.status("ipip2", key=f"{VIP}:{port}/tcp")["share"] > 0 for port in TCP))

    def open_more(self, *, in_moving_slots: bool) -> None:
        """Open new connections from now on."""
        ports = [*STEADY_TCP, *(TCP if in_moving_slots else ())]
        argv = [sys.executable, TALKER, "open", str(VIP), *map(str, ports)]
        self._opener = self._balancer.lab.popen("client", argv, stdout=subprocess.PIPE)

    def opened(self) -> int:
        """Return how many connections the balancer has recorded."""
        vips = {vip["vip"]: vip for vip in self._balancer.ask("stats")["vips"]}
        return int(vips[f"{VIP}:82/tcp"]["records"])

    def finish(self) -> None:
        """End it, and fail where anything was lost."""
        for port, talk in self._talks.items():
            talk.terminate()
            *broken, summary = map(json.loads, talk.communicate(timeout=30)[0].splitlines())
            assert broken == [], f"{len(broken)} of the connections to port {port} broke"
            assert summary["attempts_failed"] == 0
            assert sum(summary["open"].values()) == CONNECTIONS
            assert summary["said"] > CONNECTIONS
        assert self._opener is not None
        self._opener.terminate()
        opened = json.loads(self._opener.communicate(timeout=30)[0])
        assert opened["failed"] == []
        assert min(opened["opened"].values()) > CONNECTIONS
        assert self._sender is not None
        self._sender.terminate()
        told = json.loads(self._sender.communicate(timeout=30)[0])
        came: dict[str, int] = {}
        for server in self._servers.values():
            server.terminate()
            for source, count in json.loads(server.communicate(timeout=30)[0]).items():
                came[source] = came.get(source, 0) + count
        lost = {source: flow for source, flow in told.items() if flow["lost"] or flow["doubled"]}
        assert lost == {}
        assert came == {source: flow["sent"] for source, flow in told.items()}
        assert {len(flow["backends"]) for flow in told.values()} == {1}, "a flow changed its backend"
        assert sum(came.values()) > 10 * FLOWS

    def _start(self, host: str, *arguments: str) -> subprocess.Popen[Any]:
        return self._balancer.lab.popen(host, [sys.executable, SEQUENCE, *arguments], stdout=subprocess.PIPE)


@pytest.fixture
def balancer(lab: Lab) -> Versioned:
    return Versioned(lab)


@pytest.fixture
def before(tmp_path: Path) -> Version:
    """The version of the commit whose layout was the last one before this."""
    argv = ["git", "-C", str(ROOT), "archive", BEFORE, "xdplb", "api", "bpf"]
    archive = subprocess.run(argv, capture_output=True, check=False)
    if archive.returncode:
        pytest.fail(f"this needs commit {BEFORE} of the history (git fetch --unshallow): {archive.stderr.decode()}")
    folder = tmp_path / "before"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return Version(folder)


# The structs of bpf/lib/layout.h that get a field more, and the dtypes of layout.py that mirror them.
GROWN = {
    "vip": "VIP",
    "vip_index": None,
    "vip6_index": None,
    "vip_rules": "VIP_RULES_VALUE",
    "vip_table": "VIP_TABLE",
    "nat_group": "NAT_GROUP",
    "client_way": "CLIENT_WAY",
    "backend_doubt": "BACKEND_DOUBT",
    "backend_load": "BACKEND_LOAD",
    "flow": "FLOW",
    "fragment": "FRAGMENT",
    "vip_guard": "VIP_GUARD",
    "bucket": "BUCKET",
    "access4": "ACCESS4",
    "access6": "ACCESS6",
    "handshake": "HANDSHAKE",
    "handshake_counters": "HANDSHAKE_COUNTERS",
    "second_counters": "SECOND_COUNTERS",
    "backend_counters": "BACKEND_COUNTERS",
    "nic_counters": "NIC_COUNTERS",
    "vip_counters": "VIP_COUNTERS",
    "shared_flow": "SHARED_FLOW",
}


@pytest.fixture
def grown(tmp_path: Path) -> Version:
    """This version with a field more in every map's value, at its end or in what was unused, and with a reason more."""
    version = copy_of_this(tmp_path / "grown")
    folder = version.folder
    header, mirror = folder / "bpf/lib/layout.h", folder / "xdplb/dataplane/layout.py"
    for struct, dtype in GROWN.items():
        change(header, rf"(?ms)^(struct {struct} {{.*?)^}};", r"\1\t__u64 extra;\n};")
        if dtype is not None:
            change(mirror, rf"(?ms)^({dtype} = np\.dtype\(\s*\[.*?),?\s*\]\s*\)\n", r'\1, ("extra", "<u8")])\n')
    change(mirror, r"(?s)(VIP6?_ENTRY, \(groups \* VIP_GROUP_SIZE,\)\))", r'\1, ("extra", "<u8")', count=2)
    change(header, r"__u32 unused\[5\];", "__u32 unused[4];\n\t\t\t__u32 extra;")
    change(mirror, r'\("unused", "<u4", \(5,\)\)', '("unused", "<u4", (4,)), ("extra", "<u4")')
    change(folder / "bpf/lib/reasons.h", r"(?m)^(\tDROP_INTERNAL = .*)$", r"\1\n\tDROP_MOON = 63, /* never */")
    change(folder / "xdplb/dataplane/versions.py", r": (\d+),", lambda found: f": {int(found[1]) + 1},", count=0)
    reasons = folder / "xdplb/reference/reasons.py"
    change(reasons, r"(?m)^(    DROP_INTERNAL = .*)$", r"\1\n    DROP_MOON = auto()")
    return version


def numbers(found: Any, where: str = "") -> Iterator[tuple[str, int]]:
    """Yield every number in an answer of the API, with where it is."""
    if isinstance(found, Mapping):
        name = found.get("vip", found.get("backend", ""))
        for key, value in found.items():
            yield from numbers(value, f"{where}/{name}/{key}")
    elif isinstance(found, list):
        for value in found:
            yield from numbers(value, where)
    elif isinstance(found, int):
        yield where, found


def take_over(balancer: Versioned, to: Version, *options: str) -> None:
    """Stop the daemon and start another over what it left; everything must be as it was."""
    stats = dict(numbers(balancer.ask("stats")))
    shown = described(balancer)
    balancer.stop()
    balancer.version = to
    balancer.start(*options, nics=("eth0", "eth1"))
    after = dict(numbers(balancer.ask("stats")))
    fallen = {name: (count, after.get(name)) for name, count in stats.items() if after.get(name, -1) < count}
    assert fallen == {}
    assert described(balancer) == shown
    assert balancer.status("dr1", key=f"{VIP}:81/tcp")["drain"] is not None
    assert balancer.status("dr1", key=f"{VIP}:81/tcp")["share"] == 0
    assert not (balancer.lab.pin_dir / "next").exists()


def described(balancer: Versioned) -> dict[str, list[str]]:
    """Return the VIPs, each with its backends."""
    keys = [f"{vip['address']}:{vip['port']}/{vip['protocol']}" for vip in balancer.ask("vip", "ls")["vips"]]
    return {key: [each["address"] for each in balancer.ask("backend", "ls", key)["backends"]] for key in keys}


def test_from_the_layout_before(balancer: Versioned, before: Version) -> None:
    balancer.version = before
    balancer.start(*ROOM, nics=("eth0", "eth1"))
    traffic = Traffic(balancer)
    traffic.prepare()
    traffic.start()
    traffic.open_more(in_moving_slots=True)  # the flow tables are shared
    take_over(balancer, Version(ROOT))
    assert Meta.open(balancer.lab.pin_dir).layout_version == LAYOUT_VERSION
    time.sleep(3)
    traffic.finish()


def test_to_a_layout_with_a_field_more_in_every_map(balancer: Versioned, grown: Version, tmp_path: Path) -> None:
    key = tmp_path / "peers.key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    telling = ("--peer-listen", "127.0.0.1", "--peer-key-file", str(key))  # so that all maps are there
    balancer.start(*ROOM, *telling, nics=("eth0", "eth1"))
    traffic = Traffic(balancer)
    traffic.prepare()
    traffic.start()
    traffic.open_more(in_moving_slots=False)
    take_over(balancer, grown, *telling)
    assert "extra" in (Meta.open(balancer.lab.pin_dir).layouts["shared_flows"].value.names or ())
    assert "extra" in (Meta.open(balancer.lab.pin_dir).layouts["flows"].value.names or ())
    time.sleep(3)
    traffic.finish()


def test_to_more_room(balancer: Versioned) -> None:
    balancer.start(*ROOM, nics=("eth0", "eth1"))
    traffic = Traffic(balancer)
    traffic.prepare()
    traffic.start()
    traffic.open_more(in_moving_slots=False)
    take_over(balancer, Version(ROOT), "--max-vips", "128", "--max-backends", "512", "--max-flows", "32768")
    assert Meta.open(balancer.lab.pin_dir).capacity == Capacity(128, 512, 32768)
    time.sleep(3)
    traffic.finish()


def test_every_map_with_a_struct_grows_in_the_test_above() -> None:
    """So that a map that is added is not forgotten there."""
    with_structs = {name for name, found in map_layouts(Capacity()).items() if found.value.names}
    not_carried = {"explain_decision", "capture_decision", "capture_filter"}
    assert len(with_structs - not_carried) == 30
