"""Names in DNS that follow the health of VIPs, by real servers: BIND and Knot, with real daemons of xdplb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.net.lab import ADDRESSES, ADDRESSES6

from .balancer import KEY, Balancer, until
from .conftest import new_lab
from .name_servers import ZONE, NameServer, name_servers

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


@pytest.fixture(params=["bind", "knot"])
def server(request: pytest.FixtureRequest, setting: Setting) -> Iterator[NameServer]:
    """A name server, each in turn; afterwards no VIP is left, nor a record of ours."""
    server = setting.servers[request.param]
    yield server
    for vip in setting.balancer.ask("vip", "ls")["vips"]:
        host = f"[{vip['address']}]" if ":" in vip["address"] else vip["address"]
        setting.balancer.cli("vip", "rm", f"{host}:{vip['port']}/{vip['protocol']}")
    until(lambda: server.dig(NAME) == server.dig(NAME, "AAAA") == server.dig(f"_xdplb.{NAME}", "TXT") == [])


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
