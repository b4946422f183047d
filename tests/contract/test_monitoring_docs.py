# SPDX-License-Identifier: Apache-2.0
"""What is ready-made for Prometheus, Alertmanager and Grafana: it is valid, and speaks of what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.test_metrics import documented

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RULES = (FOLDER / "xdplb.rules.yml").read_text(encoding="utf-8")
RUNBOOK = (FOLDER / "runbook.md").read_text(encoding="utf-8")
ALERTS = re.findall(r"- alert: (\w+)", RULES)

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("amtool") is None,
    reason="promtool and amtool are in Debian's prometheus and prometheus-alertmanager",
)


@needs_prometheus
@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "test", "rules", "xdplb.tests.yml"],
        ["promtool", "check", "config", "scrape.yml"],
        ["amtool", "check-config", "alertmanager.yml"],
    ],
    ids=lambda command: command[-1],
)
def test_the_tools_take_the_files(command: list[str]) -> None:
    told = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_each_alert_is_tried_and_has_its_paragraph_with_a_command() -> None:
    tried = (FOLDER / "xdplb.tests.yml").read_text(encoding="utf-8")
    assert len(ALERTS) == len(set(ALERTS)) > 25
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == ALERTS
    links = re.findall(r"runbook_url: runbook\.md#(\w+)$", RULES, re.MULTILINE)
    assert links == [name.lower() for name in ALERTS]
    for name, paragraph in zip(ALERTS, re.split(r"^## \w+$", RUNBOOK, flags=re.MULTILINE)[1:], strict=True):
        assert f"name: {name} fires" in tried
        assert re.search(r"`\w+\s[^`]+`", paragraph), f"{name}: no command"


@pytest.mark.parametrize("file", ["xdplb.rules.yml", "grafana.json", "runbook.md", "xdplb.tests.yml"])
def test_each_metric_is_there(file: str) -> None:
    text = (FOLDER / file).read_text(encoding="utf-8")
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"(?<![:\w])xdplb_\w+", text)}
    assert named
    assert named <= documented().keys()


def test_the_dashboard_has_what_grafana_asks_for() -> None:
    board = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert board["schemaVersion"] >= 36
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, rows = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken
        taken |= cells
        if panel["type"] != "row":
            assert all(target["expr"] and target["refId"] for target in panel["targets"]), panel["title"]
