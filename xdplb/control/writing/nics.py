# SPDX-License-Identifier: Apache-2.0
"""Keeps the program on the NICs that are asked for: those that come, and those that come back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from xdplb.control.events import DriftKind, Events, NicAttached
from xdplb.control.plan.nics import NicStanding, judge
from xdplb.control.writing.drifts import Drifts
from xdplb.dataplane.plane import Attachment, DataPlane
from xdplb.model.errors import ConflictError, NotFoundError, XdplbError
from xdplb.model.nic import DesiredNic, NicLink

__all__ = ["NicKeeper"]

_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 10.0
_PINS = "the pin dir"


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a NIC could not be attached, and when to try again; sooner if its `link` changes.

    `kind` is PROGRAM if another program is in the way.
    """

    reason: str
    kind: DriftKind
    link: NicLink | None
    wait: float
    until: float


class NicKeeper:
    """Attaches the program to each NIC asked for that has lost it, or never had it, and says what happens to them.

    It is used in the thread of the maps. Its attributes are replaced as a whole: other threads may read them.
    """

    def __init__(
        self,
        plane: DataPlane,
        nics: Sequence[DesiredNic],
        clock: Callable[[], float],
        events: Events,
        drifts: Drifts,
    ) -> None:
        self._plane, self._nics, self._clock, self._events, self._drifts = plane, nics, clock, events, drifts
        self._refused: dict[str, _Refused] = {}
        self._mtus: dict[str, tuple[int, int]] = {}  # ifindex and MTU
        self.attachments: tuple[Attachment, ...] = ()
        """The NICs that the program is on, also those that are not asked for."""
        self.standings: tuple[NicStanding, ...] = ()
        """The NICs asked for, in that order."""

    @property
    def all_carry(self) -> bool:
        """Whether every NIC that is asked for carries packets."""
        return all(not standing.reason for standing in self.standings)

    def check(self, links: Mapping[str, NicLink]) -> bool:
        """Look at the NICs, and attach where the program is missing. Return whether anything is not as it was.

        `links` are the interfaces of the host by name. Raises PlatformError if the NICs cannot be looked at.
        """
        before = (self.attachments, self.standings)
        self._drifts.look()
        self._repair()
        found = {one.interface: self._taken_back(one) for one in self._plane.attachments()}
        known = {standing.nic.name: standing for standing in self.standings}
        missing = [nic for nic in self._nics if nic.name not in found]
        # Also one that has come back with the program on it: the kernel has forgotten that frames may go out by it.
        fresh = [nic for nic in self._nics if nic.name in found and _is_fresh(found[nic.name], known.get(nic.name))]
        attached = [nic for nic in (*missing, *fresh) if self._attach(nic, links.get(nic.name))]
        self._say_lost(attached, known, links)
        if attached:
            found = {one.interface: one for one in self._plane.attachments()}
        self.attachments = tuple(found.values())
        modes = {name: standing.mode for name, standing in known.items()}
        self.standings = tuple(
            judge(
                nic,
                found.get(nic.name),
                links.get(nic.name),
                self._refusal(nic.name),
                modes.get(nic.name, nic.mode),
            )
            for nic in self._nics
        )
        self._say(known, {nic.name for nic in attached})
        self._follow_mtus(links)
        return (self.attachments, self.standings) != before

    def _repair(self) -> None:
        """Have pins put back that were removed or replaced."""
        if not self._drifts.may_repair(DriftKind.PIN, _PINS):
            return
        try:
            removed = self._plane.repair()
        except XdplbError as error:
            reason = f"pins are missing, and packets are forwarded only as long as this daemon runs: {error}"
            self._drifts.stands(DriftKind.PIN, _PINS, reason)
            return
        self._drifts.well(DriftKind.PIN, _PINS)
        if removed:
            names = ", ".join(sorted(removed))
            self._drifts.repaired(DriftKind.PIN, _PINS, f"another process has removed or replaced the pins of {names}")

    def _taken_back(self, one: Attachment) -> Attachment:
        """Put the program into a link of ours that has another one now, unless that is undone again and again."""
        name = one.interface
        asked = any(nic.name == name for nic in self._nics)
        if not (one.other and asked and self._drifts.may_repair(DriftKind.PROGRAM, name)):
            return one
        try:
            self._plane.take_back(name)
        except XdplbError:
            return one  # and it is said that another program is there
        why = f"another process has put the program {one.other} into xdplb's link on {name}"
        self._drifts.repaired(DriftKind.PROGRAM, name, why)
        return replace(one, other="")

    def _attach(self, nic: DesiredNic, link: NicLink | None) -> bool:
        """Try to attach to a NIC, unless it was refused just now; return whether the program is on it."""
        refused = self._refused.get(nic.name)
        if refused is not None and refused.link == link and self._clock() < refused.until:
            return False
        if link is not None and not self._drifts.may_repair(DriftKind.PROGRAM, nic.name):
            reason = f"the program is detached from {nic.name} again and again; it is attached again within a minute"
            self._refused[nic.name] = _Refused(reason, DriftKind.PROGRAM, link, 0.0, 0.0)
            return False
        try:
            if link is not None and not link.ethernet:
                raise XdplbError(f"{nic.name} is not an Ethernet interface")
            self._plane.attach(nic.name, nic.mode)
        except NotFoundError as error:  # cheap to ask for: no pause
            reason = f"{error.detail}; xdplb attaches to {nic.name} as soon as it is there"
            self._refused[nic.name] = _Refused(reason, DriftKind.NIC, link, 0.0, 0.0)
        except XdplbError as error:
            kind = DriftKind.PROGRAM if isinstance(error, ConflictError) else DriftKind.NIC
            wait = min(2 * refused.wait, _LAST_RETRY_SECONDS) if refused and refused.wait else _FIRST_RETRY_SECONDS
            self._refused[nic.name] = _Refused(str(error), kind, link, wait, self._clock() + wait)
        else:
            self._refused.pop(nic.name, None)
            return True
        return False

    def _refusal(self, name: str) -> str:
        refused = self._refused.get(name)
        return "" if refused is None else refused.reason

    def _say_lost(
        self, nics: Sequence[DesiredNic], known: Mapping[str, NicStanding], links: Mapping[str, NicLink]
    ) -> None:
        """Say which of these NICs, which were attached just now, had the program before, and what became of it."""
        for nic in nics:
            before, link = known.get(nic.name), links.get(nic.name)
            if before is not None and before.attachment is not None:
                if link is None or link.ifindex != before.attachment.ifindex:
                    why = f"another NIC is called {nic.name} now: it was made anew"
                    self._drifts.noted(DriftKind.NIC, nic.name, why, repaired=True)
                else:
                    why = f"another process has detached the program from {nic.name}"
                    self._drifts.repaired(DriftKind.PROGRAM, nic.name, why)

    def _say(self, known: Mapping[str, NicStanding], attached: Collection[str]) -> None:
        """Say what has changed for the NICs asked for; those in `attached` have been attached just now."""
        for now in self.standings:
            was = known.get(now.nic.name)
            self._judge(now)
            if now.attachment is not None and (now.nic.name in attached or _is_fresh(now.attachment, was)):
                mode, ifindex = now.attachment.mode, now.attachment.ifindex
                self._events.say(NicAttached(now.nic.name, ifindex, mode, now.note or None))

    def _judge(self, now: NicStanding) -> None:
        """Note whether a NIC is as it should be."""
        name, refused = now.nic.name, self._refused.get(now.nic.name)
        replaced = now.attachment is not None and bool(now.attachment.other)
        foreign = replaced or (now.attachment is None and refused is not None and refused.kind is DriftKind.PROGRAM)
        for kind in (DriftKind.NIC, DriftKind.PROGRAM):
            if now.reason and (kind is DriftKind.PROGRAM) == foreign:
                self._drifts.stands(kind, name, now.reason)
            else:
                self._drifts.well(kind, name)

    def _follow_mtus(self, links: Mapping[str, NicLink]) -> None:
        """Tell of MTUs that were changed. What is sent follows them."""
        for nic in self._nics:
            link, before = links.get(nic.name), self._mtus.get(nic.name)
            if link is not None:
                self._mtus[nic.name] = (link.ifindex, link.mtu)
            if link is not None and before is not None and before[0] == link.ifindex and before[1] != link.mtu:
                why = f"the MTU of {nic.name} was {before[1]} and is {link.mtu} now; what is sent follows it"
                self._drifts.noted(DriftKind.MTU, nic.name, why, repaired=True)


def _is_fresh(attachment: Attachment, before: NicStanding | None) -> bool:
    """Return whether a NIC was not attached before, or was another one."""
    return before is None or before.attachment is None or before.attachment.ifindex != attachment.ifindex
