# SPDX-License-Identifier: Apache-2.0
"""What a change does to traffic, as data in the answer to a dry run, and in that of a change that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xdplb.dataplane.plane import BackendCounters, VipCounters
from xdplb_api.schemas.impact import ImpactOut

from .api_harness import BACKEND, BACKENDS, DRAIN, VIP, WEB, Api, running_api
from .cli_harness import Daemon

KEY = "203.0.113.10:443/tcp"
ONE, TWO = {"address": "10.0.0.11"}, {"address": "10.0.0.12"}


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as running:
        running.add("/v1/vips", WEB)
        running.add(BACKENDS, ONE)
        running.add(BACKENDS, TWO)
        running.plane.count_backend(1, BackendCounters(packets=700, new_flows=30))
        running.plane.count_vip(0, VipCounters(packets=900, new_flows=40))
        yield running


def told(response: Any) -> Any:
    """Return the impact in an answer, which has nothing in it that the schema has not."""
    assert response.status_code == 200, response.text
    impact = response.json()["impact"]
    assert ImpactOut.model_validate(impact).model_dump(mode="json", by_alias=True) == impact
    return impact


KEEPS_ALL: list[tuple[str, str, object]] = [
    ("POST", DRAIN, {}),
    ("POST", BACKENDS, {"address": "10.0.0.13"}),
    ("PATCH", BACKEND, {"weight": 7}),
    ("PATCH", VIP, {"on_unhealthy": "keep"}),
    ("PATCH", VIP, {"limits": {"new_flows": 10}}),
    ("PATCH", VIP, {"tracking": "always"}),
    ("PATCH", VIP, {"idle_timeout_seconds": 6000}),
    ("PUT", f"{VIP}/access", {"deny": []}),
]
BREAKS: list[tuple[tuple[str, str, object], str, tuple[int, int]]] = [
    (("DELETE", BACKEND, None), "cut_off", (30, 700)),
    (("PATCH", BACKEND, {"admin_state": "maint"}), "cut_off", (30, 700)),
    (("DELETE", VIP, None), "cut_off", (30, 700)),
    (("PATCH", BACKEND, {"forward": "ipip"}), "forward", (30, 700)),
    (("PATCH", VIP, {"hash": "source"}), "hash", (40, 900)),
    (("PATCH", VIP, {"scheduler": "rr"}), "scheduler", (40, 900)),
    (("PATCH", VIP, {"limits": {"packets": 10}}), "limits", (40, 900)),
    (("PATCH", VIP, {"idle_timeout_seconds": 60}), "idle_timeout", (40, 900)),  # slots move, since a backend was added
    (("PUT", f"{VIP}/access", {"deny": ["192.0.2.0/24"]}), "access", (40, 900)),
]


@pytest.mark.parametrize(("method", "path", "body"), KEEPS_ALL)
def test_zero_is_promised_where_nothing_can_break(api: Api, method: str, path: str, body: object) -> None:
    impact = told(api.ask(method, f"{path}?dry_run=true", body))
    assert impact["connections_at_risk"] == {"expected": 0, "at_most": 0, "known_by": "plan", "causes": []}


@pytest.mark.parametrize(("asked", "cause", "numbers"), BREAKS)
def test_what_may_break_is_counted_from_the_traffic_seen(
    api: Api, asked: tuple[str, str, object], cause: str, numbers: tuple[int, int]
) -> None:
    method, path, body = asked
    foretold = told(api.ask(method, f"{path}?dry_run=true", body))
    risk = foretold["connections_at_risk"]
    assert (risk["expected"], risk["at_most"], risk["known_by"]) == (*numbers, "counters")
    assert [(each["cause"], each["vip"]) for each in risk["causes"]] == [(cause, KEY)]
    done = api.ask(method, f"{path}?impact=true", body)
    assert told(done) == foretold, "the change has the figures of its dry run"
    assert done.json()["changed"] is True
    assert done.headers["ETag"] == f'"{api.generation()}"'


def test_a_dry_run_changes_nothing_and_says_so(api: Api) -> None:
    before = api.generation()
    response = api.ask("DELETE", f"{BACKEND}?dry_run=true&impact=true")
    assert (response.json()["would_change"], response.json()["changed"]) == (True, False)
    assert api.generation() == before


def test_slots_are_told_by_who_gives_and_who_gets_them(api: Api) -> None:
    impact = told(api.ask("POST", f"{DRAIN}?dry_run=true", {}))
    [table] = impact["tables"]
    [move] = table["moves"]
    assert (move["from"], move["to"]) == ("10.0.0.11", "10.0.0.12")
    assert move["slots"] == table["moved"] == table["kept"] == impact["slots"]["moved"]
    assert impact["lose_all_traffic"] == []


def test_a_more_specific_vip_takes_connections_from_the_wider_one(api: Api) -> None:
    wide = {"address": "203.0.113.0/24", "port": 80, "protocol": "tcp", "name": "wide"}
    api.add("/v1/vips", wide)
    api.add("/v1/vips/wide/backends", ONE)
    api.plane.count_vip(1, VipCounters(packets=50, new_flows=5))
    inside = {"address": "203.0.113.77", "port": 80, "protocol": "tcp"}
    risk = told(api.ask("POST", "/v1/vips?dry_run=true", inside))["connections_at_risk"]
    assert [(each["cause"], each["vip"]) for each in risk["causes"]] == [("taken", "203.0.113.0/24:80/tcp")]
    assert (risk["expected"], risk["at_most"]) == (5, 50)
    beside = {**inside, "port": 81}
    assert told(api.ask("POST", "/v1/vips?dry_run=true", beside))["connections_at_risk"]["at_most"] == 0


def test_udp_flows_that_are_not_recorded_move_with_their_slots(api: Api) -> None:
    api.add("/v1/vips", {"address": "203.0.113.10", "port": 53, "protocol": "udp", "name": "dns"})
    for one in (ONE, TWO):
        api.add("/v1/vips/dns/backends", one)
    api.plane.count_backend(3, BackendCounters(packets=70))
    risk = told(api.ask("POST", "/v1/vips/dns/backends/10.0.0.11/drain?dry_run=true", {}))["connections_at_risk"]
    assert [each["cause"] for each in risk["causes"]] == ["udp"]
    assert (risk["expected"], risk["at_most"]) == (70, 70)


QUIC = {"address": "203.0.113.10", "port": 443, "protocol": "udp", "name": "quic", "quic": {"server_id_bytes": 2}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"quic": {"server_id_bytes": 2, "config_id": 3}}),
        ("/backends/10.0.0.11", {"quic_server_id": "0002"}),
        ("/backends/10.0.0.11", {"quic_server_id": None}),
    ],
)
def test_quic_connections_are_at_risk_if_their_ids_may_mean_another_backend(api: Api, path: str, body: object) -> None:
    api.add("/v1/vips", QUIC)
    api.add("/v1/vips/quic/backends", {**ONE, "quic_server_id": "0001"})
    api.add("/v1/vips/quic/backends", TWO)
    api.plane.count_vip(1, VipCounters(packets=50))
    risk = told(api.ask("PATCH", f"/v1/vips/quic{path}?dry_run=true", body))["connections_at_risk"]
    assert [each["cause"] for each in risk["causes"]] == ["quic"]
    assert risk["at_most"] == 50


def test_frames_that_leave_with_other_tags_are_no_promise(api: Api) -> None:
    risk = told(api.ask("PATCH", f"{VIP}?dry_run=true", {"vlan": "keep"}))["connections_at_risk"]
    assert [(each["cause"], each["at_most"]) for each in risk["causes"]] == [("forward", 700)]


def test_commands_show_the_impact_as_tables_and_as_json(web: Daemon) -> None:
    said = web.ok("backend", "rm", "web", "10.0.0.1", "--dry-run").stdout
    assert "connections at risk  0 (there was no packet within the idle timeout)" in said
    assert "LOSES ALL TRAFFIC OF" in said
    assert "SLOTS OF" in said
