# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus and a real Alertmanager beside a balancer: each panel has data, and a backend that dies calls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import until
from xdplb.net.lab import ADDRESSES

from .balancer import CHECK, KEY, Balancer
from .conftest import new_lab

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
BOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", ())]
HOOK = """
import http.server, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as file:
            file.write(body.strip() + b"\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9099), Hook).serve_forever()
"""

ALWAYS = {
    *("xdplb_start_time_seconds", "xdplb_vip_transitions_total", "xdplb_backend_transitions_total"),
    *("xdplb_vip_failing_open", "xdplb_config_last_reload_ok", "xdplb_changes_waiting"),
    *("xdplb_health_check_latency_seconds_bucket", "xdplb_health_check_duration_seconds"),
    *("xdplb_map_update_seconds_bucket", "xdplb_events_dropped_total", "xdplb_packets_total"),
}
"""What is looked at first when something is wrong: these have samples whenever a VIP is checked."""

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
    reason="needs Debian's prometheus and prometheus-alertmanager",
)


class Watched:
    """A balancer with Prometheus, Alertmanager and a webhook in its own network namespace."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer, self.folder = balancer, balancer.lab.folder
        self.calls = self.folder / "calls"
        for name, old, new in (
            ("xdplb.rules.yml", r"for: \w+", "for: 0s"),
            ("alertmanager.yml", r"group_wait: \w+", "group_wait: 0s"),
            ("scrape.yml", r"_interval: 15s", "_interval: 1s"),
        ):
            text = re.sub(old, new, (FOLDER / name).read_text(encoding="utf-8"))
            text = text.replace('"10.0.0.2:9780", "10.0.0.3:9780"', '"127.0.0.1:9780"')
            text = text.replace("group_interval: 1m", "group_interval: 1s")
            (self.folder / name).write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start all three, and wait until Prometheus answers."""
        data = self.folder / "prometheus"
        self._run(sys.executable, "-c", HOOK, str(self.calls))
        self._run(
            "prometheus-alertmanager",
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alertmanager'}",
            *("--web.listen-address=127.0.0.1:9093", "--cluster.listen-address="),
        )
        self._run(
            "prometheus",
            f"--config.file={self.folder / 'scrape.yml'}",
            f"--storage.tsdb.path={data}",
            "--web.listen-address=127.0.0.1:9090",
        )
        until(lambda: bool(self.query('up{job="xdplb"} == 1')), 30)

    def scrape(self) -> str:
        """Return all metrics."""
        return self.balancer.lab.run("balancer", ["curl", "-sf", "http://127.0.0.1:9780/metrics"]).stdout

    def _run(self, *argv: str) -> None:
        with (self.folder / "monitoring.log").open("a") as log:
            self.balancer.lab.popen("balancer", argv, stdout=log, stderr=subprocess.STDOUT)

    def query(self, expression: str) -> list[Any]:
        """Return the series of an instant query."""
        url = f"http://127.0.0.1:9090/api/v1/query?query={quote(expression)}"
        told = self.balancer.lab.run("balancer", ["curl", "-sf", url], check=False)
        if told.returncode:
            return []
        answer = json.loads(told.stdout)
        assert answer["status"] == "success", (expression, answer)
        series: list[Any] = answer["data"]["result"]
        return series

    def called_about(self, alert: str, status: str) -> bool:
        """Return whether the webhook was called about this."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        alerts = [each for line in lines for each in json.loads(line)["alerts"]]
        return any((each["labels"]["alertname"], each["status"]) == (alert, status) for each in alerts)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with new_lab() as lab:
        balancer = Balancer(lab)
        balancer.prepare("dr1", "dr2")
        balancer.start("--metrics-listen", "127.0.0.1:9780", "--count-by-nic")
        balancer.add("dr1", "dr2", vip_options=CHECK)
        found = Watched(balancer)
        found.start()
        yield found


def test_each_panel_has_series(watched: Watched) -> None:
    assert len(QUERIES) > 25
    missing = [_filled(query) for query in QUERIES]

    def all_there() -> bool:
        watched.balancer.get(5)
        missing[:] = [query for query in missing if not watched.query(query)]
        return not missing

    try:
        until(all_there, 40)
    except AssertionError:
        raise AssertionError(missing) from None
    until(lambda: bool(watched.query("vip:xdplb_packets:rate1m")), 40)
    assert any(float(each["value"][1]) > 0 for each in watched.query("rate(xdplb_vip_packets_total[10s])"))


def test_what_files_and_people_ask_for_is_in_a_real_scrape(watched: Watched) -> None:
    text = watched.scrape()
    told = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    for file in ("xdplb.rules.yml", "grafana.json", "runbook.md"):
        named = set(re.findall(r"(?<![:\w])xdplb_\w+", (FOLDER / file).read_text(encoding="utf-8")))
        assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= families, file
    with_samples = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    assert with_samples >= ALWAYS


def test_each_packet_is_counted_for_its_nic(watched: Watched) -> None:
    """What became of packets by NIC is what they were counted for, in all."""
    watched.balancer.get(20)

    def counted() -> tuple[dict[str, float], dict[str, float]]:
        sums: dict[str, float] = defaultdict(float)
        actions: dict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(watched.scrape()):
            for sample in family.samples:
                sums[sample.name] += sample.value
                if sample.name == "xdplb_packets_total":
                    assert sample.labels["iface"] == "eth0"
                    actions[sample.labels["action"]] += sample.value
        names = {"pass": "passes", "drop": "drops"}
        expected = {action: sums[f"xdplb_{name}_total"] for action, name in names.items()}
        expected["tx"] = sums["xdplb_vip_packets_total"] + sums["xdplb_answers_total"]
        return dict(actions), {**expected, "redirect": 0, "aborted": 0}

    def equal() -> bool:  # packets come while the maps are read, one after the other
        actions, expected = counted()
        return actions == expected and actions["tx"] > 40

    until(equal, 40)


def test_a_backend_that_dies_calls_the_webhook_and_again_when_it_is_back(watched: Watched) -> None:
    watched.balancer.kill_service("dr1")
    until(lambda: watched.called_about("XdplbBackendDown", "firing"), 40)
    (call, *_) = [
        each
        for line in watched.calls.read_text().splitlines()
        for each in json.loads(line)["alerts"]
        if each["labels"]["alertname"] == "XdplbBackendDown"
    ]
    assert (call["labels"]["vip"], call["labels"]["backend"]) == (KEY, str(ADDRESSES["dr1"]))
    assert call["annotations"]["runbook_url"] == "runbook.md#xdplbbackenddown"
    watched.balancer.serve("dr1")
    until(lambda: watched.called_about("XdplbBackendDown", "resolved"), 40)


def _filled(query: str) -> str:
    for name, value in (("$instance", ".*"), ("$vip", ".*"), ("$__rate_interval", "10s"), ("[5m]", "[10s]")):
        query = query.replace(name, value)
    return query
