# SPDX-License-Identifier: Apache-2.0
"""exec checks: commands of this host, run as another user by a process of their own."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stopwatch import Stopwatch
from xdplb.control.health.alarms import Alarms
from xdplb.control.health.commands import MOST_COMMANDS, Commands
from xdplb.control.health.prober import Sockets
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.result import AgentWord, ProbeResult
from xdplb.control.plan.sources import ANY_SOURCE
from xdplb.daemon.commands import command_runner
from xdplb.model.health import CheckType, HealthCheck

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as another user")
NOBODY = pwd.getpwnam("nobody")
MARK = f"31.{os.getpid():07}"
"""What the commands of this process are told from others by: for how many seconds they sleep."""


def script(*lines: str, seconds: float = 20.0) -> HealthCheck:
    """Return a check that has sh run these lines."""
    command = ("/bin/sh", "-c", "\n".join(lines), "sh", "{address}", "{port}")
    return HealthCheck(type=CheckType.EXEC, command=command, timeout_seconds=seconds)


Probe = Callable[[HealthCheck], Awaitable[ProbeResult]]


def run(work: Callable[[Probe], Awaitable[None]], *, wanted: bool = True) -> None:
    """Run this with a function that probes once."""

    async def scenario(commands: Commands | None) -> None:
        prober, loop = Sockets(100, commands), asyncio.get_running_loop()

        def fail(_: object, error: Exception) -> None:
            raise error

        prober.start(Alarms(lambda error: fail(None, error)), fail)

        async def probe(check: HealthCheck) -> ProbeResult:
            found: asyncio.Future[ProbeResult] = loop.create_future()
            prober.begin(Aim(check, "192.0.2.7", 8080), ANY_SOURCE, found.set_result)
            return await found

        await work(probe)
        prober.stop()

    with command_runner(wanted=wanted) as commands:
        asyncio.run(scenario(commands))


def found(check: HealthCheck) -> ProbeResult:
    results: list[ProbeResult] = []

    async def work(probe: Probe) -> None:
        results.append(await probe(check))

    run(work)
    return results[0]


@pytest.mark.parametrize(
    ("line", "passed", "weight", "reason"),
    [
        ("exit 0", True, None, "exit code 0"),
        ("echo; echo replication runs; exit 0", True, None, "exit code 0: 'replication runs'"),
        ("echo gone >&2; exit 1", False, None, "exit code 1: 'gone'"),
        ("exit 2", True, 0, "exit code 2, which is weight 0"),
        ("exit 52", True, 50, "exit code 52, which is weight 50"),
        ("exit 255", True, 253, "exit code 255, which is weight 253"),
        ("kill -SEGV $$", False, None, "killed by SIGSEGV"),
        ("printf '\\033[2J\\377'; exit 1", False, None, "exit code 1: '\\x1b[2J\\\\xff'"),
        ('echo "$1 $2 $XDPLB_ADDRESS $XDPLB_PORT"', True, None, "exit code 0: '192.0.2.7 8080 192.0.2.7 8080'"),
    ],
)
def test_the_exit_code_is_the_result(line: str, passed: bool, weight: int | None, reason: str) -> None:
    result = found(script(line))
    assert (result.passed, result.reason) == (passed, reason)
    assert result.said == (None if weight is None else AgentWord(weight=weight))


def test_it_runs_as_its_user_without_privileges_files_or_a_shell() -> None:
    told = found(script("echo $(id -un) $(id -gn) $(pwd) $(grep -c 'CapEff:.*0000000000000000' /proc/self/status)"))
    assert told.reason == f"exit code 0: 'nobody {NOBODY_GROUP} / 1'"
    assert "NoNewPrivs:\\t1" in found(script("grep NoNewPrivs /proc/self/status")).reason
    assert found(script("ls /proc/self/fd | tr '\\n' ' '")).reason == "exit code 0: '0 1 2 3'"
    shown = replace(script(), command=("/bin/echo", "$(id)", "a b", "*"))
    assert found(shown).reason == "exit code 0: '$(id) a b *'"


NOBODY_GROUP = "nogroup"


def test_what_cannot_be_run_says_nothing_about_the_backend(tmp_path: Path) -> None:
    for check, words in (
        (replace(script(), command=("/no/such",)), "there is no /no/such on this host"),
        (replace(script(), command=("/etc/passwd",)), "may not run /etc/passwd"),
        (replace(script("exit 0"), user="nosuchuser"), "there is no user nosuchuser on this host"),
    ):
        result = found(check)
        assert result.passed is None
        assert words in result.reason


def test_without_the_option_it_is_refused_with_the_remedy() -> None:
    async def work(probe: Probe) -> None:
        result = await probe(script("exit 0"))
        assert (result.passed, "xdplb up --exec-checks" in result.reason) == (None, True)

    run(work, wanted=False)


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Path]:
    folder = Path(f"/tmp/xdplb-exec-{os.getpid()}")
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    yield folder
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    "line",
    [
        f"sleep {MARK}",
        f"trap '' TERM; sleep {MARK}; sleep {MARK}",
        f"sleep {MARK} & sleep {MARK}",
        f"setsid sleep {MARK} & sleep {MARK}",
        f"exec yes {MARK}",
    ],
    ids=["sleeps", "ignores SIGTERM", "forks", "leaves the session", "prints without end"],
)
def test_at_the_timeout_all_of_it_is_killed(line: str, marks: Path) -> None:
    async def work(probe: Probe) -> None:
        watch = Stopwatch()
        result = await probe(script(f"echo $$ > {marks}/pid", line, seconds=0.3))
        assert (result.passed, result.reason) == (False, "the command did not end in 0.3 s, and was killed")
        assert watch.unhindered < 0.8
        await until(lambda: not _sleepers())

    run(work)


async def until(true: Callable[[], object]) -> None:
    """Wait until it is so, however long a busy machine takes, but not as long as the commands would run."""
    watch = Stopwatch()
    while not true():
        assert watch.unhindered < 15, _sleepers()
        await asyncio.sleep(0.02)


def _sleepers() -> list[str]:
    """Return what runs as nobody on this host and looks like what these tests run."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == NOBODY.pw_uid:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                left += [line] if line in {f"sleep {MARK}", f"yes {MARK}"} else []
        except OSError:
            continue
    return left


def test_what_a_command_leaves_in_the_background_ends_with_it() -> None:
    async def work(probe: Probe) -> None:
        assert (
            await probe(script(f"sleep {MARK} >/dev/null 2>&1 &", f"setsid sleep {MARK} >/dev/null 2>&1 &", "exit 0"))
        ).passed
        await until(lambda: not _sleepers())

    run(work)


def test_no_more_than_some_run_at_once_and_those_that_wait_in_vain_say_nothing(marks: Path) -> None:
    async def work(probe: Probe) -> None:
        slow = script(f"echo > {marks}/$$; until [ -e {marks}/go ]; do sleep 0.1; done", seconds=60)
        running = [asyncio.ensure_future(probe(slow)) for _ in range(MOST_COMMANDS)]
        await until(lambda: len(list(marks.iterdir())) == MOST_COMMANDS)
        result = await probe(script("exit 0", seconds=0.2))
        assert (result.passed, "as many commands run already" in result.reason) == (None, True)
        (marks / "go").touch()
        assert all(each.passed for each in await asyncio.gather(*running))
        assert (await probe(script("exit 0"))).passed

    run(work)


def test_commands_end_with_the_daemon() -> None:
    async def work(probe: Probe) -> None:
        running = asyncio.ensure_future(probe(script(f"sleep {MARK}", seconds=60)))
        await until(_sleepers)
        assert not running.done()

    run(work)
    asyncio.run(until(lambda: not _sleepers()))
