"""When the balancer is ready: when it has what was asked, and packets can be forwarded. Pure.

A tracker such as keepalived moves the VIP's address to another balancer while this one is not ready, so everything here
is about this host. A backend that fails its check is no reason, except if no packet of any VIP is forwarded any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from xdplb.control.plan.eligibility import WAITING, Eligibility, Use
from xdplb.control.plan.nics import NicStanding
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.dataplane.plane import Attachment
from xdplb.model.backend import AdminState

__all__ = ["not_ready"]


def not_ready(
    snapshot: Snapshot,
    attachments: Collection[Attachment],
    nics: Collection[NicStanding],
    eligibility: Mapping[int, Eligibility],
    last_error: str,
) -> list[str]:
    """Return the reasons why it is not ready, a sentence each; none if it is.

    `eligibility` is that of the backends by id, as the maps have it.
    """
    reasons = [standing.reason for standing in nics if standing.reason]
    if not attachments and not reasons:
        reasons.append("the program is not attached to any NIC")
    if last_error:
        reasons.append(f"the data plane does not have the latest change: {last_error}")
    if not reasons and (why := _why_nothing_is_forwarded(snapshot, eligibility)):
        reasons.append(why)
    return reasons


def _waiting(wanted: Sequence[BoundBackend], known: Sequence[Eligibility]) -> str:
    """Return that no check has passed yet, as after a boot, if that is why nothing takes new connections; else "".

    This ends by itself: checks pass, or they fail so often that their backends are down.
    """
    waits = [standing.use is Use.KEEPING and standing.reason.startswith(WAITING) for standing in known]
    if not any(waits) or not all(wait or one.use is Use.OUT for wait, one in zip(waits, known, strict=True)):
        return ""
    first = next(bound.backend.address for bound, wait in zip(wanted, waits, strict=True) if wait)
    return f"no backend takes new connections yet: no check has passed, such as that of {first}"


def _why_nothing_is_forwarded(snapshot: Snapshot, eligibility: Mapping[int, Eligibility]) -> str:
    """Return why no packet of any VIP can be forwarded; "" if some can, or none is meant to be."""
    wanted = [bound for _, bound in snapshot.backends() if bound.backend.admin_state is not AdminState.MAINT]
    known = [standing for bound in wanted if (standing := eligibility.get(bound.id)) is not None]
    if not known or len(known) < len(wanted):
        return ""
    if waiting := _waiting(wanted, known):
        return waiting
    if any(standing.use is not Use.OUT for standing in known):
        return ""
    first = wanted[0].backend.address
    which = f"the only backend, {first}" if len(known) == 1 else f"any of the {len(known)} backends, such as {first}"
    return f"no packet can be sent to {which}: {known[0].reason}"
