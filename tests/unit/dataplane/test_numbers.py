"""Numbers that pinned maps, captures and other hosts may hold: once given out, each keeps its meaning.

A failure here says that a number was changed or used again. A new name goes at the end of its table, with a number that
is in neither table; a name that is retired moves to RETIRED, with its number.
"""

from __future__ import annotations

import pytest

from xdplb.dataplane import layout
from xdplb.dataplane.decision_codec import CHOSEN
from xdplb.dataplane.features import BITS, Feature
from xdplb.dataplane.reasons import DECAP_REASONS, REASONS, Reason
from xdplb.reference import reasons as reference

GIVEN: dict[str, dict[str, int]] = {
    "reasons": {
        "pass_not_ip": 1,
        "pass_not_unicast": 2,
        "pass_not_tcp_udp": 3,
        "pass_no_vip": 4,
        "pass_malformed": 5,
        "pass_fragment": 6,
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
        "answer_echo": 96,
        "answer_too_big": 97,
    },
    "reasons of decap": {
        "unwrapped": 0,
        "pass_other": 1,
        "pass_fragment": 2,
        "pass_malformed": 3,
        "drop_ecn": 4,
        "drop_martian": 5,
        "drop_internal": 6,
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
    },
    "CHOSEN": {"NOBODY": 0, "OWNER": 1, "PREVIOUS": 2, "RECORD": 3, "SCHEDULER": 4, "QUIC": 5, "FRAGMENT": 6},
    "DECISION": {"VIP": 0x01, "SLOT": 0x02, "RECORD": 0x04, "NEW": 0x08, "AT_RISK": 0x10},
    "FLOW": {"ESTABLISHED": 0x01, "FIN": 0x02, "RST": 0x04},
    "FORWARD": {"DR": 1, "IPIP": 2, "IPIP6": 3, "GUE": 4, "GUE6": 5},
    "BACKEND": {
        "USABLE": 0x01,
        "VLAN": 0x02,
        "QINQ": 0x04,
        "VLAN_AD": 0x08,
        "VLAN_KEEP": 0x10,
        "IPV6": 0x20,
        "INNER6": 0x40,
    },
    "VIP": {
        "TRACK_ALWAYS": 0x01,
        "HASH_SOURCE": 0x02,
        "ACCESS": 0x04,
        "LIMITED": 0x08,
        "ALIAS": 0x10,
        "BOTH": 0x20,
    },
    "SCHEDULER": {"HASH": 0, "ROTATION": 1, "LEAST": 2, "TWO": 3},
    "RULE": {"TCP": 0x01, "UDP": 0x02},
    "CAPTURE": {"IN": 0, "OUT": 1},
}

RETIRED: dict[str, dict[str, int]] = {}

NOT_NUMBERS = {"VIP_GROUP_SIZE", "VIP_RULES"}
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
    assert {name.upper(): number for number, name in CHOSEN.items()} == GIVEN["CHOSEN"]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.name)
def test_a_reason_s_number_says_what_becomes_of_the_packet(reason: Reason) -> None:
    assert reason.number in RANGES[reason.name.partition("_")[0]]
    verdict = reference.Reason(reason.name).verdict.name
    assert {"PASS": "pass", "DROP": "drop", "TX": "answer"}[verdict] == reason.name.partition("_")[0]
