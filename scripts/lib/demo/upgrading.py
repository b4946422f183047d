# SPDX-License-Identifier: Apache-2.0
"""The step in which newer versions are started: a good one, and two with a mistake, of which one shows only later."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from xdplb.net.lab import ADDRESSES

from .claims import expect_none_failed
from .screen import Screen
from .traffic import Traffic, failures
from .world import DemoError, World, wait_for

__all__ = ["upgrade"]

PER_SECOND = 100
WAIT_SECONDS = 180
NOTICE_SECONDS = 10
"""A fault is noticed within three; the rest is for a busy machine."""
TREE = Path(__file__).parents[3]
BEFORE = "static __always_inline enum reason choose("
DROP_TCP = "if (packet->protocol == IPPROTO_TCP)\n\t\treturn DROP_NO_BACKEND;"
DROP_THE_CLIENT = "if (packet->source[0] == {client}U && packet->plain_length == 74)\n\t\treturn DROP_NO_BACKEND;"
"""A SYN of Linux, with its options, is 74 bytes long."""


def upgrade(world: World, screen: Screen) -> None:
    """Start three newer versions, one after the other, while requests run."""
    _good(world, screen)
    _broken(world, screen)
    _broken_later(world, screen)


def _good(world: World, screen: Screen) -> None:
    screen.step("Upgrade to a version with another program, under traffic")
    before = world.attachment()["program_id"]
    with Traffic(world.spawn_in_client, world.url, per_second=PER_SECOND) as traffic:
        began = time.monotonic()
        world.stop_daemon()
        world.start_daemon(_version(world, "newer", "/* newer */"))
        screen.expect(world.daemon_is_ready(WAIT_SECONDS), "the newer version is ready", world.daemon_said())
        screen.expect(_logged(world, "new program kept"), "its program was tried, swapped in, watched and kept")
        for line in world.daemon_log():
            if "compared the new program" in line:
                screen.say(f"        {line}")
        requests = traffic.since(began)
        expect_none_failed(screen, requests, f"none of {len(requests)} requests failed")
    screen.expect(world.attachment()["program_id"] != before, "the NIC has another program")


def _broken(world: World, screen: Screen) -> None:
    screen.step("A version whose program is broken: it drops all TCP")
    before = world.attachment()["program_id"]
    with Traffic(world.spawn_in_client, world.url, per_second=PER_SECOND) as traffic:
        began = time.monotonic()
        world.stop_daemon()
        lines = len(world.daemon_log())
        world.start_daemon(_version(world, "broken", DROP_TCP))
        status = world.daemon_ended(WAIT_SECONDS)
        screen.expect(status == 4, "it is refused", f"exit code {status}: {world.daemon_said()}")
        said = [line for line in world.daemon_log()[lines:] if "differs" in line or line.startswith("hint")]
        for line in (*said[:2], *said[-2:]):
            screen.say(f"        {line}")
        world.start_daemon(world.lab.folder / "newer")
        screen.expect(world.daemon_is_ready(WAIT_SECONDS), "the version before is ready again", world.daemon_said())
        requests = traffic.since(began)
        expect_none_failed(screen, requests, f"none of {len(requests)} requests failed")
    screen.expect(world.attachment()["program_id"] == before, "the NIC has the same program as before")


def _broken_later(world: World, screen: Screen) -> None:
    screen.step("A version whose mistake no trial shows: it drops SYNs of this one client")
    before = world.attachment()["program_id"]
    client = int.from_bytes(ADDRESSES["client"].packed, "little")
    with Traffic(world.spawn_in_client, world.url, per_second=PER_SECOND) as traffic:
        began = time.monotonic()
        world.stop_daemon()
        world.start_daemon(_version(world, "broken-later", DROP_THE_CLIENT.format(client=client)))
        screen.expect(world.daemon_is_ready(WAIT_SECONDS), "it is ready", world.daemon_said())
        back = wait_for(lambda: world.attachment()["program_id"] == before, NOTICE_SECONDS)
        screen.expect(back and _logged(world, "new program rolled back"), "the program before is back on the NIC")
        for line in world.daemon_log():
            if "rolled back" in line:
                screen.say(f"        {line}")
        time.sleep(1)
        requests = traffic.since(began)
        screen.say(f"        {len(failures(requests))} of {len(requests)} requests failed")
    world.stop_daemon()
    world.start_daemon()
    screen.expect(world.daemon_is_ready(WAIT_SECONDS), "this version is ready again", world.daemon_said())


def _version(world: World, name: str, line: str) -> Path:
    """Return a copy of this version whose program has a line more."""
    folder = world.lab.folder / name
    for part in ("xdplb", "api", "bpf"):
        shutil.copytree(TREE / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    main = folder / "bpf" / "xdplb.c"
    before, at, after = main.read_text().partition(BEFORE)
    arguments, brace, body = after.partition("{\n")
    if not at or not brace:
        raise DemoError(f"{main} has no function choose")
    main.write_text(f"{before}{at}{arguments}{brace}\t{line}\n{body}")
    return folder


def _logged(world: World, words: str) -> bool:
    return wait_for(lambda: any(words in line for line in world.daemon_log()), WAIT_SECONDS)
