# SPDX-License-Identifier: Apache-2.0
"""NAT with real traffic: ports are mapped, replies come back through a balancer, also one that knows of no request."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from tests.waiting import until
from xdplb.net import ethtool
from xdplb.net.lab import ADDRESSES, ADDRESSES6, VIP, VIP6
from xdplb.net.lab_hosts import forward_packets

from .balancer import COMMAND_SECONDS, KEY, REPORT, SERVICE, UDP_KEY, XDPLB, Balancer, tally
from .conftest import new_lab
from .test_traffic_forwarding import udp_answers

PORTS = {"dr1": 8080, "dr2": 8081}
FILES_PORT, FILES_KEY = 8090, f"{VIP}:9000/tcp"
KEY6 = f"[{VIP6}]:80/tcp"
ADMINISTRATOR = "198.51.100.77"
SIZE, UPLOAD = 200_000_000, 30_000_000
BY_FAMILY = {4: (KEY, ADDRESSES, f"http://{VIP}/"), 6: (KEY6, ADDRESSES6, f"http://[{VIP6}]/")}

DNS_PORT = 5353
ANSWER = 3600
"""Bytes of text in the records of one name, which become three fragments."""

BIND = """\
options {{
  directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; lock-file none;
  listen-on port {port} {{ any; }}; listen-on-v6 port {port} {{ any; }};
  edns-udp-size 4096; max-udp-size 4096; minimal-responses yes;
  recursion no; dnssec-validation no; notify no; empty-zones-enable no;
}};
controls {{ }};
zone "example.test" {{ type primary; file "zone.db"; }};
"""
ZONE = """\
$TTL 300
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 10.0.0.1
"""


class NatBalancer(Balancer):
    """A balancer whose backends serve ports of their own at their own addresses."""

    def __init__(self, *arguments: object, folder: str = "") -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.own = folder
        if folder:
            (self.lab.folder / folder).mkdir()
            (self.lab.home.bpffs / folder).mkdir()
            self.socket = self.lab.folder / folder / "api.sock"
            self.log_file = self.lab.folder / folder / "daemon.log"

    def spawn(self, *options: str, nics: Sequence[str] = ("eth0",)) -> subprocess.Popen[str]:
        if not self.own:
            return super().spawn(*options, nics=nics)
        places = ["--state-dir", str(self.lab.folder / self.own / "state")]
        places += ["--pin-dir", str(self.lab.home.bpffs / self.own), "--listen", f"unix:{self.socket}"]
        with self.log_file.open("a") as log:
            return self.lab.popen(self.host, [XDPLB, "up", *nics, *places, *options], stdout=log, stderr=log)

    def add_nat(self, *hosts: str, key: str = KEY, port: int | None = None, addresses: object = ADDRESSES) -> None:
        """Add the VIP with these hosts as NAT backends, and wait until they all serve."""
        self.cli("vip", "add", key, "--forward", "nat")
        for host in hosts:
            address = str(addresses[host])  # type: ignore[index]
            self.cli("backend", "add", key, address, "--port", str(port or PORTS[host]))
        shown = [lambda a=str(addresses[host]): self.ask("backend", "show", key, a)["status"] for host in hosts]  # type: ignore[index]
        until(lambda: all(each()["share"] > 0 for each in shown))

    def passed(self) -> int:
        """Return how many replies the host has routed."""
        count: int = self.ask("stats")["passes"].get("nat_reply", 0)
        return count


def serve(balancer: Balancer) -> None:
    """Run the services of the backends, on ports of their own, and a server of one large file."""
    lab = balancer.lab
    for host, port in PORTS.items():
        lab.inside(host, lambda: ethtool.finish_checksums("eth0"))
        argv = [sys.executable, SERVICE, host, str(port), str(ADDRESSES[host])]
        balancer.services[host] = lab.popen(host, argv)
    folder = lab.folder / "files"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    lab.popen(
        "dr1",
        [sys.executable, "-m", "http.server", "--directory", str(folder), str(FILES_PORT)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for host, port in (*PORTS.items(), ("dr1", FILES_PORT)):
        asked = ["curl", "-sf", "-o", "/dev/null", f"http://{ADDRESSES[host]}:{port}/"]
        until(lambda asked=asked: lab.run("client", asked, check=False).returncode == 0)  # type: ignore[misc]


def serve_names(balancer: NatBalancer) -> None:
    """Run BIND on both backends, with a name whose records are as large as UDP carries them."""
    strings = [f"{number:0200d}" for number in range(ANSWER // 200)]
    zone = ZONE + "".join(f'large IN TXT "{each}"\n' for each in strings)
    for host in PORTS:
        folder = balancer.lab.folder / f"names-{host}"
        folder.mkdir()
        (folder / "zone.db").write_text(zone)
        (folder / "server.conf").write_text(BIND.format(folder=folder, port=DNS_PORT))
        with (folder / "log").open("ab") as log:
            balancer.lab.popen(host, ["named", "-g", "-c", str(folder / "server.conf")], stdout=log, stderr=log)
        until(lambda host=host: len(asked_name(balancer, str(ADDRESSES[host]), DNS_PORT)) == len(strings))  # type: ignore[misc]


def asked_name(balancer: NatBalancer, server: str, port: int) -> list[str]:
    """Ask a server for that name by one datagram; return the records of the answer, if it is not a truncated one."""
    how = ["+short", "+notcp", "+ignore", "+bufsize=4096", "+tries=1", "+time=5"]
    told = balancer.lab.run(
        "client", ["dig", f"@{server}", "-p", str(port), *how, "large.example.test", "TXT"], check=False
    )
    return [line for line in told.stdout.splitlines() if line.startswith('"')]


def reply_by_balancer(balancer: Balancer, via: str | None) -> None:
    """Let the backends reach the client by the balancer, or by the router as before."""
    for host in PORTS:
        for network, gateways in (("198.51.100.0/24", ADDRESSES), ("2001:db8:c::/64", ADDRESSES6)):
            if via is None:
                balancer.lab.run(host, ["ip", "route", "del", network], check=False)
            else:
                balancer.lab.run(host, ["ip", "route", "replace", network, "via", str(gateways[via])])


@pytest.fixture(scope="module")
def shared() -> Iterator[NatBalancer]:
    """A balancer that routes, with both backends, which reach the client through it."""
    with new_lab() as built:
        balancer = NatBalancer(built)
        built.inside("balancer", forward_packets)
        serve(balancer)
        reply_by_balancer(balancer, "balancer")
        balancer.start()
        yield balancer


@pytest.fixture
def nat(shared: NatBalancer) -> Iterator[NatBalancer]:
    """The shared balancer, without a VIP."""
    yield shared
    shared.remove_vips()


def test_connections_reach_both_backends_at_their_own_ports(nat: NatBalancer) -> None:
    nat.add_nat(*PORTS)
    counts = nat.get(100)
    assert counts.keys() == PORTS.keys()
    assert min(counts.values()) > 10
    assert nat.text() in {f"{host} {ADDRESSES['client']}\n" for host in PORTS}
    replies = {each["backend"]: each["replies"] for each in nat.ask("stats")["vips"][0]["backends"]}
    assert min(replies.values()) > 10
    assert nat.cli("stats").stdout.splitlines()[0].split()[-1] == "REPLIES"


def test_a_large_file_arrives_as_it_was(nat: NatBalancer) -> None:
    nat.add_nat("dr1", key=FILES_KEY, port=FILES_PORT)
    got = nat.lab.folder / "got"
    url = f"http://{VIP}:9000/large"
    nat.lab.run("client", ["curl", "-sSf", "-o", str(got), url], timeout=COMMAND_SECONDS)
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (nat.lab.folder / "files" / "large", got)]
    assert digests[0] == digests[1]
    assert nat.drops().get("too_big", 0) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_an_upload_arrives_as_it_was(nat: NatBalancer, family: int) -> None:
    key, addresses, url = BY_FAMILY[family]
    nat.add_nat(*PORTS, key=key, addresses=addresses)
    body = nat.lab.folder / "body"
    body.write_bytes(os.urandom(UPLOAD))
    asked = ["curl", "-gsSf", "-H", "Expect:", "--data-binary", f"@{body}", f"{url}digest"]
    told = nat.lab.run("client", asked, timeout=COMMAND_SECONDS).stdout
    assert told.strip() == hashlib.sha256(body.read_bytes()).hexdigest()


def test_udp_goes_to_the_backends_and_answers_come_from_the_vip(nat: NatBalancer) -> None:
    nat.add_nat(*PORTS, key=UDP_KEY)
    answers = Counter(udp_answers(nat, 60))
    assert answers.keys() == {"dr1 hello", "dr2 hello"}
    assert min(answers.values()) > 10


@pytest.mark.parametrize("family", [4, 6])
def test_answers_of_name_servers_come_in_fragments(nat: NatBalancer, family: int) -> None:
    """The later fragments have no ports: they go the way of the first one."""
    if not (nat.lab.folder / "names-dr1").exists():
        serve_names(nat)
    _, addresses, _ = BY_FAMILY[family]
    vip = VIP6 if family == 6 else VIP
    key = f"[{vip}]:53/udp" if family == 6 else f"{vip}:53/udp"
    nat.add_nat(*PORTS, key=key, port=DNS_PORT, addresses=addresses)
    for _ in range(20):
        assert len(asked_name(nat, str(vip), 53)) == ANSWER // 200
    (counted,) = nat.ask("stats")["vips"]
    assert counted["packets"] == 20
    assert counted["replies"] + nat.passed() >= 60
    assert all(each["packets"] for each in counted["backends"])


def test_ipv6_too(nat: NatBalancer) -> None:
    nat.add_nat(*PORTS, key=KEY6, addresses=ADDRESSES6)
    argv = ["curl", "-s", "--max-time", "5", "-o", "/dev/null", "-w", REPORT, f"http://[{VIP6}]/?[1-60]"]
    counts = tally(nat.lab.run("client", argv, check=False, timeout=120).stderr)
    assert counts.keys() == PORTS.keys()


def test_checks_of_the_backends_are_answered(nat: NatBalancer) -> None:
    """Their replies are to the balancer itself, and stay as they are."""
    nat.cli("vip", "add", KEY, "--forward", "nat", "--check", "http", "--check-path", "/health")
    for host, port in PORTS.items():
        nat.cli("backend", "add", KEY, str(ADDRESSES[host]), "--port", str(port))
    until(lambda: all(nat.status(host)["health"] == "up" for host in PORTS))
    assert nat.get(20).keys() <= PORTS.keys()


def test_a_reply_through_a_balancer_that_has_seen_no_request_is_rewritten(nat: NatBalancer) -> None:
    """Which VIP a backend's port belongs to is configuration: no record of the connection is asked for."""
    other = NatBalancer(nat.lab, "router", folder="other")
    nat.add_nat(*PORTS)
    other.start(nics=("segment",))
    try:
        other.add_nat(*PORTS)
        reply_by_balancer(nat, None)  # by the router, which is the other balancer
        before = nat.ask("stats")["vips"][0]["replies"]
        assert nat.get(60).keys() == PORTS.keys()
        seen = other.ask("stats")["vips"][0]
        assert (seen["packets"], nat.ask("stats")["vips"][0]["replies"] - before) == (0, 0)
        assert seen["replies"] + other.passed() > 100
    finally:
        reply_by_balancer(nat, "balancer")
        assert other.daemon is not None
        other.daemon.terminate()
        other.daemon.wait()
        pins = ["--pin-dir", str(nat.lab.home.bpffs / other.own)]
        nat.lab.run(other.host, [XDPLB, "down", "--all", *pins])  # else it would rewrite replies in other tests, too


def test_administrators_reach_a_backend_itself_and_clients_the_vip(nat: NatBalancer) -> None:
    """Who is in nat_direct gets a backend's answers as they are, by way of the balancer, and nothing from the VIP."""
    nat.add_nat(*PORTS)
    own, through = f"http://{ADDRESSES['dr1']}:{PORTS['dr1']}/", f"http://{VIP}/"

    def gets(url: str) -> bool:
        asked = ["curl", "-sf", "--max-time", "2", "--interface", ADMINISTRATOR, "-o", "/dev/null", url]
        return nat.lab.run("client", asked, check=False).returncode == 0

    nat.lab.configure("client", f"address add {ADMINISTRATOR}/32 dev eth0")
    nat.lab.configure("router", f"route add {ADDRESSES['dr1']} via {ADDRESSES['balancer']}")
    try:
        until(lambda: (gets(own), gets(through)) == (False, True))
        nat.cli("vip", "set", KEY, "--nat-direct", "198.51.100.64/26", "--nat-direct", "192.0.2.0/24")
        assert "nat-direct" in nat.cli("vip", "show", KEY).stdout
        until(lambda: (gets(own), gets(through)) == (True, False))  # it needs a program that knows of it
        assert nat.get(20).keys() <= PORTS.keys()
        nat.cli("vip", "set", KEY, "--nat-direct", "off")
        until(lambda: (gets(own), gets(through)) == (False, True))
    finally:
        nat.lab.configure("router", f"route del {ADDRESSES['dr1']}")
        nat.lab.configure("client", f"address del {ADMINISTRATOR}/32 dev eth0")


def test_what_else_a_backend_sends_a_client_moves_no_replies_past_the_balancer(nat: NatBalancer) -> None:
    """The host routes it out by the NIC that it came in by, and must not tell the backend of the router instead."""
    nat.add_nat("dr1")
    asked = ["curl", "-sf", "-o", "/dev/null", "--max-time", "5", f"http://{ADDRESSES['dr1']}:{FILES_PORT}/"]
    for _ in range(3):
        nat.lab.run("client", asked)
        assert nat.get(2) == {"dr1": 2}


def test_doctor_says_that_the_host_must_forward(nat: NatBalancer) -> None:
    nat.add_nat("dr1")
    told = nat.cli("doctor", "eth0", check=False).stdout
    assert "the host forwards the replies of NAT backends" in told


def asks(nat: NatBalancer) -> bool:
    """Whether a client gets an answer."""
    asked = ["curl", "-sf", "-m", "2", "-o", "/dev/null", f"http://{VIP}/"]
    return nat.lab.run("client", asked, check=False).returncode == 0


def test_replies_go_by_the_default_route_unless_another_one_holds(nat: NatBalancer) -> None:
    """A host that does not forward packets shows it: the kernel refuses to say where a reply goes."""
    lab = nat.lab
    nat.add_nat("dr1")
    own = ["curl", "-sf", "-o", "/dev/null", f"http://{ADDRESSES['dr1']}:{PORTS['dr1']}/"]
    try:
        lab.run("balancer", ["sysctl", "-qw", "net.ipv4.conf.all.forwarding=0"])
        until(lambda: asks(nat))
        lab.run("balancer", own)
        lab.run("balancer", ["ip", "route", "add", "blackhole", "198.51.100.0/24"])
        until(lambda: not asks(nat))
        lab.run("balancer", ["ip", "route", "del", "blackhole", "198.51.100.0/24"])
        until(lambda: asks(nat))
        lab.run("balancer", ["ip", "rule", "add", "from", str(VIP), "lookup", "main"])
        until(lambda: not asks(nat))
        lab.run("balancer", ["ip", "rule", "del", "from", str(VIP), "lookup", "main"])
        until(lambda: asks(nat))
    finally:
        lab.run("balancer", ["ip", "route", "del", "blackhole", "198.51.100.0/24"], check=False)
        lab.run("balancer", ["ip", "rule", "del", "from", str(VIP), "lookup", "main"], check=False)
        lab.inside("balancer", forward_packets)
