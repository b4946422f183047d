# SPDX-License-Identifier: Apache-2.0
"""What the doctor makes of other balancers."""

from __future__ import annotations

from typing import Any

import pytest

from xdplb.daemon.diagnosis.finding import Level
from xdplb.daemon.diagnosis.peers import examine_peers

OWN = {"name": "lb1", "this_node": True, "version": "2.0.0"}


def node(**fields: Any) -> dict[str, Any]:
    """Return lb2 with these fields."""
    usual = {"name": "lb2", "this_node": False, "version": "2.0.0", "state": "serving", "last_heard": "2030-01-01"}
    return usual | {"peer_up": True, "url": "https://lb2:8443"} | fields


@pytest.mark.parametrize(
    ("fields", "levels", "said"),
    [
        ({}, [Level.OK], "records of connections go to it"),
        ({"version": "1.9.0"}, [Level.WARN, Level.OK], "it runs xdplb 1.9.0, and this one 2.0.0"),
        ({"url": None}, [Level.WARN, Level.OK], "nothing can be pulled from it"),
        ({"state": "lost", "peer_up": False}, [Level.WARN], "it was heard of last at 2030-01-01"),
        ({"peer_up": None, "url": None}, [], ""),  # known from a store, and no peer
    ],
)
def test_other_nodes_are_judged(fields: dict[str, Any], levels: list[Level], said: str):
    found = list(examine_peers([OWN, node(**fields)], []))
    assert [each.level for each in found] == levels
    assert said in " ".join(each.detail for each in found)


@pytest.mark.parametrize(
    ("what", "fix"),
    [
        ("10.0.0.2:4815 key", "key files"),
        ("10.0.0.2:4815 records", "--advertise-url"),
        ("lb2 state", "xdplb config dump"),
        ("lb name", "--node"),
        ("10.0.0.2:4815", "firewall"),
    ],
)
def test_what_is_not_as_it_should_be_is_told_with_a_remedy(what: str, fix: str):
    (found,) = examine_peers(
        [OWN], [{"kind": "peer", "what": what, "reason": "so it is"}, {"kind": "nic", "what": "x"}]
    )
    assert (found.level, found.detail) == (Level.WARN, "so it is")
    assert fix in found.fix
