# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is given: the text, the numbers in it, and that the docs name all of it."""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.api_harness import BACKEND, BACKENDS, CHECK, DRAIN, VIP, WEB, Api, problem_of, running_api
from tests.fakes import next_hop
from xdplb import __version__
from xdplb.control.answers.views import NotifyView
from xdplb.control.health.standing import Standing
from xdplb.control.writing.path_watch import Ignored
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import HANDSHAKE_COUNTERS
from xdplb.dataplane.plane import ACTIONS, BackendCounters, VipCounters
from xdplb.model.backend import Health
from xdplb.model.errors import PlatformError
from xdplb.model.vip import VipKey
from xdplb.net.icmp_message import ErrorKind, IcmpError, Quote
from xdplb_api.exposition import Family, compressed, encode, labels_text

KEY = "203.0.113.10:443/tcp"
STARVED = Standing(checks=5, overdue=3, probes=7, most_probes=8, reason="3 of 5 health checks are late: no file")
FIRST = {"vip": KEY, "backend": "10.0.0.11"}
SECOND = {"vip": KEY, "backend": "10.0.0.12"}
METRICS_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def api() -> Iterator[Api]:
    """A VIP with two backends, and counters of all three."""
    with running_api() as api:
        api.add("/v1/vips", WEB)
        for address in ("10.0.0.11", "10.0.0.12"):
            api.add(BACKENDS, {"address": address})
        api.plane.count_vip(0, VipCounters(packets=7, bytes=2**53 + 1, new_flows=3, at_risk=2, records=5))
        api.plane.count_backend(1, BackendCounters(packets=4, bytes=400, new_flows=2))
        yield api


def scrape(api: Api) -> dict[Sample, float]:
    """Return all samples, by name and labels."""
    response = api.ask("GET", "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    samples = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    assert len({family.name for family in families}) == len(families)
    return found


def value(samples: dict[Sample, float], name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def only(samples: dict[Sample, float], name: str) -> list[dict[str, str]]:
    """Return the labels of every sample of a metric."""
    return [dict(labels) for found, labels in samples if found == name]


def test_counters_of_vips_and_backends(api: Api):
    found = scrape(api)

    counted = {name: value(found, f"xdplb_vip_{name}_total", vip=KEY) for name in ("packets", "new_flows", "records")}
    assert counted == {"packets": 7, "new_flows": 3, "records": 5}
    assert value(found, "xdplb_connections_at_risk_total", vip=KEY) == 2
    for backend, packets, size, flows in ((FIRST, 4, 400, 2), (SECOND, 0, 0, 0)):
        assert value(found, "xdplb_backend_packets_total", **backend) == packets
        assert value(found, "xdplb_backend_bytes_total", **backend) == size
        assert value(found, "xdplb_backend_new_flows_total", **backend) == flows
    assert f'xdplb_vip_bytes_total{{vip="{KEY}"}} {2**53 + 1}\n' in api.ask("GET", "/metrics").text


def test_the_host_and_the_flow_table(api: Api):
    api.plane.count_reason("drop_no_backend", 3)
    api.plane.count_reason("pass_no_vip", 5)
    found = scrape(api)

    assert value(found, "xdplb_build_info", version=__version__) == 1
    generation = value(found, "xdplb_generation")
    assert generation == value(found, "xdplb_observed_generation") == api.generation()
    assert value(found, "xdplb_interface_attached", iface="eth0", mode="native") == 1
    assert value(found, "xdplb_drops_total", reason="no_backend") == 3
    assert value(found, "xdplb_drops_total", reason="ttl") == 0
    assert value(found, "xdplb_passes_total", reason="no_vip") == 5
    assert value(found, "xdplb_answers_total", reason="echo") == 0
    table = api.ask("GET", "/v1/dataplane").json()["flows"]
    names = {"used": "xdplb_flow_entries", "capacity": "xdplb_flow_capacity", "evicted": "xdplb_flow_evictions_total"}
    assert {field: value(found, name) for field, name in names.items()} == {field: table[field] for field in names}


def test_packets_by_nic_are_there_where_they_are_counted(api: Api):
    api.plane.count_nic("eth0", tx=7, drop=2)
    assert not only(scrape(api), "xdplb_packets_total")
    api.plane.require(frozenset({Feature.NICS}))
    found = scrape(api)
    counted = {action: value(found, "xdplb_packets_total", iface="eth0", action=action) for action in ACTIONS}
    assert counted == {"aborted": 0, "drop": 2, "pass": 0, "tx": 7, "redirect": 0}


def test_slots_and_backends_of_a_vip(api: Api):
    api.ask("PATCH", BACKEND, {"weight": 0})  # its slots move
    found = scrape(api)

    slots = api.ask("GET", VIP).json()["status"]["slots"]
    assert slots["moving"] > 0
    assert {state: value(found, "xdplb_slots", vip=KEY, state=state) for state in slots} == slots
    assert (value(found, "xdplb_vip_backends", vip=KEY), value(found, "xdplb_vip_backends_serving", vip=KEY)) == (2, 1)
    assert value(found, "xdplb_backend_weight", **FIRST) == 0
    assert value(found, "xdplb_backend_weight", **SECOND) == 1


def test_a_backend_is_in_one_state(api: Api):
    def states() -> list[str]:
        found = [labels for labels in only(scrape(api), "xdplb_backend_state") if labels["backend"] == "10.0.0.11"]
        return [labels["state"] for labels in found]

    assert states() == ["up"]
    api.ask("POST", DRAIN)
    assert states() == ["drain"]
    api.ask("PATCH", BACKEND, {"admin_state": "maint"})
    assert states() == ["maint"]


def test_checks_and_what_they_find(api: Api):
    assert not only(scrape(api), "xdplb_health_checks_total")
    api.ask("PUT", CHECK, {"type": "tcp"})
    api.add(BACKENDS, {"address": "10.0.0.13"})
    assert api.client.portal is not None
    api.client.portal.call(api.health.flip, "10.0.0.11", Health.DOWN)
    found = scrape(api)

    assert value(found, "xdplb_backend_state", **FIRST, state="down") == 1
    assert value(found, "xdplb_backend_state", vip=KEY, backend="10.0.0.13", state="unknown") == 1
    results = {labels["result"] for labels in only(found, "xdplb_health_checks_total")}
    assert results == {"passed", "failed"}
    assert only(found, "xdplb_health_check_duration_seconds") == [{**FIRST, "check": "tcp"}]
    assert value(found, "xdplb_health_check_duration_seconds", **FIRST, check="tcp") == 0.001


def test_checks_that_are_not_run_are_counted(api: Api) -> None:
    api.health.stands = STARVED
    found = scrape(api)
    names = ("health_checks_overdue", "health_probes", "health_probes_limit", "loop_pause_seconds")
    assert [value(found, f"xdplb_{name}") for name in names] == [3, 7, 8, 0]


def test_connections_that_a_drain_waits_for(api: Api):
    api.plane.add_flow("198.51.100.7", 40000, VipKey.parse(KEY), backend=1)
    assert not only(scrape(api), "xdplb_backend_draining_flows")
    api.ask("POST", DRAIN)

    end = time.monotonic() + 10
    while value(scrape(api), "xdplb_backend_draining_flows", **FIRST) != 1:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_scrape_reads_the_counters_once_and_no_flows(api: Api):
    for _ in range(20):  # what the daemon itself reads now and then may come between
        api.plane.calls.clear()
        scrape(api)
        if api.plane.calls == ["counters"]:
            return
        time.sleep(0.1)
    raise AssertionError(api.plane.calls)


def test_handshakes_are_a_histogram(api: Api):
    assert not only(scrape(api), "xdplb_backend_handshakes_total")  # nothing is sampled
    api.ask("PATCH", "/v1/vips/web", {"passive": "observe"})
    counted = np.zeros(1, HANDSHAKE_COUNTERS)
    counted["begun"], counted["answered"], counted["latency_ns"] = 7, 6, 3_000_000_000
    counted["latency"][0, [0, 4, 19]] = 1, 2, 3
    api.plane.count_handshakes(1, counted)

    found = scrape(api)
    assert value(found, "xdplb_backend_handshakes_total", **FIRST, result="begun") == 7
    assert value(found, "xdplb_backend_handshakes_total", **FIRST, result="silent") == 0
    name = "xdplb_backend_handshake_seconds"
    bounds = {
        labels["le"]: value(found, f"{name}_bucket", **labels)
        for labels in only(found, f"{name}_bucket")
        if labels["backend"] == FIRST["backend"]
    }
    counts = [count or 0 for count in bounds.values()]
    assert counts == sorted(counts)
    assert (bounds["6.5536e-05"], bounds["0.001048576"], bounds["+Inf"]) == (1, 3, 6)
    assert (value(found, f"{name}_count", **FIRST), value(found, f"{name}_sum", **FIRST)) == (6, 3.0)
    assert value(found, "xdplb_backend_ejections_total", **FIRST) == 0


def test_nothing_there_is_nothing_counted():
    with running_api() as api:
        found = scrape(api)
        assert not [name for name, _ in found if name.startswith(("xdplb_vip_", "xdplb_backend_", "xdplb_slots"))]
        assert value(found, "xdplb_generation") == 0


def test_counters_that_cannot_be_read_are_a_problem(api: Api):
    api.plane.fail("counters", PlatformError("the maps are gone"))
    problem = problem_of(api.ask("GET", "/metrics"), 503)
    assert problem["detail"] == "the maps are gone"
    problem_of(api.ask("GET", "/metrics?vips=web"), 422)
    problem_of(api.ask("POST", "/metrics"), 405)


class Families:
    """What the library has read, for it to write."""

    def __init__(self, text: str) -> None:
        self._families = parsed(text)

    def collect(self) -> Sequence[Metric]:
        """Return them."""
        return self._families


def parsed(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))


def said(text: str) -> tuple[list[str], list[Metric]]:
    """Return the lines about families, and their samples, in which the order of labels does not matter."""
    return [line for line in text.splitlines() if line.startswith("#")], parsed(text)


def test_the_library_would_write_the_same(api: Api):
    """For each kind of metric, with and without labels."""
    api.ask("PUT", CHECK, {"type": "tcp"})
    api.ask("PATCH", "/v1/vips/web", {"passive": "observe"})
    api.plane.count_vip(0, VipCounters(packets=12345678))
    text = api.ask("GET", "/metrics").text
    families = parsed(text)
    assert {family.type for family in families} == {"counter", "gauge", "histogram"}
    assert said(generate_latest(Families(text)).decode()) == said(text)


def test_label_values_and_help_are_escaped():
    value, words = 'a"b\\c\nd', 'a \\ and a\nline and "'
    odd = Family("odd_total", "counter", words, [(labels_text(iface=value, mode="x"), 1)])
    text = b"".join(encode([odd])).decode()
    (family,) = parsed(text)
    assert (family.documentation, family.samples[0].labels) == (words, {"iface": value, "mode": "x"})
    assert said(generate_latest(Families(text)).decode()) == said(text)


def test_many_samples_are_all_there():
    samples = [(labels_text(vip=str(number)), float(number)) for number in range(5001)]
    pieces = list(encode([Family("many", "gauge", "Many.", samples)]))
    (family,) = text_string_to_metric_families(b"".join(pieces).decode())
    assert [(f'vip="{each.labels["vip"]}"', each.value) for each in family.samples] == samples
    assert len(pieces) > 2
    assert gzip.decompress(b"".join(compressed(pieces))) == b"".join(pieces)


@pytest.mark.parametrize(
    ("wanted", "coding"),
    [("gzip", "gzip"), ("deflate, gzip;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("br", None)],
)
def test_metrics_are_compressed_for_those_who_take_it(api: Api, wanted: str, coding: str | None):
    answers = [api.ask("GET", path, headers={"Accept-Encoding": wanted}) for path in ("/metrics", "/metrics?vip=web")]
    for answer in answers:
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "accept-encoding"
        assert "xdplb_generation" in {family.name for family in parsed(answer.text)}
        assert (int(answer.headers["content-length"]) < len(answer.text) / 2) == (coding == "gzip")


def hear_too_big(api: Api) -> None:
    """Have a router say that its path to 10.0.0.13, a backend by GUE, takes 1400 bytes."""
    api.add(BACKENDS, {"address": "10.0.0.13", "forward": "gue"})
    address = ip_address("10.0.0.13")
    quote = Quote(next_hop(address).source, address, length=1500, protocol=17, ports=(0xC000, 6080))
    told = IcmpError(ip_address("10.0.0.254"), ErrorKind.TOO_BIG, 4, quote, mtu=1400)
    assert api.client.portal is not None
    for error in (told, replace(told, mtu=1500), None):
        api.client.portal.call(api.errors.hear, error)


def test_paths(api: Api):
    hear_too_big(api)
    path = f"{BACKENDS}/10.0.0.13"
    end = time.monotonic() + 10
    while (status := api.ask("GET", path).json()["status"])["mtu"] == 1500:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (status["mtu"], status["path_mtu"]["mtu"], status["path_mtu"]["router"]) == (1400, 1400, "10.0.0.254")
    assert datetime.fromisoformat(status["path_mtu"]["until"]) > datetime.now(UTC)
    assert status["path_errors"] == {"too_big": 1, "unreachable": 0, "time_exceeded": 0, "parameter_problem": 0}
    samples = scrape(api)
    third = {**FIRST, "backend": "10.0.0.13"}
    assert value(samples, "xdplb_backend_mtu_bytes", **FIRST) == 1500
    assert value(samples, "xdplb_backend_mtu_bytes", **third) == 1400
    assert value(samples, "xdplb_backend_path_errors_total", **third, kind="too_big") == 1
    assert value(samples, "xdplb_backend_path_errors_total", **FIRST, kind="too_big") is None
    ignored = {reason: value(samples, "xdplb_path_errors_ignored_total", reason=reason) for reason in Ignored}
    assert ignored == {"malformed": 1, "not_ours": 0, "implausible": 1}


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Return type and labels of each metric in the table of the docs."""
    page = METRICS_PAGE.read_text(encoding="utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| `(xdplb|process)_", line)]
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for names, kind, labels, *_ in (row if len(row) > 3 else [*row[:2], "", *row[2:]] for row in rows)
        for name in re.findall(r"`(\w+)`", names)
    }


PER_PEER = ("xdplb_peer_up", "xdplb_peer_lag_seconds", "xdplb_peer_gaps_total")


def test_the_docs_have_every_metric_with_its_type_and_labels(api: Api):
    api.ask("PUT", CHECK, {"type": "tcp"})
    api.plane.require(frozenset({Feature.NICS}))
    name = {"name": "www.example.test", "zone": "example.test", "server": "127.0.0.1:1", "key_file": "/none"}
    api.ask("PATCH", "/v1/vips/web", {"passive": "observe", "dns": name})
    api.ask("POST", DRAIN)
    api.ask("PATCH", VIP, {"announce": "always"})
    hear_too_big(api)
    api.manager.answers.notified = lambda: [NotifyView("/etc/xdplb/notify.sh", 1, 0, 0, 0)] * 2
    assert api.client.portal is not None
    api.client.portal.call(api.health.flip, "10.0.0.11", Health.UP)
    end = time.monotonic() + 10
    while not only(scrape(api), "xdplb_backend_draining_flows"):
        assert time.monotonic() < end
        time.sleep(0.05)
    families = re.findall(r"^# TYPE (\w+) (\w+)$", api.ask("GET", "/metrics").text, re.MULTILINE)
    labels = {name: frozenset(name for name, _ in found) for name, found in scrape(api)}

    labels |= dict.fromkeys(PER_PEER, frozenset({"peer", "place"}))  # no sample without peers
    labels["xdplb_config_last_reload_success_timestamp_seconds"] = frozenset()  # no sample without a file
    labels["xdplb_tls_certificate_expiry_timestamp_seconds"] = frozenset()  # no sample without TLS
    labels |= {name: frozenset() for name, _ in families if name.startswith("xdplb_store_")}  # none without a store
    labels |= {name: labels[f"{name}_count"] for name, kind in families if kind == "histogram"}
    assert {name: (kind, labels[name]) for name, kind in families} == documented()
