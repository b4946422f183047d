# SPDX-License-Identifier: Apache-2.0
"""The forms of the log: severities for the journal, JSON, and always one line for one message."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.contract.cli_harness import xdplb
from xdplb.control.events import DriftFound, DriftKind, HealthChanged, PathTrouble
from xdplb.daemon.log_limit import LogLimit
from xdplb.daemon.log_line import JournalFormatter, JsonFormatter, LineFormatter

PROGRAM = """
    import logging, sys
    from xdplb.control.events import *
    from xdplb.daemon.log import LogFormat, log_to_stderr
    log_to_stderr(LogFormat(sys.argv[1]))
    logging.getLogger("asyncio").warning("socket.send() raised exception.")  # a client went away
    events = Events()
    events.say(HealthChanged("web", "10.0.0.1", "down", "refused"))
    events.say(HealthChanged("web", "10.0.0.1", "up", "200"))
    events.say(StateWritable())
    try:
        raise ValueError("a\\nb")
    except ValueError as error:
        events.say(FlowScanFailed("broken"), trace=error)
"""


def logged(path: Path, log_format: str, *, journal: bool) -> list[str]:
    """Return the lines that a process logs to a file that it may take for the journal."""
    with path.open("w", encoding="utf-8") as log:
        found = os.fstat(log.fileno())
        stream = f"{found.st_dev}:{found.st_ino if journal else found.st_ino + 1}"
        subprocess.run(
            [sys.executable, "-c", dedent(PROGRAM), log_format],
            stderr=log,
            check=True,
            timeout=60,
            env={**os.environ, "JOURNAL_STREAM": stream},
        )
    return path.read_text(encoding="utf-8").splitlines()


def test_the_journal_gets_the_severity_of_each_line(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", "text", journal=True)
    assert lines[:3] == [
        "<4>WARNING health: vip=web backend=10.0.0.1 health=down reason='refused'",
        "<5>NOTICE health: vip=web backend=10.0.0.1 health=up reason='200'",
        "<5>NOTICE state writable again",
    ]
    assert len(lines) > 5
    assert all(line.startswith("<3>") for line in lines[3:]), "of a traceback, too"


def test_who_has_only_inherited_the_variable_gets_plain_lines_with_the_time(tmp_path: Path) -> None:
    lines = logged(tmp_path / "log", "text", journal=False)
    assert lines[0][4] == "-"
    assert lines[0].endswith(" WARNING health: vip=web backend=10.0.0.1 health=down reason='refused'")


def test_json_has_the_fields_of_the_event(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in logged(tmp_path / "log", "json", journal=False)]
    assert len(lines) == 4
    assert all(line.pop("time").endswith("Z") for line in lines)
    assert lines[0] == {
        "level": "warning",
        "kind": "health",
        "vip": "web",
        "backend": "10.0.0.1",
        "actor": None,
        "data": {"health": "down", "reason": "refused"},
        "message": "health: vip=web backend=10.0.0.1 health=down reason='refused'",
    }
    assert lines[1]["level"] == "notice"
    assert "ValueError: a\nb" in lines[3]["trace"]


def test_no_field_of_an_event_takes_the_place_of_one_of_all_lines() -> None:
    event = DriftFound(DriftKind.PIN, "the pin of the VIPs", repaired=True, reason="it was deleted")
    about = {"levelno": 30, "levelname": "WARNING", "msg": "%s", "args": (event,), "event": event}
    line = json.loads(JsonFormatter().format(logging.makeLogRecord(about)))
    assert (line["kind"], line["data"]["kind"]) == ("drift", "pin")


def test_a_long_line_stays_one_whatever_is_in_it() -> None:
    line = JsonFormatter().format(logging.makeLogRecord({"levelno": 30, "msg": "\U0001f600" * 100_000}))
    assert len(line) < 48_000
    assert json.loads(line)["message"].startswith("\U0001f600")


UNEXPECTED = """
    import sys, threading, warnings
    from xdplb.daemon.log import LogFormat, log_to_stderr

    class Broken:
        def __del__(self):
            raise KeyError("in a finalizer")

    log_to_stderr(LogFormat("json"))
    warnings.warn("old")
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    Broken()
    raise ValueError("at last")
"""


def test_what_python_prints_of_itself_is_in_the_log_as_all_else_is() -> None:
    told = subprocess.run(
        [sys.executable, "-c", dedent(UNEXPECTED)], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 1
    lines = [json.loads(line) for line in told.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "error", "error", "critical"]
    assert "UserWarning: old" in lines[0]["message"]
    assert lines[1]["message"] == "worker ended by an error that nobody expected: division by zero"
    assert [line["trace"].splitlines()[-1] for line in lines[2:]] == [
        "KeyError: 'in a finalizer'",
        "ValueError: at last",
    ]


def test_a_program_that_reads_the_log_is_told_why_the_daemon_does_not_start(tmp_path: Path) -> None:
    places = [
        "--state-dir",
        str(tmp_path),
        "--pin-dir",
        str(tmp_path / "pins"),
        "--listen",
        f"unix:{tmp_path}/api.sock",
    ]
    told = xdplb("up", "no-such-nic", "--log-format", "json", *places)
    [line] = map(json.loads, told.stderr.splitlines())
    assert told.returncode != 0
    assert (line["level"], "no-such-nic" in line["message"]) == ("error", True)


@pytest.mark.parametrize("formatter", [JsonFormatter(), LineFormatter("%(message)s")])
def test_no_word_from_outside_begins_a_line_or_drives_a_terminal(formatter: logging.Formatter) -> None:
    forged = "x\n<0>forged\x1b[2J\u2028\udcff" + "y" * 100_000
    event = PathTrouble("10.0.0.9", "ipip", forged)
    about = {"name": "x", "levelno": 30, "levelname": "WARNING", "msg": "%s", "args": (event,), "event": event}
    line = JournalFormatter(formatter).format(logging.makeLogRecord(about))
    assert line.startswith("<4>")
    assert line.isprintable()
    assert len(line) < 48_000


def test_a_line_that_sums_up_has_the_kind_of_those_that_were_left_out() -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    handler = Kept()
    limit = LogLimit(handler)
    handler.addFilter(limit)
    for number in range(3):
        event = HealthChanged("web", f"10.0.0.{number}", "down", "refused")
        about = {"levelno": 30, "levelname": "WARNING", "msg": str(event), "event": event, "kind": "health", "lines": 1}
        handler.handle(logging.makeLogRecord(about))
    limit.flush()
    last = json.loads(lines[-1])
    assert len(lines) == 2
    assert (last["kind"], last["backend"]) == ("health", "10.0.0.2")
    assert last["message"].endswith("… and 1 more of this kind in 10 s")
