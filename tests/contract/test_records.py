# SPDX-License-Identifier: Apache-2.0
"""GET /v1/records: what another balancer pulls, as the API sends it and as that one reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.contract.api_harness import Api, problem_of, running_api
from tests.unit.peers.wires import record
from xdplb.control.events import Actor, ActorKind
from xdplb.model.role import Role
from xdplb.model.shared_record import SharedState
from xdplb.peers.state import MEDIA_TYPE, decode_state


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as running:
        yield running


def test_what_is_pulled_is_what_is_known(api: Api):
    known = SharedState((), np.concatenate([record(port=port) for port in range(1, 5001)]))

    async def unsettled() -> SharedState:
        return known

    api.manager.records.unsettled = unsettled  # type: ignore[method-assign]
    response = api.ask("GET", "/v1/records")
    assert (response.status_code, response.headers["content-type"]) == (200, MEDIA_TYPE)
    assert sorted(decode_state([response.content], 1 << 24).records["source_port"].tolist()) == list(range(1, 5001))


def test_it_is_for_operators(api: Api):
    api.act_as(Actor(ActorKind.UNIX, uid=7, pid=1, user="monitoring", role=Role.READ))
    problem_of(api.ask("GET", "/v1/records"), 403)
    api.act_as(Actor(ActorKind.UNIX, uid=7, pid=1, user="lb2", role=Role.OPERATE))
    assert api.ask("GET", "/v1/records").status_code == 200
    assert api.ask("HEAD", "/v1/records").headers["content-type"] == MEDIA_TYPE
