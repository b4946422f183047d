"""What differs, in words."""

from __future__ import annotations

from xdplb.reference.process import Outcome

__all__ = ["describe", "tell_entries", "tell_outcome"]

SHOWN_BYTES = 160
SHOWN_ENTRIES = 4


def describe(frame: bytes) -> str:
    """Return what scapy makes of a frame, and its bytes."""
    from scapy.layers.l2 import Ether  # takes a second

    return f"{Ether(frame).summary()}; {len(frame)} bytes: {_hex(frame)}"


def tell_outcome(outcome: Outcome, verdict: int, out: bytes, counted: list[str]) -> str:
    """Return how an outcome differs from the program's verdict, the frame that came out, and the reason it counted."""
    told = f"the model says {outcome.verdict.name} ({outcome.reason or outcome.placement}; VIP {outcome.vip_id}, "
    told += f"backend {outcome.backend_id}, slot {outcome.slot} {outcome.slot_state}, record {outcome.record}), "
    told += f"the program {verdict} {counted}"
    if out == outcome.frame:
        return told
    pairs = zip(out, outcome.frame, strict=False)
    first = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(out), len(outcome.frame)))
    told += f"; {len(outcome.frame)} bytes against {len(out)}, different from byte {first} on"
    return f"{told}\n  model   {_hex(outcome.frame)}\n  program {_hex(out)}"


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
