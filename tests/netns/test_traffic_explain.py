# SPDX-License-Identifier: Apache-2.0
"""`xdplb explain` names the backend that a client then reaches, and program and reference model say the same of it."""

from __future__ import annotations

from typing import Any

from xdplb.net.lab import ADDRESSES, VIP

from .balancer import KEY, PORT, Balancer

CLIENT = ADDRESSES["client"]
HOSTS = ("dr1", "dr2", "ipip1", "side")


def explained(balancer: Balancer, port: int, *options: str, key: str = KEY) -> Any:
    """Return what is said of the client's packet from this port; program and model must agree."""
    body = balancer.ask("explain", f"{CLIENT}:{port}", key, *options)
    assert body["agree"] is (None if "--if-down" in options else True), body
    return body


def host_of(body: Any) -> str:
    """Return which host is named."""
    return next(host for host in HOSTS if str(ADDRESSES[host]) == body["backend"])


def reached(balancer: Balancer, port: int) -> str:
    """Return which host answers a connection from this port."""
    return balancer.text("--local-port", str(port)).split()[0]


def test_the_backend_that_is_named_is_the_one_that_answers(ready: Balancer) -> None:
    ready.add(*HOSTS)
    named = {port: explained(ready, port) for port in range(41000, 41012)}
    assert len({host_of(body) for body in named.values()}) > 1
    for port, body in named.items():
        assert reached(ready, port) == host_of(body), body
        assert body["sent"]["forward"] == ("ipip" if host_of(body) == "ipip1" else "dr")
        assert body["sent"]["next_hop"]["interface"] == ("eth1" if host_of(body) == "side" else "eth0")


def test_so_it_is_for_connections_that_are_recorded_and_nothing_is_counted_for_a_question(ready: Balancer) -> None:
    ready.add(*HOSTS, vip_options=("--tracking", "always"))
    hosts = {port: reached(ready, port) for port in (41100, 41101, 41102)}
    before = ready.ask("stats")["vips"]
    for port, host in hosts.items():
        body = explained(ready, port, "--established")
        assert (host_of(body), body["chosen_by"]) == (host, "record")
        assert body["record"]["counts"]
        assert body["record"]["age_seconds"] < 600
    unknown = explained(ready, 41103, "--established")
    assert (unknown["record"], unknown["chosen_by"]) == (None, "owner")
    assert ready.ask("stats")["vips"] == before


def test_what_would_be_if_the_backend_were_down_is_so_once_it_is(ready: Balancer) -> None:
    ready.add(*HOSTS)
    first = explained(ready, 41200)
    then = explained(ready, 41200, "--if-down", first["backend"])
    assert then["backend"] not in {None, first["backend"]}
    ready.cli("backend", "set", KEY, first["backend"], "--admin-state", "maint")
    assert explained(ready, 41200)["backend"] == then["backend"]
    assert reached(ready, 41200) == host_of(then)


def test_what_no_vip_takes_is_passed(ready: Balancer) -> None:
    ready.add("dr1")
    body = explained(ready, 41300, key=f"{VIP}:{PORT + 1}/tcp")
    assert (body["vip"], body["action"], body["reason"]) == (None, "pass", "no_vip")
