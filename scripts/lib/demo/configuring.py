# SPDX-License-Identifier: Apache-2.0
"""The steps about the config file: changed, applied, wrong, owning the state; and the events of all that happened."""

from __future__ import annotations

import signal
from pathlib import Path

from .claims import expect_none_failed
from .screen import Screen
from .traffic import burst
from .world import World, wait_for

__all__ = ["configure", "reload", "show_events"]

CONNECTIONS = 400
WAIT_SECONDS = 60


def configure(world: World, screen: Screen) -> None:
    """Change a weight in a file: see what that would do, do it, and do it again."""
    screen.step("Keep the configuration in a file")
    file = world.config_file
    world.cli_or_raise("config", "dump", "-f", str(file))
    _set_weight(world, file, 3)
    check = world.cli("config", "check", "-f", str(file))
    screen.expect(check.returncode == 0, "the file is right", check.stderr.strip())
    diff = world.cli("config", "diff", "-f", str(file))
    _print(screen, diff.stdout)
    screen.expect(diff.returncode == 1, "it would change something, and nothing has changed", diff.stderr.strip())
    before = world.generation()
    world.cli_or_raise("config", "apply", "-f", str(file))
    screen.expect(world.generation() == before + 1, "applied in one step, as one generation")
    world.cli_or_raise("config", "apply", "-f", str(file))
    screen.expect(world.generation() == before + 1, "applied once more, it changes nothing")


def reload(world: World, screen: Screen) -> None:
    """Let the file own the state, and read it again: with another weight, and with a mistake."""
    screen.step("The file owns the state: SIGHUP has it read again, and a bad file is refused")
    file, first = world.config_file, world.backends[0]
    world.stop_daemon()
    world.start_daemon(config=file)
    screen.expect(world.daemon_is_ready(WAIT_SECONDS), "ready with the file", world.daemon_said())
    refused = world.cli("backend", "rm", world.vip, first.address)
    _print(screen, refused.stderr)
    screen.expect(refused.returncode == 4, "a command cannot remove a backend any more")
    shares = world.shares()
    _set_weight(world, file, 5)
    world.signal_daemon(signal.SIGHUP)
    screen.expect(wait_for(lambda: world.shares() != shares, WAIT_SECONDS), "the new weight counts after SIGHUP")
    shares, right = world.shares(), file.read_text(encoding="utf-8")
    file.write_text(right.replace("weight", "wieght", 1), encoding="utf-8")
    world.signal_daemon(signal.SIGHUP)
    said = wait_for(lambda: any("config refused" in line for line in world.daemon_log()), WAIT_SECONDS)
    screen.expect(said, "a file with a typo is refused", world.daemon_said())
    check = world.cli("config", "check", "-f", str(file))
    _print(screen, check.stderr)
    screen.expect(check.returncode == 2, "`config check` would have told it")
    requests = burst(world.spawn_in_client, world.url, CONNECTIONS)
    expect_none_failed(screen, requests, f"what runs goes on: none of {CONNECTIONS} requests failed")
    screen.expect(world.shares() == shares, "the shares are as before")
    file.write_text(right, encoding="utf-8")
    world.signal_daemon(signal.SIGHUP)


def show_events(world: World, screen: Screen) -> None:
    """Print what was changed and by whom, from the daemon's own record."""
    screen.step("What has happened, and who did it")
    events = world.cli("events", "--kind", "change", "--kind", "config_taken", "--kind", "config_refused", "-n", "12")
    _print(screen, events.stdout)
    told = world.rest("GET", "/v1/events?limit=1000")["events"]
    kinds = {event["kind"] for event in told}
    wanted = {"change", "health", "drain", "config_taken", "config_refused", "daemon_started", "took_over"}
    screen.expect(wanted <= kinds, f"{len(told)} events are kept of {len(kinds)} kinds", f"not {wanted - kinds}")


def _set_weight(world: World, file: Path, weight: int) -> None:
    """Give the first backend another weight in the file."""
    before, at, after = file.read_text(encoding="utf-8").partition(f'address = "{world.backends[0].address}"')
    lines = [line for line in after.splitlines() if not line.startswith("[") and "weight" in line]
    rest = after.replace(f"{lines[0]}\n", "", 1) if lines and after.index(lines[0]) < _end(after) else after
    file.write_text(f"{before}{at}\nweight = {weight}{rest}", encoding="utf-8")


def _end(text: str) -> int:
    """Return where the next table of a TOML file begins."""
    found = text.find("\n[")
    return len(text) if found < 0 else found


def _print(screen: Screen, text: str) -> None:
    for line in text.strip().splitlines():
        screen.say(f"        {line}")
