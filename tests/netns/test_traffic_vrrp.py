# SPDX-License-Identifier: Apache-2.0
"""A pair of balancers with keepalived, set up as docs/ha.md says, word for word, and real packets while VIPs move.

keepalived's own timers are in docs/ha.md; here only what is far from them fails a test, since a busy machine is late.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.waiting import PATIENCE, until
from xdplb.dataplane.single import pass_program
from xdplb.net.lab import VIP, VIP6

from .balancer import Download
from .pair import MOVE, Pair
from .pair_lab import PairLab

pytestmark = pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed")

TIMEOUT = 3 * 0.1 + 0.1
"""How long keepalived waits for adverts every 0.1 s (RFC 5798: three of them, and a part of one)."""

SLACK = 0.5 * PATIENCE
"""How much later than that a busy machine may be."""

UNWANTED = ("warn  keepalived", "warn  daemon")
"""What `xdplb doctor` must not begin a line with; what it warns of besides is the machine that the lab is on."""

CHECKS = 8 * PATIENCE
"""How long it takes at most until checks of the ready configuration have failed."""


@pytest.fixture(scope="module")
def running() -> Iterator[Pair]:
    with pass_program() as program, PairLab(port_program=program.fileno()) as lab:
        pair = Pair(lab)
        pair.set_up()
        pair.have_no_slot_move("pair.toml")
        yield pair


@pytest.fixture
def pair(running: Pair) -> Pair:
    """A pair with one master for each family, active/passive, and with no slot that moves."""
    running.have_no_slot_move("pair.toml")
    running.run_keepalived("keepalived-active-passive.conf")
    for vip in (VIP, VIP6):
        running.master(str(vip))
    return running


def test_the_recipe_of_the_page_gives_a_pair_that_fails_over(running: Pair) -> None:
    """It goes on where the fixture has ended: a client, who has the VIP, a drain and its end."""
    *fetches, shows, drain, undrain = MOVE
    for told in running.told.values():
        assert "keepalived: /etc/keepalived/keepalived.conf: 203.0.113.10, 2001:db8:f::10 in web4, web6" in told
        assert not [line for line in told.splitlines() if line.startswith(("fail", *UNWANTED))]
    assert all("A client" in fetch.where for fetch in fetches)
    answers = [running.lab.run("client", ["sh", "-ec", fetch.text]).stdout for fetch in fetches]
    assert [answer.split()[1] for answer in answers] == ["198.51.100.2", "2001:db8:c::2"]
    master = running.master()
    assert [bool(each.sh(shows.text)) for each in running.both] == [each is master for each in running.both]
    try:
        gaps = running.moves(str(VIP), lambda: master.sh(drain.text))
        assert sum(gaps) < SLACK
        with running.probing() as finish:
            master.sh(undrain.text)
            until(lambda: master.says(0))
            assert finish() == []
    finally:
        master.sh(undrain.text)
    assert running.master() is running.other(master)  # equal priorities: nothing moves back by itself


def test_an_ipv6_vip_moves_as_well(pair: Pair) -> None:
    with pair.drained(str(VIP6)) as gaps:
        assert sum(gaps) < SLACK


def test_a_balancer_that_is_cut_off_is_replaced_and_comes_back_without_a_gap(pair: Pair) -> None:
    master = pair.master()
    try:
        gaps = pair.moves(str(VIP), lambda: pair.lab.cut_off(master.host))
        assert TIMEOUT / 2 < sum(gaps) < TIMEOUT + SLACK
        assert [each.has(str(VIP)) for each in pair.both] == [True, True]
        with pair.probing() as finish:
            pair.lab.join(master.host)
            assert pair.master()  # one of them gives way
            assert sum(finish()) < SLACK
    finally:
        pair.lab.join(master.host)


def test_two_masters_at_once_break_nothing(pair: Pair) -> None:
    """Open connections go through both in turn, as they do where a switch or a router cannot tell who has the VIP."""
    master = pair.master()
    gaps = pair.moves(str(VIP), master.kill_keepalived)
    assert sum(gaps) < SLACK
    assert [each.has(str(VIP)) for each in pair.both] == [True, True]
    before = [each.sent() for each in pair.both]
    with pair.probing() as finish:
        downloads = [Download(pair.lb1, size=300_000, seconds=2) for _ in range(12)]
        try:
            while any(each.running for each in downloads):
                for balancer in pair.both:
                    pair.turn(balancer)
                    time.sleep(0.1)
        finally:
            pair.let_it_ask()
        for each in downloads:
            each.finish()
        assert {each.backend for each in downloads} == {"dr1", "dr2"}
        assert sum(finish()) < SLACK  # the queue of a busy host may have lost a SYN
    assert all(each.sent() - sent > 100 for each, sent in zip(pair.both, before, strict=True))
    with pair.probing() as finish:
        master.sh("systemctl start keepalived")  # it begins by removing what it left behind
        assert pair.master() is pair.other(master)
        assert sum(finish()) < SLACK


def test_a_daemon_that_dies_moves_nothing(pair: Pair) -> None:
    master = pair.master()
    with pair.probing() as finish:
        try:
            master.kill()
            assert pair.fetch(str(VIP))
            assert pair.master() is master
        finally:
            master.start()
        assert finish() == []
    assert pair.master() is master


def test_down_lets_the_vip_go_before_the_program(pair: Pair) -> None:
    """The host has the VIP's address: it would reset connections whose packets come to it without the program."""
    master = pair.master()
    other = pair.other(master)
    try:
        with pair.probing() as finish:
            downloads = [Download(pair.lb1, size=300_000, seconds=3) for _ in range(8)]
            master.sh("systemctl stop xdplb && xdplb down --all")
            assert pair.master() is other
            for each in downloads:
                each.finish()
            assert sum(finish()) < SLACK
        master.sh("systemctl restart keepalived")  # as after a boot, on which xdplb does not come up
        other.sh("systemctl stop keepalived")
        time.sleep(2 * TIMEOUT)
        assert [each.has(str(VIP)) for each in pair.both] == [False, False]
        master.start()
        assert pair.master() is master
    finally:
        for balancer in pair.both:
            balancer.sh("systemctl start xdplb keepalived && xdplb status --wait")


def test_a_balancer_that_reaches_no_backend_gives_the_vip_up(pair: Pair) -> None:
    master = pair.master()
    try:
        gaps = pair.moves(str(VIP), lambda: pair.lab.part(master.host, "dr1", "dr2"))
        assert sum(gaps) < CHECKS
    finally:
        pair.lab.unite()
        until(lambda: master.says(0), seconds=70)
    assert pair.master() is pair.other(master)


def test_backends_that_are_gone_for_both_move_nothing(pair: Pair) -> None:
    """The master is the last to know; if it is the first, the VIP has moved before the other one knows."""
    master = pair.master()
    with pair.without_backends(first=pair.other(master)):
        time.sleep(2 * TIMEOUT)
        assert pair.master() is master  # both say the same


def test_backends_that_are_gone_for_both_move_the_vip_once_if_its_master_knows_first(pair: Pair) -> None:
    master = pair.master()
    with pair.without_backends(first=master):
        time.sleep(2 * TIMEOUT)
        assert pair.master() is pair.other(master)  # both say the same: it does not move back


@pytest.mark.parametrize("vip", [str(VIP), str(VIP6)])
def test_the_vip_moves_with_its_mac(running: Pair, vip: str) -> None:
    running.have_no_slot_move("pair.toml")
    running.run_keepalived("keepalived-active-passive-vmac.conf")
    for _ in running.both:
        with running.drained(vip) as gaps:
            assert sum(gaps) < SLACK
    neighbours = json.loads(running.lab.run("router", ["ip", "-j", "neighbour", "show", vip]).stdout)
    family = "02" if ":" in vip else "01"
    assert [each["lladdr"] for each in neighbours] == [f"00:00:5e:00:{family}:33"]


@pytest.mark.parametrize("example", ["keepalived-active-active.conf", "keepalived-active-active-vmac.conf"])
def test_each_of_two_balancers_has_a_vip_and_takes_the_other_s(running: Pair, example: str) -> None:
    running.serve_two_vips()
    running.have_no_slot_move("pair-active-active.toml")
    running.run_keepalived(example)
    mine = {running.lb1: ("203.0.113.10", "2001:db8:f::10"), running.lb2: ("203.0.113.11", "2001:db8:f::11")}
    until(lambda: all(each.has(vip) and not running.other(each).has(vip) for each in mine for vip in mine[each]))
    for vip in (*mine[running.lb1], *mine[running.lb2]):
        assert running.fetch(vip)
    try:
        gaps = running.moves("203.0.113.11", lambda: running.lb2.sh("xdplb node drain"))
        assert sum(gaps) < SLACK
        until(lambda: all(running.lb1.has(vip) for vip in mine[running.lb2]))
        with running.probing("203.0.113.11") as finish:
            running.lb2.sh("xdplb node undrain")
            # Unequal priorities: each gets its own back.
            until(lambda: running.lb2.has("203.0.113.11") and not running.lb1.has("203.0.113.11"))
            assert sum(finish()) < SLACK
    finally:
        running.lb2.sh("xdplb node undrain")
