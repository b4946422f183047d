# SPDX-License-Identifier: Apache-2.0
"""Waiting for a drain."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.scripted_daemon import Script

BACKEND = "/v1/vips/web/backends/10.0.0.1"


def draining(state: str | None, flows: int | None = None) -> dict[str, object]:
    drain = None if state is None else {"state": state, "flows": flows}
    return {"address": "10.0.0.1", "status": {"drain": drain}}


def answer(body: object):
    return 200, {}, json.dumps(body).encode()


def drain(script: Script, *options: str) -> subprocess.CompletedProcess[str]:
    script.on("POST", f"{BACKEND}/drain", draining("draining"), status=202)
    return script.run("backend", "drain", "web", "10.0.0.1", *options)


def test_without_wait_it_returns_at_once(script: Script):
    told = drain(script, "--timeout", "5m", "--quiet", "1s")
    assert told.returncode == 0
    assert script.requests == [("POST", f"{BACKEND}/drain", {"timeout_seconds": 300.0, "quiet_seconds": 1.0})]


def test_it_returns_when_none_is_left(script: Script):
    script.on("GET", BACKEND, draining("draining"), draining("draining", 2), draining("drained", 0))
    told = drain(script, "--wait")
    assert told.returncode == 0
    assert told.stderr == "backend 10.0.0.1 of web is drained: no connection is left\n"


def test_the_last_answer_is_the_output_for_programs(script: Script):
    script.on("GET", BACKEND, draining("draining", 1), draining("drained", 0))
    told = drain(script, "--wait", "-o", "json")
    assert json.loads(told.stdout) == draining("drained", 0)


def test_the_timeout_says_how_many_are_left(script: Script):
    script.on("GET", BACKEND, draining("draining", 3))
    told = drain(script, "--wait", "--timeout", "300ms")
    assert told.returncode == 5
    assert "10.0.0.1 of web is not drained after 300ms: 3 connections left" in told.stderr
    assert "no connection was cut" in told.stderr


def test_none_left_after_the_daemons_own_deadline_is_drained(script: Script):
    script.on("GET", BACKEND, draining("timed_out", 1), draining("timed_out", 0))
    assert drain(script, "--wait", "--timeout", "20s").returncode == 0


def test_a_daemon_that_restarts_meanwhile_is_waited_for(script: Script):
    script.raw("GET", BACKEND, answer(draining("draining", 1)), None, None, answer(draining("drained", 0)))
    assert drain(script, "--wait").returncode == 0


def test_a_daemon_that_stays_away_ends_in_the_timeout(script: Script):
    script.raw("GET", BACKEND, None)
    told = drain(script, "--wait", "--timeout", "300ms")
    assert told.returncode == 5
    assert "the daemon does not answer" in told.stderr


def test_a_drain_called_off_is_a_conflict(script: Script):
    script.on("GET", BACKEND, draining("draining", 1), draining(None))
    told = drain(script, "--wait")
    assert told.returncode == 4
    assert "was cancelled" in told.stderr


def interrupted(script: Script, *where: str) -> str:
    """Return what a waiting drain says when somebody presses Ctrl-C."""
    command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(script.socket)]
    command += ["backend", "drain", *where, "--wait"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        deadline = time.monotonic() + 20
        while len(script.requests) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=20)
    assert waiting.returncode == 130
    return told


def test_an_interrupt_leaves_the_drain_going_and_says_so(script: Script):
    script.on("POST", f"{BACKEND}/drain", draining("draining"), status=202)
    script.on("GET", BACKEND, draining("draining", 1))
    told = interrupted(script, "web", "10.0.0.1")
    assert "the drain of 10.0.0.1 continues" in told
    assert "xdplb backend undrain web 10.0.0.1" in told
    assert "DELETE" not in {method for method, _, _ in script.requests}
    assert "Traceback" not in told


CERTIFICATE = {
    "outcome": "cut", "started": "2030-01-02T03:04:05Z", "until": "2030-01-02T03:09:05Z", "seconds": 300.0,
    "known_by": "records_since", "seen": 9, "ended": 6, "handed_over": 0, "cut": 2, "broken": 1, "lost": 0, "left": 0,
    "ended_by": {"closed": 4, "reset": 2, "idle": 0, "unanswered": 0, "redialled": 0},
    "silent_at_most": 3, "why": "a sentence", "last_packet": None, "restarts": 0,
}  # fmt: skip


def with_certificate(state: str, flows: int) -> dict[str, object]:
    told = draining(state, flows)
    told["status"] = {**told["status"], "certificate": CERTIFICATE}  # type: ignore[dict-item]
    return told


def test_a_drain_that_cuts_is_waited_for_beyond_its_deadline_and_its_certificate_is_printed(script: Script):
    script.on("GET", BACKEND, with_certificate("draining", 2), with_certificate("cut", 0))
    told = drain(script, "--wait", "--timeout", "100ms", "--cut-at-deadline")
    assert told.returncode == 0
    assert told.stderr == "backend 10.0.0.1 of web is cut off: it gets no packets any more\n"
    lines = [" ".join(line.split()) for line in told.stdout.splitlines()]
    for line in (
        "outcome cut", "took 5m", "seen at the start 9", "ended by themselves 6 (4 closed, 2 reset)", "cut 2",
        "broken 1", "silent, not seen at most 3: a sentence",
    ):  # fmt: skip
        assert line in lines
    assert script.requests[0][2] == {"timeout_seconds": 0.1, "quiet_seconds": 0.1, "cut_at_deadline": True}


def test_what_came_of_it_is_printed_at_the_timeout_too(script: Script):
    script.on("GET", BACKEND, with_certificate("timed_out", 1))
    told = drain(script, "--wait", "--timeout", "100ms")
    assert told.returncode == 5
    assert "seen at the start    9" in told.stdout
    assert "not drained" in told.stderr
    assert "is drained: no" not in told.stderr


ALL = "/v1/backends"


def of_vips(**states: str | None) -> dict[str, object]:
    told = []
    for vip, state in states.items():
        drain = None if state is None else {"state": state, "flows": 0 if state != "draining" else 1}
        status = {"drain": drain, "certificate": {**CERTIFICATE, "outcome": state}}
        told.append({"vip": vip, "address": "10.0.0.1", "admin_state": "drain" if state else "ready", "status": status})
    return {"backends": [*told, {"vip": "other", "address": "10.0.0.2", "admin_state": "ready", "status": {}}]}


def changed(script: Script) -> object:
    return next(body for method, path, body in script.requests if (method, path) == ("POST", "/v1/changes"))


def test_a_host_is_drained_in_all_its_vips_in_one_step(script: Script):
    script.on("POST", "/v1/changes", {"generation": 4, "changes": [], "warnings": []})
    script.on("GET", ALL, of_vips(a=None, b=None), of_vips(a="draining", b="drained"), of_vips(a="cut", b="drained"))
    told = script.run("backend", "drain", "--all-vips", "10.0.0.1", "--wait", "--timeout", "20s", "--quiet", "1s")
    assert told.returncode == 0, told.stderr
    edit = {"kind": "drain_backend", "address": "10.0.0.1", "timeout_seconds": 20.0, "quiet_seconds": 1.0}
    assert changed(script) == {"edits": [{**edit, "vip": "a"}, {**edit, "vip": "b"}]}
    assert "of 2 VIPs is drained: no connection is left, but in 1 of them it is cut off" in told.stderr
    assert [line.split()[:3] for line in told.stdout.splitlines()[1:]] == [["a", "cut", "5m"], ["b", "drained", "5m"]]


def test_a_host_that_is_not_drained_in_time_or_called_off_is_told(script: Script):
    script.on("POST", "/v1/changes", {"generation": 4, "changes": [], "warnings": []})
    script.on("GET", ALL, of_vips(a="draining", b="drained"))
    late = script.run("backend", "drain", "--all-vips", "10.0.0.1", "--wait", "--timeout", "100ms")
    assert late.returncode == 5
    assert "connections are left in 1 of them" in late.stderr
    script.on("GET", ALL, of_vips(a="draining", b="draining"), of_vips(a="draining", b=None))
    off = script.run("backend", "drain", "--all-vips", "10.0.0.1", "--wait")
    assert off.returncode == 4
    assert "in b was cancelled" in off.stderr


def test_an_interrupt_leaves_all_drains_of_a_host_going_and_says_so(script: Script):
    script.on("POST", "/v1/changes", {"generation": 4, "changes": [], "warnings": []})
    script.on("GET", ALL, of_vips(a="draining"))
    told = interrupted(script, "--all-vips", "10.0.0.1")
    assert "the drains of 10.0.0.1 continue; cancel them with: xdplb backend undrain --all-vips 10.0.0.1" in told
    assert "Traceback" not in told


def test_a_host_is_undrained_where_it_drains(script: Script):
    script.on("POST", "/v1/changes", {"generation": 4, "changes": [], "warnings": []})
    script.on("GET", ALL, of_vips(a="drained", b=None))
    told = script.run("backend", "undrain", "--all-vips", "10.0.0.1")
    assert (told.returncode, told.stderr) == (0, "backend 10.0.0.1 of 1 VIP is no longer draining\n")
    assert changed(script) == {"edits": [{"kind": "undrain_backend", "vip": "a", "address": "10.0.0.1"}]}


def test_one_vip_or_all_of_them(script: Script):
    for arguments in (["web", "10.0.0.1", "--all-vips"], ["10.0.0.1"], []):
        assert script.run("backend", "drain", *arguments).returncode == 2
    script.on("GET", ALL, of_vips())
    nobody = script.run("backend", "drain", "--all-vips", "10.0.0.9")
    assert nobody.returncode == 1
    assert "no VIP has the backend 10.0.0.9" in nobody.stderr
