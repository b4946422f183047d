# SPDX-License-Identifier: Apache-2.0
"""Numbers that pinned maps, captures and other hosts may hold: once given out, each keeps its meaning.

A failure here says that a number was changed or used again. A new name goes at the end of its table, with a number that
is in neither table; a name that is retired moves to RETIRED, with its number.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import pytest

from xdplb.dataplane import layout, older_layouts
from xdplb.dataplane.decision_codec import CHOSEN
from xdplb.dataplane.features import BITS, Feature
from xdplb.dataplane.map_layout import dump_layouts
from xdplb.dataplane.map_specs import map_layouts
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.reasons import DECAP_REASONS, REASONS, Reason
from xdplb.dataplane.single import DECAP_SPECS
from xdplb.dataplane.versions import VERSIONS
from xdplb.reference import reasons as reference

GIVEN: dict[str, dict[str, int]] = {
    "reasons": {
        "pass_not_ip": 1,
        "pass_not_unicast": 2,
        "pass_not_tcp_udp": 3,
        "pass_no_vip": 4,
        "pass_malformed": 5,
        "pass_fragment": 6,
        "pass_tunnel_error": 7,
        "pass_nat_reply": 8,
        "pass_tunnel": 9,
        "drop_fragment": 32,
        "drop_no_backend": 33,
        "drop_backend_down": 34,
        "drop_too_big": 35,
        "drop_no_headroom": 36,
        "drop_denied": 37,
        "drop_source_rate": 38,
        "drop_vip_rate": 39,
        "drop_bad_length": 40,
        "drop_bad_checksum": 41,
        "drop_ttl": 42,
        "drop_land": 43,
        "drop_tcp_flags": 44,
        "drop_extension": 45,
        "drop_internal": 46,
        "drop_martian": 47,
        "drop_source_route": 48,
        "drop_source_mac": 49,
        "drop_tcp_fragment": 50,
        "drop_backend_rate": 51,
        "drop_tunnel_source": 52,
        "drop_ecn": 53,
        "answer_echo": 96,
        "answer_too_big": 97,
        "answer_rejected": 98,
    },
    "reasons of decap": {
        "unwrapped": 0,
        "pass_other": 1,
        "pass_fragment": 2,
        "pass_malformed": 3,
        "drop_ecn": 4,
        "drop_martian": 5,
        "drop_internal": 6,
        "drop_bad_checksum": 7,
        "drop_source_route": 8,
    },
    "features": {
        "ipv6": 0,
        "outer_ipv6": 1,
        "gue": 2,
        "vlan": 3,
        "wildcard": 4,
        "schedulers": 5,
        "quic": 6,
        "access": 7,
        "limits": 8,
        "capture": 9,
        "passive": 10,
        "second_choice": 11,
        "sync": 12,
        "nics": 13,
        "nat": 14,
        "hash": 15,
        "reject": 16,
        "nat_direct": 17,
        "decap": 18,
    },
    "CHOSEN": {
        "NOBODY": 0,
        "OWNER": 1,
        "PREVIOUS": 2,
        "RECORD": 3,
        "SCHEDULER": 4,
        "QUIC": 5,
        "FRAGMENT": 6,
        "SECOND": 7,
        "REPLY": 8,
    },
    "DECISION": {"VIP": 0x01, "SLOT": 0x02, "RECORD": 0x04, "NEW": 0x08, "AT_RISK": 0x10},
    "HANDSHAKE": {"ANSWERED": 0x01, "FIN": 0x02, "RESET": 0x04},
    "FLOW": {"ESTABLISHED": 0x01, "FIN": 0x02, "RST": 0x04, "SECOND_CHOICE": 0x08, "FROM_PEER": 0x10},
    "SHARED": {"OPENED": 0x20},
    "FORWARD": {"DR": 1, "IPIP": 2, "IPIP6": 3, "GUE": 4, "GUE6": 5, "NAT": 6},
    "BACKEND": {
        "USABLE": 0x01,
        "VLAN": 0x02,
        "QINQ": 0x04,
        "VLAN_AD": 0x08,
        "VLAN_KEEP": 0x10,
        "IPV6": 0x20,
        "INNER6": 0x40,
        "NOTHING_NEW": 0x80,
    },
    "VIP": {
        "TRACK_ALWAYS": 0x01,
        "HASH_SOURCE": 0x02,
        "ACCESS": 0x04,
        "LIMITED": 0x08,
        "ALIAS": 0x10,
        "BOTH": 0x20,
        "SECOND_CHOICE": 0x40,
        "SAMPLED": 0x80,
    },
    "SCHEDULER": {"HASH": 0, "ROTATION": 1, "LEAST": 2, "TWO": 3},
    "HASH": {"BY_FLAG": 0, "DESTINATION_PORT": 1, "ADDRESSES": 2},
    "RULE": {"TCP": 0x01, "UDP": 0x02},
    "CAPTURE": {"IN": 0, "OUT": 1},
}

RETIRED: dict[str, dict[str, int]] = {}

NOT_NUMBERS = {"SCHEDULER_BITS", "HASH_SHIFT", "VIP_GROUP_SIZE", "VIP_RULES", "FLOW_BUSY", "FLOW_KEY_BITS", "FLOW_WAYS"}
NOT_NUMBERS |= {f"HANDSHAKE_{size}" for size in ("BITS", "BUCKETS", "BUSY", "FIRST_BIT", "WAIT_NS")}
NOT_NUMBERS |= {"SHARED_FLOW", "SHARED_FLOWS_BYTES"}
"""Constants of layout that begin like a code and are sizes."""

RANGES = {"pass": range(1, 32), "drop": range(32, 96), "answer": range(96, 128)}


def present(kind: str) -> dict[str, int]:
    """Return the numbers as the code has them."""
    match kind:
        case "reasons":
            return {reason.name: reason.number for reason in REASONS}
        case "reasons of decap":
            return {reason.name: reason.number for reason in DECAP_REASONS}
        case "features":
            return {feature.value: bit for feature, bit in BITS.items()}
    prefix = f"{kind}_"
    return {
        name.removeprefix(prefix): value
        for name in layout.__all__
        if name.startswith(prefix) and name not in NOT_NUMBERS and isinstance(value := getattr(layout, name), int)
    }


@pytest.mark.parametrize("kind", GIVEN)
def test_a_number_keeps_its_meaning(kind: str) -> None:
    assert present(kind) == GIVEN[kind]


@pytest.mark.parametrize("kind", GIVEN)
def test_no_number_is_given_out_twice(kind: str) -> None:
    numbers = [*GIVEN[kind].values(), *RETIRED.get(kind, {}).values()]
    assert len(numbers) == len(set(numbers))


def test_every_feature_and_every_choice_has_a_number() -> None:
    assert set(BITS) == set(Feature)
    assert {chosen.name: number for number, chosen in CHOSEN.items()} == GIVEN["CHOSEN"]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_a_reason_s_number_says_what_becomes_of_the_packet(reason: Reason) -> None:
    assert reason.number in RANGES[reason.name.partition("_")[0]]
    verdict = reference.Reason(reason.name).verdict.name
    assert {"PASS": "pass", "DROP": "drop", "TX": "answer"}[verdict] == reason.name.partition("_")[0]


LAYOUTS: dict[str, dict[int, int]] = {
    "vip_index": {1: 1629550709},
    "vip_index6": {1: 2393087411},
    "vip_prefixes": {1: 2262822627},
    "vip_prefixes6": {1: 2943250437},
    "vip_tables": {1: 3827611993, 2: 1382481100},
    "table_prints": {1: 3189149141},
    "vip_stats": {1: 274566186, 2: 2416828628},
    "reason_stats": {2: 3065438575},
    "nic_stats": {1: 2065864690},
    "backends": {1: 3187877111},
    "backend_stats": {1: 1122633702, 2: 2681749038},
    "backend_loads": {1: 1042380605},
    "backend_doubts": {1: 1828200224},
    "second_stats": {1: 910464506},
    "vip_strays": {1: 1917049742},
    "quic_servers": {1: 1514847233},
    "nat_backends": {1: 878808948},
    "nat_index": {1: 1364443426, 2: 2360397001},
    "client_ways": {1: 1201731781},
    "nat_direct": {1: 4076848236},
    "tunnel_sources": {1: 449050400},
    "unwrapped_packets": {1: 3374760553},
    "tx_ports": {1: 320501658},
    "flow_lines": {1: 3655101086},
    "flow_lines6": {1: 3600725209},
    "flows": {1: 3076272096},
    "flows6": {1: 2261903432},
    "probation": {1: 1685708886},
    "probation6": {1: 2759491384},
    "fragments": {1: 1922578320, 2: 3171882862},
    "vip_guards": {1: 723621004, 2: 292531003, 3: 2020619126},
    "vip_buckets": {1: 3847499996},
    "source_buckets": {1: 1497699981},
    "access4": {1: 2242809839},
    "access6": {1: 503083872},
    "answer_budget": {1: 3497104019},
    "handshake_shares": {1: 3977416503},
    "handshakes": {1: 2412384015},
    "handshake_stats": {1: 1380305659},
    "shared_flows": {1: 306979469},
    "shared_losses": {1: 1625419614},
    "explain_decision": {1: 3062096465},
    "capture_decision": {1: 1115236496},
    "capture_filter": {1: 256590315},
    "capture_events": {1: 3077933894},
    "decap_addresses": {1: 853910306},
    "decap_stats": {1: 3228726540},
}
"""What each version of a map's layout is, as a checksum. A map that changes gets a new version here."""


@pytest.mark.parametrize("name", VERSIONS)
def test_a_layout_that_changes_has_a_new_version(name: str) -> None:
    layouts = map_layouts(Capacity()) | {spec.name: spec.layout for spec in DECAP_SPECS}
    found = crc32(dump_layouts({name: layouts[name]}))
    assert LAYOUTS[name][VERSIONS[name]] == found, f"{name} changed: give it a new version, here {found}"
    assert max(LAYOUTS[name]) == VERSIONS[name]


def test_the_layouts_before_meta_described_them_stay_as_they_were() -> None:
    assert crc32((Path(older_layouts.__file__).parent / "layouts_v3.json").read_bytes()) == 3755753434
