# SPDX-License-Identifier: Apache-2.0
"""What commands print that need real packets or change a host: it fits 80 columns, and is JSON with -o json.

The others are in tests/contract/test_cli_output.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xdplb.net.lab import ADDRESSES

from .balancer import KEY, XDPLB, Balancer

CLIENT = f"{ADDRESSES['client']}:41000"


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def narrow(text: str) -> None:
    """Assert that it fits; but for what a dry run would change, which is a line a change."""
    wide = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("would change: ")]
    assert wide == []


def both(told: subprocess.CompletedProcess[str], as_json: subprocess.CompletedProcess[str]) -> Any:
    """Check what the same command printed for people and for programs, and return the latter."""
    assert told.returncode == as_json.returncode
    narrow(told.stdout)
    return json.loads(as_json.stdout)


@pytest.mark.parametrize(
    "words", [["explain", CLIENT, KEY], ["health", "probe", KEY], ["health", "probe", KEY, str(ADDRESSES["ipip1"])]]
)
def test_what_asks_the_data_plane(ready: Balancer, words: Sequence[str]) -> None:
    ready.add("dr1", "ipip1", vip_options=("--check", "http", "--check-path", "/health", "--check-port", "80"))
    assert both(ready.cli(*words, check=False), ready.cli(*words, "-o", "json", check=False))


def test_a_capture_says_what_it_wrote(ready: Balancer, tmp_path: Path) -> None:
    ready.add("dr1")
    for number, output in enumerate(("table", "json")):
        file = tmp_path / f"{number}.pcapng"
        command = [
            XDPLB,
            "--socket",
            str(ready.socket),
            "capture",
            KEY,
            "-w",
            str(file),
            "--packets",
            "3",
            "-o",
            output,
        ]
        with ready.lab.popen(ready.host, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as capture:
            while capture.poll() is None:
                ready.get(1)
            out, _ = capture.communicate()
        assert capture.returncode == 0
        if output == "table":
            narrow(out)
    assert json.loads(out)["file"] == str(file)


def test_what_prepares_a_backend_s_host(shared: Balancer, tmp_path: Path) -> None:
    places = ["--state-dir", str(tmp_path), "--pin-dir", str(shared.lab.home.bpffs / "dr1-output")]
    run = shared.lab.run

    def walk(*words: str) -> Any:
        command = [XDPLB, "backend-host", *words, *places]
        return both(run("dr1", command, check=False), run("dr1", [*command, "-o", "json"], check=False))

    options = ["203.0.113.99", "--forward", "dr", "--interface", "eth0"]
    assert walk("setup", *options, "--dry-run")["would_change"]
    assert walk("show", *options)
    try:
        narrow(run("dr1", [XDPLB, "backend-host", "setup", *options, *places]).stdout)
        assert not walk("setup", *options, "--dry-run")["would_change"]
        assert walk("show", *options)
        assert walk("undo", options[0], "--dry-run")["would_change"]
    finally:
        narrow(run("dr1", [XDPLB, "backend-host", "undo", options[0], *places]).stdout)


def test_what_attaches_and_detaches(shared: Balancer) -> None:
    pins = str(shared.lab.home.bpffs / "side-output")
    run = shared.lab.run
    for verb in ("up", "down"):
        command = [XDPLB, "decap", verb, "eth0", "--pin-dir", pins, "--dry-run"]
        both(run("side", command, check=False), run("side", [*command, "-o", "json"], check=False))
    command = [XDPLB, "down", "--all", "--pin-dir", str(shared.lab.pin_dir), "--dry-run"]
    assert "would_change" in both(
        run(shared.host, command, check=False), run(shared.host, [*command, "-o", "json"], check=False)
    )
