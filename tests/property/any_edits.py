# SPDX-License-Identifier: Apache-2.0
"""Edits of all kinds, of few VIPs and backends, so that they meet each other."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from xdplb.control.edits import edit as edits
from xdplb.model.access import AccessList
from xdplb.model.backend import AdminState, Backend
from xdplb.model.config import Config, DeclaredVip
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.prefixes import Prefixes
from xdplb.model.vip import Forward, OnUnhealthy, QuicIds, RateLimits, Scheduler, Tracking, Vip, VipKey, VlanTags

__all__ = ["any_edit"]

KEYS = [VipKey.parse(text) for text in ("203.0.113.10:443/tcp", "203.0.113.0/24:80-90/udp", "[2001:db8::10]:0/tcp+udp")]
NETWORKS = {
    4: [ip_network("10.0.0.0/8"), ip_network("192.0.2.7")],
    6: [ip_network("2001:db8::/32"), ip_network("2001:db8::7")],
}

keys = st.sampled_from(KEYS)
addresses = st.sampled_from([ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "2001:db8:1::1")])
backends = st.builds(
    Backend,
    addresses,
    st.integers(0, 9),
    st.sampled_from([None, *Forward]),
    st.sampled_from(AdminState),
)
vips = st.builds(
    lambda key, **asked: Vip(key, quic=QuicIds(3, 1) if key.protocol == "udp" else None, **asked),
    keys,
    name=st.sampled_from([None, "web", "dns"]),
    forward=st.sampled_from([Forward.IPIP, Forward.GUE]),
    scheduler=st.sampled_from(Scheduler),
    on_unhealthy=st.sampled_from(OnUnhealthy),
    vlan=st.sampled_from(VlanTags),
    idle_timeout_seconds=st.integers(1, 65535),
    limits=st.builds(RateLimits, packets=st.integers(0, 9)),
)
checks = st.builds(
    HealthCheck, type=st.sampled_from([CheckType.HTTP, CheckType.TCP]), port=st.integers(1, 9), rise=st.integers(1, 3)
)
several_checks = st.lists(checks, max_size=3).map(tuple)


def of_key(make):
    """An edit whose prefixes are of its VIP's family."""
    halves = st.sets(st.integers(0, 1))
    return st.builds(
        lambda key, *chosen: make(key, *([NETWORKS[key.address.version][n] for n in c] for c in chosen)),
        keys,
        halves,
        halves,
    )


some_backends = st.lists(backends, max_size=3, unique_by=lambda one: one.address).map(tuple)
parts = st.fixed_dictionaries(
    {}, optional={"backends": some_backends, "checks": several_checks, "access": st.just(AccessList())}
)
single = st.one_of(
    st.builds(lambda vip, given: edits.CreateVip(vip, **given), vips, parts),
    st.builds(lambda vip, given: edits.PutVip(vip, **given), vips, parts),
    st.builds(edits.PatchVip, keys, st.sampled_from([{"name": "other"}, {"tracking": Tracking.ALWAYS.value}])),
    st.builds(edits.DeleteVip, keys),
    st.builds(edits.CreateBackend, keys, backends),
    st.builds(edits.PutBackend, keys, backends),
    st.builds(edits.PatchBackend, keys, addresses, st.sampled_from([{"weight": 3}, {"admin_state": "drain"}])),
    st.builds(edits.DeleteBackend, keys, addresses),
    st.builds(edits.ReplaceBackends, keys, some_backends),
    st.builds(edits.DrainBackend, keys, addresses, st.floats(1, 600), st.floats(0, 1)),
    st.builds(edits.UndrainBackend, keys, addresses),
    st.builds(edits.PutCheck, keys, checks),
    st.builds(edits.DeleteCheck, keys),
    st.builds(edits.PutChecks, keys, several_checks),
    st.builds(edits.DeleteChecks, keys),
    of_key(lambda key, allow, deny: edits.PutAccess(key, AccessList(allow, deny))),
    of_key(
        lambda key, allow, deny: edits.PatchAccess(key, Prefixes.of(allow), None if not deny else Prefixes.of(deny))
    ),
)
configs = st.lists(st.builds(DeclaredVip, st.just(""), vips, several_checks, backends=some_backends), max_size=2)
whole = st.one_of(
    st.builds(
        lambda declared, owner, clear: edits.PutConfig(
            Config(tuple(replace(vip, pointer=f"/vips/{at}") for at, vip in enumerate(declared))), owner, clear
        ),
        configs,
        st.sampled_from(["", "/etc/xdplb/config.toml"]),
        st.booleans(),
    ),
    st.just(edits.ReleaseConfig()),
    st.builds(edits.ClearOverlay, st.none() | keys),
    st.builds(edits.ClearOverlay, keys, addresses),
)
any_edit = st.one_of(single, whole, st.lists(single, max_size=3).map(lambda parts: edits.Batch(tuple(parts))))
