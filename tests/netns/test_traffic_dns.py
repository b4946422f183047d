# SPDX-License-Identifier: Apache-2.0
"""Names in DNS that follow the health of VIPs, by real servers: BIND and Knot, with real daemons of xdplb."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.name_server import KEY_FILE
from tests.waiting import until
from xdplb.control.clock import SteadyClock
from xdplb.control.events import Events
from xdplb.control.plan.dns_change import Standing, Wanted, Will, Wish
from xdplb.control.writing.dns_keeper import DnsKeeper
from xdplb.control.writing.drifts import Drifts
from xdplb.dns.records import Place
from xdplb.net.lab import ADDRESSES, ADDRESSES6

from .balancer import KEY, Balancer
from .conftest import new_lab
from .name_servers import ZONE, NameServer, name_servers, start

VIEWS = Path(__file__).parents[2] / "docs/examples/dns/views.conf"
SECOND = "203.0.113.11:80/tcp"
SIX = "[2001:db8:f::10]:80/tcp"
NAME = f"www.lb.{ZONE}"


class Setting:
    """A balancer of two backends, and name servers."""

    def __init__(self, balancer: Balancer, servers: dict[str, NameServer]) -> None:
        self.balancer, self.servers = balancer, servers

    def add(self, server: NameServer, key: str = KEY, *, name: str = NAME, address: str = "10.0.0.1") -> None:
        """Add a VIP with a name."""
        host = f"[{address}]" if ":" in address else address
        options = [
            *("--dns-name", name, "--dns-zone", ZONE, "--dns-server", f"{host}:{server.port}"),
            *("--dns-key-file", str(server.folder / "xdplb.key")),
        ]
        backend = str((ADDRESSES6 if key == SIX else ADDRESSES)["dr1"])
        self.balancer.cli("vip", "add", key, *options)
        self.balancer.cli("backend", "add", key, backend)

    def dns(self, key: str = KEY) -> dict[str, object]:
        status: dict[str, object] = self.balancer.ask("vip", "show", key)["status"]["dns"]
        return status


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    with new_lab() as lab, name_servers(lab) as servers:
        balancer = Balancer(lab)
        balancer.prepare("dr1")
        balancer.start("--node", "lb1")
        yield Setting(balancer, servers)


ON_BOTH = pytest.mark.parametrize("server", ["bind", "knot"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, setting: Setting) -> Iterator[NameServer]:
    """A name server, BIND if a test does not say which; afterwards no VIP is left, nor a record of ours."""
    server = setting.servers[getattr(request, "param", "bind")]
    yield server
    setting.balancer.remove_vips()
    server = setting.servers[server.kind]
    until(lambda: server.dig(NAME) == server.dig(NAME, "AAAA") == server.dig(f"_xdplb.{NAME}", "TXT") == [])


@ON_BOTH
def test_the_name_has_the_addresses_that_serve(setting: Setting, server: NameServer) -> None:
    for key in (KEY, SECOND, SIX):
        setting.add(server, key)
    until(lambda: server.dig(NAME) == ["203.0.113.10", "203.0.113.11"])
    until(lambda: server.dig(NAME, "AAAA") == ["2001:db8:f::10"])
    assert server.ttl(NAME) == {30}
    until(lambda: setting.dns()["standing"] == "in")
    setting.balancer.cli("backend", "set", KEY, "10.0.0.11", "--admin-state", "maint")
    until(lambda: server.dig(NAME) == ["203.0.113.11"])
    setting.balancer.cli("backend", "set", SIX, str(ADDRESSES6["dr1"]), "--admin-state", "maint")
    until(lambda: setting.dns(SIX)["standing"] == "last")
    assert server.dig(NAME, "AAAA") == ["2001:db8:f::10"]
    setting.balancer.cli("backend", "set", KEY, "10.0.0.11", "--admin-state", "ready")
    until(lambda: server.dig(NAME) == ["203.0.113.10", "203.0.113.11"])


def test_a_name_outlives_the_daemon_and_is_cleaned_up_by_the_next_one(setting: Setting, server: NameServer) -> None:
    balancer = setting.balancer
    setting.add(server)
    until(lambda: server.dig(NAME) == ["203.0.113.10"])
    server.stop()
    balancer.cli("vip", "rm", KEY)
    until(lambda: [each["kind"] for each in balancer.ask("status")["drift"]] == ["dns"])
    balancer.kill()
    server = setting.servers["bind"] = start(balancer.lab, "bind", "router", address="10.0.0.1", port=server.port)
    assert server.dig(NAME) == ["203.0.113.10"]
    balancer.start("--node", "lb1")
    until(lambda: server.dig(NAME) == server.dig(f"_xdplb.{NAME}", "TXT") == [])


def test_a_balancer_that_is_drained_is_taken_out_unless_it_is_the_last(setting: Setting, server: NameServer) -> None:
    server.edit(f"add {NAME} 77 A 192.0.2.7")
    setting.add(server)
    until(lambda: server.dig(NAME) == ["192.0.2.7", "203.0.113.10"])
    assert server.ttl(NAME) == {77}, "what somebody has entered keeps its TTL"
    setting.balancer.cli("node", "drain")
    until(lambda: server.dig(NAME) == ["192.0.2.7"])
    setting.balancer.cli("node", "undrain")
    until(lambda: server.dig(NAME) == ["192.0.2.7", "203.0.113.10"])
    server.edit(f"delete {NAME} A 192.0.2.7")
    setting.balancer.cli("node", "drain")
    until(lambda: setting.dns()["standing"] == "last")
    assert server.dig(NAME) == ["203.0.113.10"]
    setting.balancer.cli("node", "undrain")
    until(lambda: setting.dns()["standing"] == "in")


@ON_BOTH
def test_a_name_that_the_key_may_not_change_is_told(setting: Setting, server: NameServer) -> None:
    setting.add(server, name=f"www.{ZONE}")
    said = {"bind": "refuses (REFUSED)", "knot": "(BADKEY)"}[server.kind]
    until(lambda: said in str(setting.dns()["reason"]))
    assert said in setting.balancer.cli("doctor", check=False).stdout


def test_a_server_is_reached_by_ipv6(setting: Setting, server: NameServer) -> None:
    setting.add(server, address="2001:db8::1")
    until(lambda: server.dig(NAME) == ["203.0.113.10"])


@ON_BOTH
def test_several_nodes_share_a_name_and_an_address(setting: Setting, server: NameServer) -> None:
    shared, own = ip_address("203.0.113.20"), ip_address("203.0.113.21")
    serve, go = Wish(Will.SERVE, 30), Wish(Will.GO, 30, "0 of 2 backends serve, and 1 must")
    place, file = Place("10.0.0.1", server.port, ZONE, NAME), str(server.folder / "xdplb.key")
    seen = []

    def stands(node: DnsKeeper, standing: Standing) -> bool:
        found = node.standings.get((place, shared))
        return found is not None and found.standing is standing

    def scenario() -> None:
        """Run three nodes in the balancer's namespace: two serve `shared`, the third both."""
        nodes = [_keeper(f"n{number}") for number in range(3)]
        try:
            for node in nodes[:2]:
                node.want(place, Wanted(file, {shared: serve}))
            nodes[2].want(place, Wanted(file, {shared: serve, own: serve}))
            until(lambda: all(stands(node, Standing.IN) for node in nodes))
            seen.append(server.dig(NAME))
            for node in nodes[:2]:
                node.want(place, Wanted(file, {shared: go}))
            until(lambda: all(stands(node, Standing.OTHERS) for node in nodes[:2]))
            seen.append(server.dig(NAME))
            nodes[2].want(place, Wanted(file, {shared: go, own: serve}))
            until(lambda: stands(nodes[2], Standing.OUT))
            seen.append(server.dig(NAME))
            for node in nodes:
                node.leave(place)
            until(lambda: server.dig(f"_xdplb.{NAME}", "TXT") == [])
        finally:
            for node in nodes:
                node.stop(withdraw=False)

    setting.balancer.lab.inside("balancer", scenario)
    assert seen == [[str(shared), str(own)], [str(shared), str(own)], [str(own)]]


def test_each_site_has_a_view_of_its_own_by_its_key(setting: Setting) -> None:
    lab, place = setting.balancer.lab, Place("10.0.0.11", 53, "example.com", "www.lb.example.com")
    folder = lab.folder / "views"
    folder.mkdir()
    shutil.copy(VIEWS, folder / "named.conf")
    for site in ("eu", "us"):
        (folder / f"{site}.db").write_text(
            "@ 300 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 300 IN NS ns\nns 300 IN A 10.0.0.11\n"
        )
        (folder / f"{site}.key").write_text(KEY_FILE.replace("xdplb", site))
    with (folder / "log").open("wb") as log:
        lab.popen("dr1", ["named", "-g", "-c", "named.conf"], cwd=folder, stdout=log, stderr=log)

    def seen(host: str) -> str:
        asked = ["dig", "@10.0.0.11", "+short", "+time=1", "+tries=1", place.name, "A"]
        return lab.run(host, asked, check=False).stdout.strip()

    def scenario() -> None:
        """Run a node of each site in the balancer's namespace."""
        nodes = {site: _keeper(site) for site in ("eu", "us")}
        try:
            for last, (site, node) in enumerate(nodes.items(), 1):
                address = ip_address(f"203.0.113.{last}")
                node.want(place, Wanted(str(folder / f"{site}.key"), {address: Wish(Will.SERVE, 30)}))
            until(lambda: (seen("client"), seen("router")) == ("203.0.113.1", "203.0.113.2"))
        finally:
            for node in nodes.values():
                node.stop(withdraw=False)

    lab.inside("balancer", scenario)


def test_down_takes_out_what_this_balancer_has_put_there(setting: Setting) -> None:
    """The last test: no daemon runs afterwards."""
    server = setting.servers["bind"]
    server.edit(f"add {NAME} 77 A 192.0.2.7")
    setting.add(server)
    until(lambda: server.dig(NAME) == ["192.0.2.7", "203.0.113.10"])
    setting.balancer.down()
    assert server.dig(NAME) == ["192.0.2.7"]


def _keeper(node: str) -> DnsKeeper:
    events = Events()
    return DnsKeeper(node, None, events, Drifts(events, time.monotonic, SteadyClock().now), SteadyClock().now)
