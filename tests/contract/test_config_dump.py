# SPDX-License-Identifier: Apache-2.0
"""A dumped configuration, whatever it has, declares the same when it is read again."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xdplb.config.document import read_document
from xdplb.control.edits.config import put_config
from xdplb.control.edits.edit import PutConfig
from xdplb.control.state.desired import Desired
from xdplb.daemon.config_dump import config_text
from xdplb.daemon.config_file import check_document
from xdplb.model.errors import XdplbError
from xdplb.model.host import NO_HOST
from xdplb.model.vip import AllUnhealthy, Forward, HashKind, OnUnhealthy, Scheduler, Tracking, VlanTags
from xdplb_api.schemas.config import Config, body_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PREFIXES = st.one_of(
    st.integers(1, 223).map(lambda n: f"{n}.0.2.0/24"), st.integers(0, 255).map(lambda n: f"2001:db8:{n:x}::/48")
)
BACKENDS = st.fixed_dictionaries(
    {
        "address": st.integers(1, 200).map(lambda n: f"10.0.0.{n}")
        | st.integers(1, 200).map(lambda n: f"2001:db8::{n:x}")
    },
    optional={
        "weight": st.integers(0, 65535),
        "forward": st.sampled_from([*map(str, Forward), None]),
        "admin_state": st.sampled_from(["ready", "drain", "maint"]),
    },
)
CHECKS = st.fixed_dictionaries(
    {"type": st.just("http"), "port": st.integers(1, 65535)},
    optional={
        "path": st.sampled_from(["/", '/a"b\\c', "/#x='y'"]),
        "expect_status": st.lists(st.integers(100, 599), min_size=1, max_size=3),
        "interval_seconds": st.floats(0.05, 3600),
        "timeout_seconds": st.integers(1, 300),
        "rise": st.integers(1, 100),
        "jitter": st.floats(0, 0.5),
        "reset": st.booleans(),
    },
)
OTHER_CHECKS = st.sampled_from(
    [
        {"type": "tcp", "send": "PING\r\n\x00\xff\"'\\", "expect": ""},
        {"type": "https", "sni": "a.example", "verify": True, "headers": {"X-A": "b c", "y.z": "'"}},
        {"type": "http", "port": 80, "expect_status": ["200-299", 301], "expect_body": "größe\n", "headers": {}},
        {"type": "dns", "port": 53, "query_name": ".", "expect_rcode": "NXDOMAIN"},
        {"type": "icmp", "name": "ping", "fast_interval_seconds": 0.5},
        {"type": "exec", "command": ["/bin/check it", "-x", ""], "user": "daemon"},
        {"type": "agent", "port": 9000, "send": "hi\n"},
    ]
)
VIPS = st.fixed_dictionaries(
    {
        "address": st.sampled_from(["203.0.113.10", "203.0.113.0/24", "2001:db8:1::10", "198.51.100.7"]),
        "port": st.sampled_from([0, 53, 80, 8000]),
        "protocol": st.sampled_from(["tcp", "udp", "tcp+udp"]),
    },
    optional={
        "last_port": st.sampled_from([None, 8009]),
        "name": st.sampled_from([None, "web", "dns", "a-1"]),
        "forward": st.sampled_from(list(map(str, Forward))),
        "scheduler": st.sampled_from(list(map(str, Scheduler))),
        "tracking": st.sampled_from([*map(str, Tracking), None]),
        "hash": st.sampled_from([*map(str, HashKind), None]),
        "on_unhealthy": st.sampled_from(list(map(str, OnUnhealthy))),
        "all_unhealthy": st.sampled_from(list(map(str, AllUnhealthy))),
        "idle_timeout_seconds": st.integers(1, 65535),
        "vlan": st.sampled_from(list(map(str, VlanTags))),
        "quic": st.none() | st.fixed_dictionaries({"server_id_bytes": st.integers(1, 8)}),
        "limits": st.dictionaries(st.sampled_from(["packets", "source_packets"]), st.integers(0, 10**9)),
        "health_check": st.none() | CHECKS,
        "checks": st.none() | st.lists(CHECKS | OTHER_CHECKS, max_size=3),
        "access": st.fixed_dictionaries(
            {"allow": st.lists(PREFIXES, max_size=2), "deny": st.lists(PREFIXES, max_size=2)}
        ),
        "backends": st.lists(BACKENDS, max_size=3, unique_by=lambda backend: backend["address"]),
    },
)
LIMITS = st.dictionaries(st.sampled_from(["connections", "requests"]), st.integers(1, 99))


def alike(one: str, other: str) -> bool:
    """Return whether both are of the same family."""
    return ip_network(one).version == ip_network(other).version


@pytest.mark.parametrize("written", ["toml", "yaml"])
@given(vips=st.lists(VIPS, max_size=3), limits=LIMITS)
@settings(max_examples=25, deadline=None)
def test_it_declares_the_same(tmp_path_factory, written: str, vips: list[dict[str, Any]], limits: dict[str, int]):
    for vip in vips:
        own = vip["address"]
        if "access" in vip:
            vip["access"] = {name: [each for each in of if alike(each, own)] for name, of in vip["access"].items()}
        if vip.get("forward", "dr") == "dr":
            vip["backends"] = [each for each in vip.get("backends", []) if alike(each["address"], own)]
    try:
        config = Config.model_validate({"vips": vips, "settings": {"api": limits}}).wanted()
        desired = put_config(Desired(), PutConfig(config), NOW, NO_HOST)
    except XdplbError:
        assume(condition=False)
        return
    file = Path(tmp_path_factory.getbasetemp(), f"dumped.{written}")
    file.write_text(config_text(body_of(desired), written), encoding="utf-8")
    read = check_document(read_document(str(file)))
    assert put_config(desired, PutConfig(read), datetime.now(UTC), NO_HOST) is desired
