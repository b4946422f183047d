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

from xdplb.control.events import HealthChanged, PathTrouble
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
        "health": "down",
        "reason": "refused",
        "message": "health: vip=web backend=10.0.0.1 health=down reason='refused'",
    }
    assert lines[1]["level"] == "notice"
    assert "ValueError: a\nb" in lines[3]["trace"]


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
