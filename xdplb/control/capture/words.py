# SPDX-License-Identifier: Apache-2.0
"""The decision on a captured packet, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xdplb.control.answers.packet_words import backend_words
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.decisions import CapturedPacket, Chosen, KernelDecision
from xdplb.dataplane.layout import NO_BACKEND, SLOT_PINNED
from xdplb.dataplane.plane import Attachment
from xdplb.dataplane.reasons import REASONS

__all__ = ["Names", "decision_text", "names_of"]

WHEN = {reason.name: reason.text for reason in REASONS}
DONE = {"pass": "passed to the host", "drop": "dropped", "answer": "answered"}
CHOSEN = {
    Chosen.PREVIOUS: "chosen as its slot's previous owner",
    Chosen.RECORD: "chosen by its flow's record",
    Chosen.SCHEDULER: "chosen by the scheduler",
    Chosen.QUIC: "chosen by its QUIC connection ID",
    Chosen.FRAGMENT: "chosen like its first fragment",
    Chosen.SECOND: "chosen as its second choice",
    Chosen.REPLY: "which sent this reply",
}
"""How a backend was chosen, if not as the owner of the slot."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of ids: VIPs, backends with their forward method (`10.0.0.11`, `ipip`), and NICs by ifindex."""

    vips: Mapping[int, str]
    backends: Mapping[int, tuple[str, str]]
    nics: Mapping[int, str]

    def backend(self, backend_id: int | None) -> str:
        """Return a backend's address, or words for a backend that is gone or for none."""
        found = self.backends.get(backend_id or 0)
        return backend_words(backend_id, None if found is None else found[0])

    def nic(self, ifindex: int) -> str:
        """Return a NIC's name."""
        return self.nics.get(ifindex, f"NIC {ifindex}")

    def after(self, older: Names) -> Names:
        """Return these names, and the older ones for ids that are no longer in use."""
        return Names({**older.vips, **self.vips}, {**older.backends, **self.backends}, {**older.nics, **self.nics})


def names_of(snapshot: Snapshot, attachments: Sequence[Attachment]) -> Names:
    """Return the names of all ids in use now."""
    return Names(
        vips={vip.id: str(vip.vip.key) for vip in snapshot.vips.values()},
        backends={
            backend.id: (str(backend.backend.address), vip.forward_of(backend.backend).value)
            for vip, backend in snapshot.backends()
        },
        nics={nic.ifindex: nic.interface for nic in attachments},
    )


def decision_text(packet: CapturedPacket, names: Names) -> str:
    """Return the decision: `sent to 10.0.0.11 by ipip, slot 4711 steady, out of eth0, for 203.0.113.10:443/tcp`."""
    return ", ".join(_parts(packet, names))


def _parts(packet: CapturedPacket, names: Names) -> Iterator[str]:
    decision = packet.decision
    if decision.reason is None:
        yield _sent(decision, names)
        if decision.chosen in CHOSEN:
            yield CHOSEN[decision.chosen]
    else:
        yield _stopped(decision.reason)
    if decision.slot is not None and decision.chosen is not Chosen.SCHEDULER:
        yield f"slot {decision.slot} {_slot_state(decision, names)}"
    if decision.is_new and decision.reason is None:
        yield "a new flow"
    if decision.is_at_risk and decision.reason is None:
        yield "at risk: no record says which backend has its connection"
    if packet.left is not None:
        yield f"out of {names.nic(packet.left.ifindex)}"
    if decision.vip_id is not None:
        yield f"for {names.vips.get(decision.vip_id, 'a VIP that is gone')}"


def _sent(decision: KernelDecision, names: Names) -> str:
    found = names.backends.get(decision.backend_id or 0)
    return f"sent to {names.backend(decision.backend_id)}" + (f" by {found[1]}" if found else "")


def _stopped(reason: str) -> str:
    action, _, name = reason.partition("_")
    return f"{DONE[action]} ({name}): {WHEN[reason]}"


def _slot_state(decision: KernelDecision, names: Names) -> str:
    if decision.previous == NO_BACKEND:
        return "steady" if decision.owner else "without an owner"
    owner = names.backend(decision.owner)
    if decision.previous == SLOT_PINNED:
        return f"pinned to {owner}"
    return f"moving from {names.backend(decision.previous)} to {owner}"
