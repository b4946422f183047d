# SPDX-License-Identifier: Apache-2.0
"""The log: one kind of line cannot fill it, and what was left out is counted."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from io import StringIO
from textwrap import dedent

from xdplb.control.events import ChangeMade, CheckBroke, ChecksNotRun, Event, HealthChanged
from xdplb.daemon.log_limit import DEFAULT_LINES, LogLimit


def logged_by(program: str) -> list[str]:
    """Return the lines of the log of a process that runs this."""
    begin = """
        import asyncio, logging
        from xdplb.control.events import *
        from xdplb.daemon.log import log_to_stderr
        log_to_stderr()
    """
    line = [sys.executable, "-c", dedent(begin) + dedent(program)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_errors_of_the_event_loop_are_limited_with_their_tracebacks() -> None:
    """As when the API cannot accept a connection since no file descriptor is left: that was 213 MB in 45 s."""
    lines = logged_by(
        """
        loop = asyncio.new_event_loop()
        for number in range(100_000):
            try:
                raise OSError(24, "Too many open files")
            except OSError as error:
                about = {"message": f"socket.accept() {number}", "exception": error, "socket": number}
                loop.call_exception_handler(about)
        """
    )
    assert len(lines) < DEFAULT_LINES * 10
    assert sum("OSError: [Errno 24]" in line for line in lines) == DEFAULT_LINES
    assert sum("socket.accept() 0" in line for line in lines) == 1
    assert sum("socket.accept() 99999" in line for line in lines) == 1, "the last is named"
    assert lines[-1].endswith(f"… and {100_000 - DEFAULT_LINES - 1} more of this kind in 10 s")


def test_each_kind_of_event_has_its_own_limit() -> None:
    lines = logged_by(
        """
        events = Events()
        for number in range(1500):
            events.say(HealthChanged(f"203.0.113.10:{number}/tcp", "10.0.0.1", "down", "connection refused"))
            events.say(DriftFound(DriftKind.NIC, "eth0", False, f"reason {number}"))
        events.say(ChecksNotRun("no file"))
        """
    )
    assert sum(" health: vip=" in line for line in lines) == 1500, "flips are written"
    lost = [line for line in lines if " drift: " in line]
    assert [f"'reason {number}'" in line for number, line in enumerate(lost[:-1])] == [True] * DEFAULT_LINES
    assert lost[-1].endswith(f"reason='reason 1499' … and {1500 - DEFAULT_LINES - 1} more of this kind in 10 s")
    assert any("health checks cannot be run: reason='no file'" in line for line in lines)


def test_what_a_person_asks_about_later_has_generous_limits() -> None:
    assert min(HealthChanged.LINES, ChangeMade.LINES) >= 1000
    assert Event.LINES == CheckBroke.LINES == ChecksNotRun.LINES == DEFAULT_LINES


def logger_of(handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(f"test of {id(handler)}")
    logger.propagate = False
    logger.addHandler(handler)
    return logger


def test_when_the_period_is_over_the_number_comes_without_another_line() -> None:
    out = StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(LogLimit(handler, period_seconds=0.3))
    logger = logger_of(handler)

    def flood() -> None:
        for number in range(60):
            logger.warning("line %d", number)

    flood()
    assert out.getvalue().count("\n") == DEFAULT_LINES
    time.sleep(0.6)
    assert out.getvalue().splitlines()[DEFAULT_LINES:] == ["line 59 … and 9 more of this kind in 0.3 s"]
    flood()
    assert out.getvalue().count("\n") == 2 * DEFAULT_LINES + 1, "a new period has its own lines"
    time.sleep(0.6)
    logger.warning("another")
    assert out.getvalue().count("\n") == 2 * DEFAULT_LINES + 3


def test_without_a_timer_the_next_line_brings_the_number() -> None:
    now, out = [0.0], StringIO()
    handler = logging.StreamHandler(out)
    limit = LogLimit(handler, clock=lambda: now[0])
    handler.addFilter(limit)
    logger = logger_of(handler)
    for number in range(55):
        logger.log(30, "line %d", number)
        now[0] += 10.1 if number == 53 else 0
    assert out.getvalue().splitlines()[-2:] == ["line 53 … and 3 more of this kind in 10 s", "line 54"]


def test_a_log_that_nobody_reads_holds_nothing_up() -> None:
    """As with a terminal that is paused, or a journal that hangs: the pipe is full after a while."""
    program = """
        import logging, sys, time
        from xdplb.daemon.log import log_beside, log_to_stderr
        log_to_stderr()
        logging.info("first")
        with log_beside():
            began = time.monotonic()
            for number in range(30_000):
                logging.getLogger().handle(logging.makeLogRecord(
                    {"levelno": 30, "levelname": "WARNING", "msg": f"line {number} {'x' * 100}", "kind": number}))
            print(time.monotonic() - began, flush=True)
            sys.stdin.readline()
        logging.info("last")
    """
    line = [sys.executable, "-c", dedent(program)]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert float(process.stdout.readline()) < 20
        _, written = process.communicate("\n", timeout=60)
    lines = written.splitlines()
    assert "first" in lines[0]
    assert "last" in lines[-1]
    missing = [int(line.split()[3]) for line in lines if "lines are missing here: nobody read the log" in line]
    assert missing
    assert sum(missing) + sum(" line " in line for line in lines) == 30_000
