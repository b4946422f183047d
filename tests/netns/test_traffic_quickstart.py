# SPDX-License-Identifier: Apache-2.0
"""docs/quickstart.md, done as it is written, and docs/troubleshooting.md beside what it has set up."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.page import headings_of
from xdplb.dataplane.single import pass_program

from .page_lab import PageLab
from .page_parts import QUICKSTART, TROUBLESHOOTING
from .page_reader import Reader

BREAK = "Break it"
"""The heading from which on the page takes away what it has set up."""

HEADINGS = headings_of(QUICKSTART.page)


@pytest.fixture(scope="module")
def lab() -> Iterator[PageLab]:
    with pass_program() as program, PageLab(port_program=program.fileno()) as lab:
        yield lab


@pytest.fixture(scope="module")
def reader(lab: PageLab) -> Reader:
    """Somebody who has followed the page until its VIP serves."""
    reader = Reader(lab, QUICKSTART)
    reader.follow(*HEADINGS[: HEADINGS.index(BREAK)])
    return reader


def test_the_page_leads_to_a_vip_that_serves(reader: Reader) -> None:
    assert reader.said("xdplb backend ls *")[0].count(" up ") == 2
    assert set(reader.said("for i in *")[0].split()) == {"web1", "web2"}
    assert "native" in reader.said("xdplb status")[0]


@pytest.mark.usefixtures("reader")
def test_each_command_of_troubleshooting_tells_something_where_all_is_well(lab: PageLab) -> None:
    reader = Reader(lab, TROUBLESHOOTING)
    reader.follow()
    assert all(reader.said("*"))


def test_the_rest_of_the_page_takes_no_client_s_connection_and_leaves_nothing(lab: PageLab, reader: Reader) -> None:
    reader.follow(*HEADINGS[HEADINGS.index(BREAK) :])
    assert re.search(r"10\.0\.0\.11\b.* down ", reader.said("xdplb backend ls *")[-1])
    foretold, drained = reader.said("xdplb backend drain *")
    assert "nothing in the change can break one" in foretold
    assert re.search(r"^outcome +", drained, re.MULTILINE), "the certificate; that it waited says the exit code"
    assert "fail-open" not in drained, "the first backend is back before the other one is drained"
    assert not lab.sh("dr1", "ip -brief address show to 203.0.113.10")
    assert "xdp" not in lab.sh("balancer", "ip link show eth0")
