# SPDX-License-Identifier: Apache-2.0
"""A pair of balancers that is lost in the middle of a drain, with and without telling each other of connections."""

from __future__ import annotations

import shutil

import pytest

from xdplb.dataplane.single import pass_program

from .drain_and_loss import Broken, lose_in_a_drain, prepare
from .pair import Pair
from .pair_lab import PairLab

pytestmark = pytest.mark.skipif(shutil.which("keepalived") is None, reason="keepalived is not installed")


def test_a_balancer_lost_in_the_middle_of_a_drain_breaks_no_connection_of_peers() -> None:
    with pass_program() as program, PairLab(port_program=program.fileno()) as lab:
        pair = Pair(lab)
        pair.set_up()
        prepare(pair, peers=True)
        assert lose_in_a_drain(pair, 100) == Broken(0, 0)
        prepare(pair, peers=False)
        broken = lose_in_a_drain(pair, 100)
        assert broken.old == 0, "its slot still names its backend as the previous one"
        assert broken.new > 10
