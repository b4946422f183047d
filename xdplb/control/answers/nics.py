# SPDX-License-Identifier: Apache-2.0
"""What is shown of the NICs: those asked for, and those that have the program without being asked for."""

from __future__ import annotations

from xdplb.control.answers.views import NicView
from xdplb.control.plan.nics import NicStanding
from xdplb.control.writing.nics import NicKeeper
from xdplb.dataplane.plane import Attachment

__all__ = ["nics_shown"]


def nics_shown(keeper: NicKeeper) -> tuple[NicView, ...]:
    """Return the view of each NIC, those asked for first."""
    asked = [_asked(standing) for standing in keeper.standings]
    names = {view.interface for view in asked}
    others = (one for one in keeper.attachments if one.interface not in names)
    return (
        *asked,
        *(_not_asked(one) for one in others),
    )


def _not_asked(one: Attachment) -> NicView:
    return NicView(
        interface=one.interface, asked_mode=None, attached=True, mode=one.mode, up=None, reason="", note=one.note
    )


def _asked(standing: NicStanding) -> NicView:
    return NicView(
        interface=standing.nic.name,
        asked_mode=standing.nic.mode,
        attached=standing.attachment is not None,
        mode=standing.mode,
        up=standing.up,
        reason=standing.reason,
        note=standing.note,
    )
