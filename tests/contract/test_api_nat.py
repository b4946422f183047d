# SPDX-License-Identifier: Apache-2.0
"""NAT by the API: what a reply would not tell is refused at every door, and nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.api_harness import Api, path_of, problem_of, running_api

ONE, TWO, RANGE, ALL = (f"/v1/vips/203.0.113.{last}" for last in ("1:80:tcp", "2:80:tcp", "16%2F28:80:tcp", "3:0:tcp"))
HOST = "10.0.0.11"
NAT: dict[str, Any] = {"protocol": "tcp", "forward": "nat"}
SERVED = f"backend {HOST} serves VIP 203.0.113.1:80/tcp with port 8080 already"
MANY = "has many addresses"


def vip(address: str, port: int = 80, *backends: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**NAT, "address": address, "port": port, "backends": list(backends), **fields}


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """Four VIPs, of which the first one serves with port 8080 of the host, and the second one with its port 9000."""
    with running_api() as made:
        for body in (
            vip("203.0.113.1", 80, {"address": HOST, "port": 8080}),
            vip("203.0.113.2", 80, {"address": HOST, "port": 9000}, {"address": "10.0.0.12"}),
            vip("203.0.113.16/28", 80, {"address": HOST}, forward="dr"),
            vip("203.0.113.3", 0, {"address": HOST}, forward="dr"),
        ):
            backends = body.pop("backends")
            path = path_of(made.add("/v1/vips", body))
            for backend in backends:
                made.add(f"/v1/vips/{path}/backends", backend)
        yield made


WANTED = {"address": HOST, "port": 8080}
REFUSED: dict[str, tuple[str, str, Any, str]] = {
    "a backend is added": (
        "POST",
        f"{ALL}/backends",
        {"address": "10.0.0.12", "forward": "nat"},
        "10.0.0.12 serves VIP",
    ),
    "a backend is put": ("PUT", f"{TWO}/backends/{HOST}", {"port": 8080}, SERVED),
    "a backend is changed": ("PATCH", f"{TWO}/backends/{HOST}", {"port": 8080}, SERVED),
    "all backends are put": ("PUT", f"{TWO}/backends", {"backends": [WANTED]}, SERVED),
    "a VIP becomes nat": ("PATCH", ALL, {"forward": "nat"}, f"backend {HOST} serves VIP 203.0.113.1:80/tcp"),
    "a VIP is put as nat": ("PUT", ALL, {"forward": "nat"}, f"backend {HOST} serves VIP 203.0.113.1:80/tcp"),
    "a prefix becomes nat": ("PATCH", RANGE, {"forward": "nat"}, MANY),
    "a prefix gets such a backend": ("POST", f"{RANGE}/backends", {"address": "10.0.0.13", "forward": "nat"}, MANY),
    "a backend becomes nat": ("PATCH", f"{RANGE}/backends/{HOST}", {"forward": "nat"}, MANY),
    "a configuration has two": (
        "PUT",
        "/v1/config",
        {"vips": [vip("203.0.113.1", 80, WANTED), vip("203.0.113.2", 80, WANTED)]},
        SERVED,
    ),
    "a configuration has a prefix": ("PUT", "/v1/config", {"vips": [vip("203.0.113.16/28", 80, WANTED)]}, MANY),
    "a configuration has all ports of two": (
        "PUT",
        "/v1/config",
        {"vips": [vip("203.0.113.1", 80, WANTED), vip("203.0.113.3", 0, {"address": HOST})]},
        f"backend {HOST} serves VIP",
    ),
    "a port without nat": ("PATCH", f"{ALL}/backends/{HOST}", {"port": 8080}, "but is reached by dr"),
    "a port and no nat any more": ("PATCH", TWO, {"forward": "dr"}, "but is reached by dr"),
    "a network of the other family": (
        "PATCH",
        ONE,
        {"nat_direct": ["2001:db8::/32"]},
        "2001:db8::/32 is IPv6, and VIP",
    ),
    "too many networks": ("PATCH", ONE, {"nat_direct": [f"192.0.2.{n}/32" for n in range(9)]}, "has 9 networks"),
    "no network": ("PATCH", ONE, {"nat_direct": ["192.0.2.1/24"]}, "192.0.2.1/24"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_replies_would_not_tell_is_refused_at_every_door(api: Api, what: str) -> None:
    method, path, body, said = REFUSED[what]
    before = api.generation()
    answer = api.ask(method, path, body)
    assert answer.status_code in {409, 422}, answer.text
    problem = problem_of(answer, answer.status_code)
    assert said in f"{problem['detail']} {problem.get('errors')}"
    assert problem["hint"]
    assert api.generation() == before


def test_networks_that_are_answered_directly_are_in_order_each_once_and_go_with_null(api: Api) -> None:
    changed = api.ask("PATCH", ONE, {"nat_direct": ["198.51.100.0/24", "192.0.2.7", "192.0.2.7/32"]})
    assert changed.json()["nat_direct"] == ["192.0.2.7/32", "198.51.100.0/24"]
    vips = api.ask("GET", "/v1/config").json()["vips"]
    assert [each.get("nat_direct") for each in vips if each["address"] == "203.0.113.1"] == [
        changed.json()["nat_direct"]
    ]
    entries = api.plane.read_backends().values()
    assert {str(network) for entry in entries if entry.nat for network in entry.nat.direct} == {
        "192.0.2.7/32",
        "198.51.100.0/24",
    }
    assert api.ask("PATCH", ONE, {"nat_direct": None}).json()["nat_direct"] == []
    assert not any(entry.nat.direct for entry in api.plane.read_backends().values() if entry.nat)
