# SPDX-License-Identifier: Apache-2.0
"""`scripts/bench vrrp`: for how long clients see nothing when a VIP of a pair with keepalived moves.

Two balancers, set up as docs/ha.md says, with each of its ready configurations. A client opens a connection every 5 ms.
Each figure is the longest time in which none came about, over all rounds. After that, a backend is drained again and
again, the balancer that has the VIP is lost in the middle of it, and connections that broke are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from tests.netns.drain_and_loss import lose_in_a_drain, prepare
from tests.netns.pair import Pair
from tests.netns.pair_lab import PairBalancer, PairLab
from tests.waiting import until
from xdplb.dataplane.single import pass_program

VIPS = ("203.0.113.10", "2001:db8:f::10")
CONFIGURATIONS = {
    "address on the NIC": "keepalived-active-passive.conf",
    "VMAC": "keepalived-active-passive-vmac.conf",
    "active/active": "keepalived-active-active.conf",
    "active/active, VMAC": "keepalived-active-active-vmac.conf",
}
SETTLE_SECONDS = 0.5
CONNECTIONS = 150

Act = Callable[[Pair, PairBalancer], object]


def _undrain(_: Pair, balancer: PairBalancer) -> None:
    balancer.sh("xdplb node undrain")
    until(lambda: balancer.sh("cat /run/xdplb/vrrp") == "0\n")


STEPS: Sequence[tuple[str, Act, bool]] = (
    ("drained: xdplb node drain", lambda _, each: each.sh("xdplb node drain"), True),
    ("  and undrained", _undrain, False),
    ("lost: its cable is pulled", lambda pair, each: pair.lab.cut_off(each.host), True),
    ("  and back", lambda pair, each: pair.lab.join(each.host), False),
    ("keepalived stopped", lambda _, each: each.sh("systemctl stop keepalived"), True),
    ("  and started", lambda _, each: each.sh("systemctl start keepalived"), False),
    ("keepalived killed -9", lambda _, each: each.kill_keepalived(), True),
    ("  and started", lambda _, each: each.sh("systemctl start keepalived"), False),
    ("xdplb killed -9", lambda _, each: each.kill(), False),
    ("  and started", lambda _, each: each.sh("systemctl start xdplb"), False),
)
"""What is done to the balancer that has the VIP, and whether the other one then must have it."""


def run(rounds: int, drains: int) -> None:
    """Print the tables."""
    with pass_program() as program, PairLab(port_program=program.fileno()) as lab:
        pair = Pair(lab)
        pair.set_up()
        pair.serve_two_vips()
        names = [f"{name}, IPv{6 if ':' in vip else 4}" for name in CONFIGURATIONS for vip in VIPS]
        print("longest time without an answer, in ms: " + " | ".join(names))
        columns = [_column(pair, example, vip, rounds) for example in CONFIGURATIONS.values() for vip in VIPS]
        for number, (name, _, _) in enumerate(STEPS):
            print(f"{name:28}" + "".join(f"{column[number] * 1000:9.0f}" for column in columns), flush=True)
        each = f"{CONNECTIONS} open before the drain and {CONNECTIONS} opened in it"
        print(f"\nconnections broken, of {each}, {drains} times")
        pair.run_keepalived(CONFIGURATIONS["address on the NIC"])
        for peers in (True, False):
            prepare(pair, peers=peers)
            found = [lose_in_a_drain(pair, CONNECTIONS) for _ in range(drains)]
            worst = f"most in one: {max(each.old + each.new for each in found)}"
            sums = f"{sum(each.old for each in found):9}{sum(each.new for each in found):9}"
            print(f"{'peers' if peers else 'not peers':28}{sums}   {worst}", flush=True)


def _column(pair: Pair, example: str, vip: str, rounds: int) -> list[float]:
    """Return the worst figure of each step."""
    pair.run_keepalived(example)
    found = [list(_round(pair, vip)) for _ in range(rounds)]
    return [max(figures) for figures in zip(*found, strict=True)]


def _round(pair: Pair, vip: str) -> Iterator[float]:
    balancer = pair.master(vip)
    for name, act, moves in STEPS:
        if not name.startswith(" "):
            balancer = pair.master(vip)
        other = pair.other(balancer)
        with pair.probing(vip) as finish:
            act(pair, balancer)
            if moves:
                until(lambda: other.has(vip))  # noqa: B023
            else:
                pair.master(vip)
            time.sleep(SETTLE_SECONDS)
            yield max(finish(), default=0.0)
