# SPDX-License-Identifier: Apache-2.0
"""The dashboard over a real daemon with real traffic, in a browser that reaches nothing but that daemon."""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import DataTable

from tests.browser.driven import Browser
from tests.browser.live import BASE, LiveSite, live_site
from tests.netns.held import Held
from tests.waiting import until
from xdplb.cli.top_app import TopApp
from xdplb.client import Client

pytestmark = [
    pytest.mark.root,
    pytest.mark.browser,
    pytest.mark.timeout(900 if os.environ.get("XDPLB_PICTURES") else 600),
]


PICTURES = os.environ.get("XDPLB_PICTURES")
NAMES = ("dashboard.png", "dashboard-vip.png", "dashboard-explain.png", "top.svg")


class Visit:
    """The browser at the site, which must send nothing to anybody else while it is used."""

    def __init__(self, site: LiveSite, browser: Browser) -> None:
        self.site, self._browser = site, browser

    def do(self, scenario: str, *, noisy: bool = False, **asked: Any) -> Any:
        """Run a scenario from its beginning to its end."""
        self.begin(scenario, **asked)
        return self.finish(noisy=noisy)

    def begin(self, scenario: str, **asked: Any) -> None:
        """Begin a scenario that stops on its way."""
        self._browser.begin(scenario, BASE, **{"token": self.site.token, "vip": "www", "backend": "10.0.0.11", **asked})

    def heard(self) -> Any:
        """Return what it says on its way."""
        return self._browser.heard()

    def go_on(self, **more: object) -> None:
        """Let it go on."""
        self._browser.go_on(**more)

    def finish(self, *, noisy: bool = False) -> Any:
        """Wait for its end."""
        found = self._browser.finish(noisy=noisy)
        assert self.site.watched.left() == [], "something left the host"
        return found


@pytest.fixture(scope="module")
def at_work() -> Iterator[tuple[LiveSite, Browser]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "1000")
        patch.setenv("XDPLB_REQUEST_TIMEOUT", "60s")
        with live_site() as found:
            yield found


@pytest.fixture
def visit(at_work: tuple[LiveSite, Browser]) -> Visit:
    return Visit(*at_work)


def test_a_token_is_refused_and_a_right_one_lets_in(visit: Visit) -> None:
    found = visit.do("refused", noisy=True)  # the browser notes the refusals on its console
    assert "xdplb token add" in found["first"]
    assert "no such token" in found["second"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_shows_the_traffic_that_there_is(visit: Visit, scheme: str) -> None:
    found = visit.do("pages", scheme=scheme, busy=5)
    assert found["address"].endswith("/#/vips"), "the token is still in the address"
    assert {row["cells"][0].split()[0] for row in found["vips"]} == {"www", "www6", "api", "resolver", "mqtt", "smtp"}
    assert "smtp" in found["vips"][0]["cells"][0], "what is wrong comes first"
    assert "10.0.1.11" in found["vip"]
    assert re.search(r"Every slot of the hash table|\d+ of \d+ slots have just|slots have changed owners", found["vip"])
    assert "operate" in found["events"]
    assert "attached, native" in found["nodes"]


def test_a_vip_has_rates(visit: Visit) -> None:
    """As tests/package sees them where the quickstart has led."""
    rates = visit.do("traffic", vip="www")["rates"]
    assert all(float(rate.split()[0]) > 0 for rate in rates), rates


def test_a_drain_from_the_click_to_the_certificate(visit: Visit) -> None:
    held = visit.site.hold(40)
    mine = held.of["dr1"]
    visit.begin("drain", vip="mqtt")
    effect = visit.heard()
    assert "change owners" in effect
    assert "connections" in effect
    state = visit.site.balancer.ask("backend", "show", "mqtt", "10.0.0.11")["admin_state"]
    assert state == "ready", "the forecast must change nothing"
    visit.go_on(flows=len(mine))
    assert visit.heard() == "begun"
    assert held.do("speak", mine) == ["answered"] * len(mine), "open connections stay"
    visit.go_on()
    assert visit.heard() == "all are recorded"
    held.do("close", mine)
    visit.go_on()
    found = visit.finish()
    told = found["certificate"].split("\n")
    told = dict(pairwise(told))
    assert "drained" in found["certificate"]
    assert (told["seen"], told["broken"]) == (str(len(mine)), "0")
    assert "Certificate of the drain" in found["card"]
    there = held.of["dr2"]
    assert held.do("speak", there) == ["answered"] * len(there)


def test_a_packet_is_explained_as_it_goes(visit: Visit) -> None:
    found = visit.do("explainReal", client="198.51.100.2:40000")
    assert "10.0." in found["way"]
    assert "The model and the program in the kernel agree." in found["way"]


def test_the_pictures_of_the_documentation_are_made(visit: Visit, tmp_path: Path) -> None:
    """With `XDPLB_PICTURES=docs/images` they are made there, and not before the curves are five minutes long."""
    folder, seconds = Path(PICTURES or tmp_path).resolve(), 300 if PICTURES else 0
    visit.site.balancer.cli("backend", "set", "www", "10.0.1.11", "--weight", "2")  # so that slots move
    asked: dict[str, Any] = {"folder": str(folder), "seconds": seconds, "scale": 1.25, "client": "198.51.100.2:40000"}
    with speaking(visit.site.hold(30)):
        visit.do("pictures", **asked)
    (folder / "top.svg").write_text(picture_of_top(visit.site.balancer.socket), encoding="utf-8")
    made = {name: (folder / name).stat().st_size for name in NAMES}
    assert {name: size for name, size in made.items() if not 5_000 < size < 200_000} == {}


def test_a_daemon_that_ends_is_told_and_its_successor_found(visit: Visit) -> None:
    visit.begin("restart")
    assert visit.heard() == "live"
    visit.site.balancer.kill()
    visit.go_on()
    lost = visit.heard()
    assert "lost" in lost
    assert "does not answer" in lost
    asked = ["curl", "-sSf", "--max-time", "10", "http://203.0.113.10/"]
    assert visit.site.lab.run("client", asked).stdout == "ok\n", "packets flow meanwhile"
    visit.site.start()
    visit.go_on()
    assert visit.finish(noisy=True)["alerts"] == 0


def test_what_would_leave_the_host_would_be_seen(at_work: tuple[LiveSite, Browser]) -> None:
    site, browser = at_work
    browser.begin("elsewhere", BASE)
    assert browser.heard() == "asked"
    until(lambda: any("> 192.0.2.1.8080:" in line for line in site.watched.left()))


@contextmanager
def speaking(held: Held) -> Iterator[None]:
    """Have connections say something all the time."""
    enough = threading.Event()

    def speak() -> None:
        everyone = [number for numbers in held.of.values() for number in numbers]
        while not enough.wait(0.5):
            held.do("speak", everyone[: random.randint(5, len(everyone))])

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        enough.set()
        speaker.join()


def picture_of_top(socket: Path) -> str:
    """Return `xdplb top` as an SVG, once it has rates. It loads no font from elsewhere."""
    app = TopApp(lambda: Client(socket_path=str(socket)), interval=2.0)

    async def run() -> str:
        async with app.run_test(size=(110, 16)) as pilot:
            table = app.query_one(DataTable)
            while not any(re.search("[1-9]", str(table.get_row(key)[3])) for key in table.rows):
                await pilot.pause(0.2)
            return app.export_screenshot(title="xdplb top")

    return re.sub(r"@font-face \{.*?\}", "", asyncio.run(run()), flags=re.DOTALL)
