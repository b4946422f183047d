# SPDX-License-Identifier: Apache-2.0
"""Explaining what would happen to a packet now, or if a backend were down. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from xdplb.control.edits.find import find_backend
from xdplb.control.explain.comparison import Asker, Comparison
from xdplb.control.explain.egress import sent_view
from xdplb.control.explain.maps_as_model import config_of, matching
from xdplb.control.explain.question import PacketKind, Question, question
from xdplb.control.explain.sentences import Story, reasons
from xdplb.control.explain.views import ExplainView, RecordView, SentView, SlotView
from xdplb.control.plan.eligibility import Eligibility
from xdplb.control.plan.forecast import if_down
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundVip
from xdplb.control.writing.threads import Worker
from xdplb.control.writing.writer import Writer
from xdplb.dataplane.layout import FLOW_ESTABLISHED, FLOW_FIN, FLOW_FROM_PEER, FLOW_RST, FLOW_SECOND_CHOICE
from xdplb.dataplane.plane import Attachment, DataPlane
from xdplb.model.address import IPAddress
from xdplb.model.errors import InvalidError, NotFoundError, PlatformError
from xdplb.reference.config import Config

__all__ = ["Explainer"]

COMPARISONS = 3
"""How often the answers are compared while they differ: the maps may have changed in between."""

FLAGS = {
    FLOW_ESTABLISHED: "established",
    FLOW_FIN: "fin",
    FLOW_RST: "rst",
    FLOW_SECOND_CHOICE: "second_choice",
    FLOW_FROM_PEER: "from_peer",
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """The present or assumed state: what the maps hold in it, and the eligibility of backends, by id."""

    config: Config
    eligibility: Mapping[int, Eligibility]
    vip: BoundVip | None
    down: IPAddress | None


class Explainer:
    """Answers in its own thread, so that compiling a program for it does not block the thread of the maps."""

    def __init__(self, plane: DataPlane, writer: Writer, now: Callable[[], datetime]) -> None:
        self._plane, self._writer, self._now = plane, writer, now
        self._thread = Worker("xdplb-explain")

    async def explain(
        self, client: str, vip: str, packet: PacketKind | None, down: str | None, interface: str | None
    ) -> ExplainView:
        """Return what would happen to the packet from `client` to `vip`, or if the backend `down` were down.

        Raises InvalidError and NotFoundError for a bad question, PlatformError if xdplb is attached to no NIC.
        """
        asked = question(self._writer.snapshot, client, vip, packet)
        nic = self._nic(interface)
        for _ in range(COMPARISONS):
            held = await self._writer.read_maps(self._writer.applier.read)
            scene = await self._scene(held, asked, down)
            asker = Asker(self._plane, scene.config, asked, nic.ifindex)
            comparison = await self._thread(asker.ask_both if down is None else asker.ask_model)
            if comparison.agree is not False:
                break
        return self._view(comparison, asked, scene, nic)

    async def stop(self) -> None:
        """Return when no question is being answered any more."""
        await self._thread.stop()

    def _nic(self, interface: str | None) -> Attachment:
        nics = self._writer.applier.attachments
        if not nics:
            reasons = [standing.reason for standing in self._writer.applier.nics.standings]
            raise PlatformError("; ".join(reasons) or "xdplb is not attached to any NIC", hint="see xdplb status")
        if interface is None:
            return nics[0]
        found = next((nic for nic in nics if nic.interface == interface), None)
        if found is None:
            names = ", ".join(nic.interface for nic in nics)
            raise InvalidError.field(
                "/query/interface", f"xdplb is not attached to {interface!r}", hint=f"it is attached to {names}"
            )
        return found

    async def _scene(self, held: Held, asked: Question, down: str | None) -> _Scene:
        config = config_of(held, self._plane, self._writer.applier.attachments, asked.flow.source)
        vips = matching(config, asked.flow)
        vip = self._writer.snapshot.vips.get(vips[0].key) if vips else None
        if down is None:
            return _Scene(config, self._writer.applier.eligibility, vip, None)
        if vip is None:
            raise NotFoundError.field(
                "/query/if_down", f"no VIP accepts packets for {asked.destination}", hint="xdplb vip ls lists them"
            )
        backend = find_backend(vip.vip.key, vip.backends, down, "/query/if_down")
        snapshot, present = self._writer.snapshot, self._writer.applier.present_of(held)
        observed = self._writer.observe(snapshot, dict(self._writer.health.known))
        then = await self._thread(lambda: if_down(snapshot, backend, observed, present, only={vip.id}, now=self._now()))
        after = config_of(then.after, self._plane, self._writer.applier.attachments, asked.flow.source)
        return _Scene(after, then.plan.eligibility, vip, backend.backend.address)

    def _view(self, comparison: Comparison, asked: Question, scene: _Scene, nic: Attachment) -> ExplainView:
        decision = comparison.answer.decision
        action, reason = "send", None
        if decision.reason is not None:
            action, _, reason = decision.reason.value.partition("_")
        entry = scene.config.vips.get(decision.vip_id) if decision.vip_id is not None else None
        return ExplainView(
            question=asked,
            interface=nic.interface,
            if_down=scene.down,
            vip=None if entry is None else str(entry.key),
            action=action,
            reason=reason,
            slot=_slot(comparison, scene.config),
            record=_record(comparison, scene.config),
            backend=_address(scene.config, decision.backend_id),
            chosen_by=decision.placement.value,
            sent=self._sent(comparison, scene.config) if decision.reason is None else None,
            why=tuple(reasons(Story(asked, comparison, scene.config, scene.vip, scene.eligibility))),
            agree=comparison.agree,
            differences=comparison.differences,
            note=comparison.note,
        )

    def _sent(self, comparison: Comparison, config: Config) -> SentView:
        decision = comparison.answer.decision
        assert decision.backend_id is not None, "it was sent"
        backend = config.backends[decision.backend_id]
        known = self._writer.resolution(backend.address).next_hop
        nics = {nic.ifindex: nic.interface for nic in self._writer.applier.attachments}
        return sent_view(decision.frame, backend, nics, None if known is None else known.gateway)


def _address(config: Config, backend_id: int | None) -> IPAddress | None:
    entry = config.backends.get(backend_id or 0)
    return None if entry is None else entry.address


def _slot(comparison: Comparison, config: Config) -> SlotView | None:
    decision = comparison.answer.decision
    if decision.slot is None or decision.slot_state is None:
        return None
    return SlotView(
        decision.slot,
        decision.slot_state.value,
        _address(config, decision.owner),
        _address(config, decision.previous),
    )


def _record(comparison: Comparison, config: Config) -> RecordView | None:
    found = comparison.answer.remembered.record
    if found is None:
        return None
    return RecordView(
        backend=_address(config, found.backend),
        counts=config.is_current(found.backend, found.epoch),
        age_seconds=max(0.0, (comparison.answer.at - found.last_seen) / 1e9),
        flags=tuple(name for bit, name in FLAGS.items() if found.flags & bit),
        probation=found.probation,
    )
