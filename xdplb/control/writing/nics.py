"""Keeps the program on the NICs that are asked for: those that come, and those that come back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from xdplb.control.events import Events, NicAttached, NicDown, NicLost, NicUp, PinsNotRestored, PinsRestored
from xdplb.control.plan.nics import NicStanding, judge
from xdplb.dataplane.plane import Attachment, DataPlane
from xdplb.model.errors import NotFoundError, XdplbError
from xdplb.model.nic import DesiredNic, NicLink

__all__ = ["NicKeeper"]

_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a NIC could not be attached, and when to try again; sooner if its `link` changes."""

    reason: str
    link: NicLink | None
    wait: float
    until: float


class NicKeeper:
    """Attaches the program to each NIC asked for that has lost it, or never had it, and says what happens to them.

    It is used in the thread of the maps. Its attributes are replaced as a whole: other threads may read them.
    """

    def __init__(
        self, plane: DataPlane, nics: Sequence[DesiredNic], clock: Callable[[], float], events: Events
    ) -> None:
        self._plane, self._nics, self._clock, self._events = plane, nics, clock, events
        self._refused: dict[str, _Refused] = {}
        self._unrepaired = ""
        self.attachments: tuple[Attachment, ...] = ()
        """The NICs that the program is on, also those that are not asked for."""
        self.standings: tuple[NicStanding, ...] = ()
        """The NICs asked for, in that order."""

    def check(self, links: Mapping[str, NicLink]) -> bool:
        """Look at the NICs, and attach where the program is missing. Return whether anything is not as it was.

        `links` are the interfaces of the host by name. Raises PlatformError if the NICs cannot be looked at.
        """
        before = (self.attachments, self.standings)
        self._repair()
        found = {one.interface: one for one in self._plane.attachments()}
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
        return (self.attachments, self.standings) != before

    def _repair(self) -> None:
        """Have pins put back that were removed; what stands in the way of that is said once."""
        try:
            removed = self._plane.repair()
        except XdplbError as error:
            if (text := _in_one(error)) != self._unrepaired:
                self._events.say(PinsNotRestored(text))
            self._unrepaired = text
            return
        self._unrepaired = ""
        if removed:
            self._events.say(PinsRestored(len(removed), ", ".join(sorted(removed))))

    def _attach(self, nic: DesiredNic, link: NicLink | None) -> bool:
        """Try to attach to a NIC, unless it was refused just now; return whether the program is on it."""
        refused = self._refused.get(nic.name)
        if refused is not None and refused.link == link and self._clock() < refused.until:
            return False
        try:
            if link is not None and not link.ethernet:
                raise XdplbError(f"{nic.name} is not an Ethernet interface")
            self._plane.attach(nic.name, nic.mode)
        except NotFoundError as error:  # cheap to ask for: no pause
            reason = f"{error.detail}; xdplb attaches to {nic.name} as soon as it is there"
            self._refused[nic.name] = _Refused(reason, link, 0.0, 0.0)
        except XdplbError as error:
            wait = min(2 * refused.wait, _LAST_RETRY_SECONDS) if refused and refused.wait else _FIRST_RETRY_SECONDS
            self._refused[nic.name] = _Refused(_in_one(error), link, wait, self._clock() + wait)
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
                remade = link is None or link.ifindex != before.attachment.ifindex
                why = "another NIC has this name now" if remade else "the program was detached by another process"
                self._events.say(NicLost(nic.name, why))

    def _say(self, known: Mapping[str, NicStanding], attached: Collection[str]) -> None:
        """Say what has changed for the NICs asked for; those in `attached` have been attached just now."""
        for now in self.standings:
            was = known.get(now.nic.name)
            if now.attachment is None:
                if was is None or was.reason != now.reason:
                    self._events.say(NicLost(now.nic.name, now.reason))
            elif now.nic.name in attached or _is_fresh(now.attachment, was):
                self._say_attached(now)
            elif was is not None and now.reason != was.reason:
                self._events.say(NicDown(now.nic.name, now.reason) if now.reason else NicUp(now.nic.name))

    def _say_attached(self, now: NicStanding) -> None:
        assert now.attachment is not None
        mode, ifindex = now.attachment.mode, now.attachment.ifindex
        self._events.say(NicAttached(now.nic.name, ifindex, mode, now.note or None))
        if now.reason:
            self._events.say(NicDown(now.nic.name, now.reason))


def _is_fresh(attachment: Attachment, before: NicStanding | None) -> bool:
    """Return whether a NIC was not attached before, or was another one."""
    return before is None or before.attachment is None or before.attachment.ifindex != attachment.ifindex


def _in_one(error: XdplbError) -> str:
    return f"{error.detail} ({error.hint})" if error.hint else error.detail
