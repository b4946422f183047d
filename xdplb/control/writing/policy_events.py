# SPDX-License-Identifier: Apache-2.0
"""What is told when another rule says who serves of a VIP, and when backends ramp up. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xdplb.balance.ramp import Newcomer
from xdplb.control.events import Event, PolicyChanged, SlowStartBegan, SlowStartEnded
from xdplb.control.plan.drafts import VipDraft
from xdplb.control.plan.policies import NO_RULE, rule_words
from xdplb.control.plan.tables import owed_slots

__all__ = ["policy_events"]


def policy_events(before: VipDraft | None, after: VipDraft) -> Iterator[Event]:
    """Yield what has begun or ended for a VIP, that had the draft `before`; None if it is new."""
    was = NO_RULE if before is None else before.rule
    rule, vip = after.rule, after.vip.vip
    if (rule.policy, rule.uses_backups) != (was.policy, was.uses_backups):
        reason = rule_words(rule, vip) or "all is as usual"
        yield PolicyChanged(str(vip.key), rule.policy.value, rule.uses_backups, rule.serving, rule.asked, reason)
    if after.newcomers or (before is not None and before.newcomers):
        yield from _of_ramps({} if before is None else before.newcomers, after)


def _of_ramps(before: Mapping[int, Newcomer], after: VipDraft) -> Iterator[Event]:
    vip, seconds = str(after.vip.vip.key), after.vip.vip.slow_start_seconds
    if began := sorted(after.newcomers.keys() - before.keys()):
        owed = owed_slots(after.table)  # two whole tables: not at each step of those that ramp up already
        for number in began:
            yield SlowStartBegan(vip, _address(after, number), seconds, owed.get(number, 0))
    for number in sorted(before.keys() - after.newcomers.keys()):
        if number in after.backends:
            yield SlowStartEnded(vip, _address(after, number), after.eligibility[number].reason)


def _address(draft: VipDraft, number: int) -> str:
    return str(draft.backends[number].bound.backend.address)
