# SPDX-License-Identifier: Apache-2.0
"""When the balancer is ready: when it has what was asked, and packets can be forwarded. Pure.

A tracker such as keepalived moves the VIP's address to another balancer while this one is not ready, so everything here
is about this host. A backend that fails its check is no reason, except if no packet of any VIP is forwarded any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from xdplb.control.answers.views import VipView
from xdplb.control.plan.eligibility import Eligibility, Use, is_waiting
from xdplb.control.plan.nics import NicStanding
from xdplb.control.plan.operating import OperatingStatus
from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Attachment
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState

__all__ = ["not_ready", "too_few_serve"]


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


def too_few_serve(view: VipView) -> str:
    """Return why a VIP is not ready, as a sentence: fewer of its backends serve than must; "" if enough do."""
    if view.min_serving_met:
        return ""
    name = view.vip.name or str(view.vip.key)
    if not view.backends:
        return f"VIP {name} has no backend"
    asked = view.vip.min_serving
    must = f"{view.backends_needed} must" + (f" (min_serving is {asked})" if asked.percent else "")
    number = f"{view.backends_serving} of {view.backends} backends"
    if view.operating_status is OperatingStatus.FAILING_OPEN:
        return f"VIP {name}: {number} serve and are healthy, and {must}; others are used all the same"
    return f"VIP {name}: {number} serve{'s' if view.backends_serving == 1 else ''}, and {must}"


def _why_nothing_is_forwarded(snapshot: Snapshot, eligibility: Mapping[int, Eligibility]) -> str:
    """Return why no packet of any VIP can be forwarded; "" if some can, or none is meant to be.

    That no check has passed yet, as after a boot, ends by itself: checks pass, or they fail so often that their
    backends are down.
    """
    found: list[tuple[IPAddress, Eligibility]] = []
    for _, bound in snapshot.backends():
        if bound.backend.admin_state is AdminState.MAINT:
            continue
        standing = eligibility.get(bound.id)
        if standing is None or not (standing.use is Use.OUT or is_waiting(standing)):
            return ""  # nearly always at the first one: this is asked every second
        found.append((bound.backend.address, standing))
    if not found:
        return ""
    if waiting := next((address for address, standing in found if is_waiting(standing)), None):
        return f"no backend takes new connections yet: no check has passed, such as that of {waiting}"
    first, standing = found[0]
    which = f"the only backend, {first}" if len(found) == 1 else f"any of the {len(found)} backends, such as {first}"
    return f"no packet can be sent to {which}: {standing.reason}"
