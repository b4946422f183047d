# SPDX-License-Identifier: Apache-2.0
"""How each NIC that is asked for stands: does it carry packets, and if not, why not. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from xdplb.dataplane.plane import Attachment
from xdplb.model.nic import DesiredNic, NicLink

__all__ = ["NicStanding", "judge", "nics_out"]

_ONE_NIC_OF_SEVERAL = frozenset({"bond", "team"})
"""Kinds of masters that take over the routes and the carrier of their ports."""


@dataclass(frozen=True, slots=True)
class NicStanding:
    """A NIC that is asked for, and how it stands.

    `attachment` is None if the program is not on it. `mode` is the mode that it is in, or was in last, or else the one
    asked for. `up`: it is up and has a carrier. `reason` is a sentence that says why it does not carry packets as
    asked, "" if it does; `note` one that says why it is in skb mode.
    """

    nic: DesiredNic
    attachment: Attachment | None
    mode: str
    up: bool
    reason: str = ""
    note: str = ""


def judge(
    nic: DesiredNic, attachment: Attachment | None, link: NicLink | None, refusal: str, last_mode: str
) -> NicStanding:
    """Return how a NIC stands; `link` is None if there is none, `refusal` why the program could not be attached."""
    up = link is not None and link.up and link.carrier
    if attachment is None:
        reason = _in_a_bond(link) or refusal or f"xdplb is not attached to {nic.name}"
        return NicStanding(nic, None, last_mode, up, reason)
    reason = _in_a_bond(link) or _why_down(link) or _why_replaced(attachment)
    return NicStanding(nic, attachment, attachment.mode, up, reason, _note(attachment))


def _in_a_bond(link: NicLink | None) -> str:
    if link is None or link.master_kind not in _ONE_NIC_OF_SEVERAL:
        return ""
    return (
        f"{link.name} is now a port of {link.master}, which has its routes: name {link.master} in `xdplb up`"
        f" instead of {link.name}"
    )


def _why_down(link: NicLink | None) -> str:
    if link is None:  # the kernel's tables are read a moment later than the program is seen
        return ""
    if not link.up:
        return f"{link.name} is down: ip link set {link.name} up"
    return "" if link.carrier else f"{link.name} has no carrier: check its cable and the other end"


def _why_replaced(attachment: Attachment) -> str:
    if not attachment.other:
        return ""
    return f"another XDP program, {attachment.other}, is in xdplb's link on {attachment.interface}: nothing is balanced"


def _note(attachment: Attachment) -> str:
    if not attachment.note:
        return ""
    return f"{attachment.interface} is in skb mode, which is several times slower: {attachment.note}"


def nics_out(standings: Collection[NicStanding]) -> dict[str, str]:
    """Return the NICs asked for that the program is not on, with the reason."""
    return {standing.nic.name: standing.reason for standing in standings if standing.attachment is None}
