# SPDX-License-Identifier: Apache-2.0
"""docs/quickstart.md, done as it is written: each command, in the order of the page, on the host that it names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from xdplb.dataplane.single import pass_program
from xdplb.net.lab import Lab

from .balancer import until
from .own_folders import REPOSITORY, OwnFolders
from .quickstart_page import PAGE, headings_of, hosts_of
from .recipe import steps_of

HEADINGS = headings_of(PAGE)

INSTALL = "apt update"
"""How the step begins that installs the package, which is there already: tests/package does it."""

BREAK = "Break it"
"""The heading from which on the page takes away what it has set up."""

TROUBLESHOOTING = REPOSITORY / "docs/troubleshooting.md"
CLIENT = "198.51.100.2"
ASIDE = {"n the router": "router", "n that backend": "dr1", "n the backend": "dr1", "refuses": "dr1"}
LONG = ("tcpdump", "xdplb capture", "systemctl", "journalctl")

OPEN = "curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "


class QuickstartLab(OwnFolders, Lab):
    """The hosts of the page."""

    NAMES: ClassVar = {"balancer": "lb", "dr1": "web1", "dr2": "web2"}

    def _build(self) -> None:
        super()._build()
        self.configure("router", "route del 203.0.113.0/24")  # the page has a route of its own
        for host in self.NAMES:
            self._hold(host)


Followed = tuple[QuickstartLab, dict[str, list[str]]]


@pytest.fixture(scope="module")
def followed() -> Iterator[Followed]:
    """A lab in which the page was followed until its VIP serves, with what the commands under each heading printed."""
    with pass_program() as program, QuickstartLab(port_program=program.fileno()) as lab:
        yield lab, _follow(lab, HEADINGS[: HEADINGS.index(BREAK)])


def test_the_page_leads_to_a_vip_that_serves(followed: Followed) -> None:
    _, told = followed
    assert told["The balancer"][-1].count(" up ") == 2
    assert set(told["The client"][0].split()) == {"web1", "web2"}
    assert "native" in told["Is it native?"][0]


def test_each_command_of_troubleshooting_tells_something_where_all_is_well(followed: Followed) -> None:
    """Not those that go on for seconds, nor those of systemd, which does not run here."""
    lab, _ = followed
    steps = (step for heading in headings_of(TROUBLESHOOTING) for step in steps_of(TROUBLESHOOTING, heading))
    commands = {
        (next((host for words, host in ASIDE.items() if words in step.where), "balancer"), command): None
        for step in steps
        for command in step.commands.splitlines()
        if not command.startswith(LONG)
    }
    assert len(commands) > 15
    for host, command in commands:
        assert lab.sh(host, command.replace("198.51.100.7", CLIENT)), command


def test_the_rest_of_the_page_takes_no_client_s_connection_and_leaves_nothing(followed: Followed) -> None:
    lab, _ = followed
    told = _follow(lab, HEADINGS[HEADINGS.index(BREAK) :])
    assert re.search(r"10\.0\.0\.11\b.* down ", told[BREAK][1])
    assert "nothing in the change can break one" in told[BREAK][-1]
    assert re.search(r"^outcome +", told[BREAK][-1], re.MULTILINE), "the certificate; that it waited says the exit code"
    assert "fail-open" not in told[BREAK][-1], "the first backend is back before the other one is drained"
    assert not lab.sh("dr1", "ip -brief address show to 203.0.113.10")
    assert "xdp" not in lab.sh("balancer", "ip link show eth0")


def _follow(lab: QuickstartLab, headings: Sequence[str]) -> dict[str, list[str]]:
    """Do what stands under these headings; return what each command printed."""
    told: dict[str, list[str]] = {}
    for heading in headings:
        told[heading] = []
        for step in steps_of(PAGE, heading):
            if step.commands == "xdplb dashboard":
                _open_the_dashboard(lab)
                continue
            if step.commands.startswith(INSTALL):
                continue
            told[heading] += [lab.sh(host, step.commands) for host in hosts_of(step)]
            if "http.server" in step.commands:
                _wait_for_service(lab, hosts_of(step))
    return told


def _wait_for_service(lab: QuickstartLab, hosts: tuple[str, ...]) -> None:
    asked = ["curl", "-so/dev/null", "http://127.0.0.1/"]
    until(lambda: all(lab.run(host, asked, check=False).returncode == 0 for host in hosts))


def _open_the_dashboard(lab: QuickstartLab) -> None:
    """Do what somebody does with the URL that is printed, and end it."""
    with lab.popen("balancer", ["xdplb", "dashboard"], stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        try:
            url = next(line.strip() for line in shown.stdout if line.startswith("http://"))
            assert lab.sh("balancer", f"{OPEN} '{url}'") == "200"
        finally:
            shown.terminate()
