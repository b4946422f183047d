# SPDX-License-Identifier: Apache-2.0
"""What differs, in words."""

from __future__ import annotations

from xdplb.reference.decision import Decision

__all__ = ["describe", "tell_decision", "tell_entries"]

SHOWN_BYTES = 160
SHOWN_ENTRIES = 4


def describe(frame: bytes) -> str:
    """Return what scapy makes of a frame, and its bytes."""
    from scapy.layers.l2 import Ether  # takes a second

    return f"{Ether(frame).summary()}; {len(frame)} bytes: {_hex(frame)}"


def tell_decision(decision: Decision, verdict: int, out: bytes, counted: list[str]) -> str:
    """Return how the decision differs from the program's verdict, the frame that came out and the reason it counted."""
    told = f"the model says {decision.verdict.name} ({decision.reason or decision.placement}; VIP {decision.vip_id}, "
    told += f"backend {decision.backend_id}, slot {decision.slot} {decision.slot_state}, record {decision.record}), "
    told += f"the program {verdict} {counted}"
    if out == decision.frame:
        return told
    pairs = zip(out, decision.frame, strict=False)
    first = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(out), len(decision.frame)))
    told += f"; {len(decision.frame)} bytes against {len(out)}, different from byte {first} on"
    return f"{told}\n  model   {_hex(decision.frame)}\n  program {_hex(out)}"


def tell_entries(found: object, expected: object) -> str:
    """Return how what the maps hold differs from what the model does."""
    if not isinstance(found, dict) or not isinstance(expected, dict):
        return f"model {expected}, program {found}"
    keys = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    told = [f"{_show(key)}: model {_show(expected.get(key))}, program {_show(found.get(key))}" for key in keys]
    return f"{len(keys)} entries differ: " + "; ".join(told[:SHOWN_ENTRIES])


def _show(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _hex(frame: bytes) -> str:
    return frame[:SHOWN_BYTES].hex() + ("..." if len(frame) > SHOWN_BYTES else "")
