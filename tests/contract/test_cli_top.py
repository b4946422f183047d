# SPDX-License-Identifier: Apache-2.0
"""`xdplb top`, driven by its keys: over a client that says what a test wants, and over a real daemon."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from tests.contract.cli_harness import WEB, in_process, running_daemon
from xdplb.cli.params import Connection
from xdplb.cli.top_app import TopApp
from xdplb.client import DaemonDownError, PreconditionError

DNS = "[2001:db8:1234:5678:9abc:def0:1234:5678]:53/udp"
SIZE = (80, 24)


class Said:
    """An answer."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def json(self) -> Any:
        return self._body

    dry_run = json


class ScriptedClient:
    """The part of a Client that the program asks, with counters that a test moves on."""

    def __init__(self) -> None:
        self.vips = self.backends = self
        self.is_down = False
        self.changes: list[tuple[str, str, str, Any]] = []
        self.reads = 0
        self.gone = False
        self.refusal: Exception | None = None
        self.counted = {WEB: 0, DNS: 0}
        self.dropped = 0

    def close(self) -> None:
        pass

    def list(self, vip: str | None = None) -> Said:
        if self.is_down:
            raise DaemonDownError("no daemon listens", hint="start it")
        if vip is not None:
            return Said({"backends": [backend(f"10.0.0.{n}", n) for n in (1, 2)]})
        self.reads += 1
        return Said({"vips": [vip_of(DNS, "names"), *([] if self.gone else [vip_of(WEB, "web")])]})

    def stats(self) -> Said:
        self.counted[WEB] += 3000
        self.counted[DNS] += 1000
        self.dropped += 7
        return Said(
            {
                "vips": [counters(vip, count) for vip, count in self.counted.items()],
                "drops": {"no_backend": self.dropped, "ttl": 0},
                "passes": {"no_vip": 5},
                "answers": {},
                "flow_evictions": 0,
            }
        )

    def drain(self, vip: str, address: str, **how: Any) -> Said:
        return self._change("drain", vip, address, how)

    def undrain(self, vip: str, address: str, **how: Any) -> Said:
        return self._change("undrain", vip, address, how)

    def _change(self, deed: str, vip: str, address: str, how: dict[str, Any]) -> Said:
        if not how.get("dry_run"):
            if self.refusal:
                raise self.refusal
            self.changes.append((deed, vip, address, how))
        return Said({"would_change": deed == "drain", "changes": [f"{address} gets no new ones"], "warnings": []})


def vip_of(key: str, name: str) -> dict[str, Any]:
    host, _, port = key.rpartition("/")[0].rpartition(":")
    return {
        "name": name, "address": host.strip("[]"), "port": int(port), "last_port": None,
        "protocol": key.rpartition("/")[2], "forward": "dr", "scheduler": "maglev",
        "status": {
            "operating_status": "DEGRADED", "reason": "1 of 2 backends is down", "backends": 2, "backends_serving": 1,
            "slots": {"steady": 1, "moving": 0, "pinned": 0},
        },
    }  # fmt: skip


def backend(address: str, n: int) -> dict[str, Any]:
    return {
        "address": address, "admin_state": "ready", "generation": 7,
        "status": {
            "health": "up" if n == 1 else "down", "reason": "[red]connection refused\x1b[31m", "hint": "",
            "since": "2026-01-02T03:04:05Z", "share": 0.5, "effective_weight": 1.0, "drain": None, "flows": 9,
            "handshakes": {"p50_seconds": 0.00042, "p99_seconds": 1.5} if n == 1 else None,
        },
    }  # fmt: skip


def counters(vip: str, count: int) -> dict[str, Any]:
    each = {"packets": count, "bytes": count * 100, "new_flows": count // 10}
    return {
        "vip": vip, **each, "at_risk": 0, "records": 0,
        "backends": [{"backend": "10.0.0.1", **each}, {"backend": "10.0.0.2", **dict.fromkeys(each, 0)}],
    }  # fmt: skip


def driven(
    client: Any, script: Callable[[Pilot[None], TopApp], Any], size: tuple[int, int] = SIZE, **options: Any
) -> TopApp:
    """Run the program over `client` while `script` presses its keys."""
    make = client if callable(client) else lambda: client
    app = TopApp(make, **{"interval": 0.05, **options})

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await script(pilot, app)

    asyncio.run(run())
    return app


def rows(app: App[None]) -> list[list[str]]:
    """Return the table's cells."""
    grid = app.screen_stack[0].query_one(DataTable)
    return [[cell.plain for cell in grid.get_row_at(i)] for i in range(grid.row_count)]


def text(app: TopApp, name: str) -> str:
    return str(app.screen.query_one(f"#{name}", Static).render())


async def until(pilot: Pilot[None], is_so: Callable[[], Any]) -> None:
    """Wait until it is so, for 10 s at most."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, f"it has not become so; the table is {rows(cast('TopApp', pilot.app))}"
        await pilot.pause(0.01)


async def asked(pilot: Pilot[None], app: TopApp) -> None:
    """Wait until the question of a change is there, whole."""
    await until(pilot, lambda: len(app.screen_stack) == 2 and app.screen.query("#effect"))


async def rated(pilot: Pilot[None], app: TopApp) -> None:
    await until(pilot, lambda: rows(app) and rows(app)[0][3] not in {"-", ""})


def test_vips_are_shown_with_rates_and_shares_the_busiest_first():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        assert [row[0] for row in rows(app)] == ["web", "names"]
        assert rows(app)[0][1:3] == ["degraded", "1/2"]
        assert [row[6] for row in rows(app)] == ["75%", "25%"]
        assert "2 VIPs" in text(app, "totals")
        assert "drops/s" in text(app, "totals")
        await pilot.press("ctrl+home")  # before there were rates, another one may have been the first
        await until(pilot, lambda: WEB in text(app, "about"))
        assert "1 of 2 backends is down" in text(app, "about")
        grid = app.query_one(DataTable)
        assert grid.virtual_size.width <= 80, "it does not fit"

    driven(ScriptedClient(), script)


def test_a_wide_terminal_has_more_columns():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        assert len(rows(app)[0]) == 9
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: len(rows(app)[0]) == 7)

    driven(ScriptedClient(), script, size=(120, 30))


def test_enter_shows_backends_with_why_and_escape_goes_back_to_the_same_row():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        await pilot.press("down")
        await pilot.press("enter")
        await until(pilot, lambda: rows(app) and rows(app)[0][0] == "10.0.0.1")
        assert rows(app)[0][1] == "up"
        assert rows(app)[0][6:8] == ["420µs", "1.5s"]
        assert rows(app)[1][1] == "down"
        assert rows(app)[1][6:8] == ["-", "-"]
        assert DNS in text(app, "state")
        await pilot.press("down")
        await until(pilot, lambda: "10.0.0.2" in text(app, "about"))
        assert r"[red]connection refused\x1b[31m" in text(app, "about"), "a reason draws"
        assert app.query_one(DataTable).virtual_size.width <= 80
        await pilot.press("escape")
        await until(pilot, lambda: rows(app)[0][0] == "web")
        await until(pilot, lambda: DNS in text(app, "about"))

    driven(ScriptedClient(), script)


def test_a_filter_is_typed_kept_and_ended():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        await pilot.press("slash", *"NAM")
        await until(pilot, lambda: [row[0] for row in rows(app)] == ["names"])
        await pilot.press("enter")
        assert "filter: NAM" in text(app, "state")
        assert app.query_one(DataTable).has_focus
        await pilot.press("escape")
        await until(pilot, lambda: len(rows(app)) == 2)

    driven(ScriptedClient(), script)


def test_keys_sort_and_turn_the_order():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        await pilot.press("r")
        assert [row[0] for row in rows(app)] == ["names", "web"]
        for heading in ("BIT/S", "NEW/S", "SHARE", "VIP"):
            await pilot.press("s")
            assert f"by {heading}" in text(app, "state")
        assert [row[0] for row in rows(app)] == ["names", "web"], "names begin with the first"

    driven(ScriptedClient(), script)


def test_the_drops_view_has_what_was_dropped_and_goes_back():
    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        await pilot.press("x")
        assert [row[:2] for row in rows(app)] == [["no_backend", "drop"], ["no_vip", "pass"]]
        assert rows(app)[0][2] not in {"-", "0"}
        await pilot.press("escape")
        assert rows(app)[0][0] == "web"

    driven(ScriptedClient(), script)


def test_a_pause_reads_nothing_and_says_so():
    client = ScriptedClient()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        await pilot.press("p")
        await pilot.pause(0.05)
        before = client.reads
        await pilot.pause(0.2)
        assert client.reads == before
        assert "PAUSED" in text(app, "state")
        await pilot.press("p")
        await until(pilot, lambda: client.reads > before)

    driven(client, script)


def test_a_lost_connection_is_said_and_comes_back():
    client = ScriptedClient()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await rated(pilot, app)
        client.is_down = True
        await until(pilot, lambda: "NO ANSWER since" in text(app, "state"))
        assert "no daemon listens (start it)" in text(app, "state")
        assert len(rows(app)) == 2, "what was known is still shown"
        client.is_down = False
        await until(pilot, lambda: "NO ANSWER" not in text(app, "state"))
        await rated(pilot, app)

    driven(client, script)


def test_a_drain_shows_its_effect_and_is_made_only_after_y():
    client = ScriptedClient()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        await pilot.press("d")
        await asked(pilot, app)
        assert "10.0.0.1 gets no new ones" in text(app, "effect")
        await pilot.press("n")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert client.changes == []
        await pilot.press("d")
        await asked(pilot, app)
        await pilot.press("y")
        await until(pilot, lambda: client.changes)
        assert client.changes == [("drain", WEB, "10.0.0.1", {"if_generation": 7})]
        await pilot.press("u")
        await until(pilot, lambda: any("nothing would change" in each.message for each in app._notifications))
        assert len(client.changes) == 1

    driven(client, script, vip=WEB)


def test_a_backend_that_was_changed_meanwhile_is_left_as_it_is():
    client = ScriptedClient()
    client.refusal = PreconditionError("the backend is at generation 8, not 7")

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        await pilot.press("d")
        await asked(pilot, app)
        await pilot.press("y")
        await until(pilot, lambda: any("generation 8" in each.message for each in app._notifications))

    driven(client, script, vip=WEB)


def test_who_may_only_read_is_offered_no_change():
    client = ScriptedClient()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        await pilot.press("d", "u")
        await pilot.pause(0.1)
        assert len(app.screen_stack) == 1
        assert "read only (role read)" in text(app, "state")

    driven(client, script, vip=WEB, why_read_only="role read")


def test_a_vip_that_is_removed_leads_back_to_the_others():
    client = ScriptedClient()

    async def script(pilot: Pilot[None], app: TopApp) -> None:
        await until(pilot, lambda: len(rows(app)) == 2)
        client.gone = True
        await until(pilot, lambda: [row[0] for row in rows(app)] == ["names"])

    driven(client, script, vip=WEB)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting_does_not_wait_for_an_answer(key: str):
    class Hanging(ScriptedClient):
        def list(self, vip: str | None = None) -> Said:
            time.sleep(5)
            return super().list(vip)

    began = time.monotonic()

    async def script(pilot: Pilot[None], _app: TopApp) -> None:
        await pilot.pause(0.05)
        await pilot.press(key)

    assert driven(Hanging(), script).return_code == 0
    assert time.monotonic() - began < 4


def test_over_a_real_daemon_a_backend_is_drained_and_undrained(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", WEB, "--name", "web", "--forward", "dr")
        for address in ("10.0.0.1", "10.0.0.2"):
            daemon.ok("backend", "add", "web", address)

        async def script(pilot: Pilot[None], app: TopApp) -> None:
            await rated(pilot, app)
            assert rows(app)[0][0] == "web"
            await pilot.press("enter")
            await until(pilot, lambda: [row[0] for row in rows(app)] == ["10.0.0.1", "10.0.0.2"])
            await pilot.press("d")
            await asked(pilot, app)
            assert "connections at risk:" in text(app, "effect")
            await pilot.press("y")
            await until(pilot, lambda: rows(app)[0][1] in {"draining", "drained", "timed out"})
            await pilot.press("u")
            await asked(pilot, app)
            await pilot.press("y")
            await until(pilot, lambda: rows(app)[0][1] not in {"draining", "drained", "timed out"})

        driven(Connection(socket_path=str(daemon.socket)).silent_client, script, interval=0.1)
        told = daemon.run("top", "--vip", "web")
        assert told.returncode == 1
        assert "needs a terminal" in told.stderr


def test_without_textual_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch):
    known = importlib.util.find_spec
    monkeypatch.setattr("xdplb.cli.top.find_spec", lambda name: None if name == "textual" else known(name))
    told = in_process("top")
    assert told.returncode == 1
    assert "pip install 'xdplb[top]'" in told.stderr


def test_no_other_command_pays_for_textual():
    program = (
        "import sys; from xdplb.cli.main import cli, run; import click\n"
        "[cli.get_command(click.Context(cli), name) for name in cli.list_commands(None)]\n"
        "run(['top', '--help']); print({'textual', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stderr.strip() == "set()"
