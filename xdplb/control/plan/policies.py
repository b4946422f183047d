# SPDX-License-Identifier: Apache-2.0
"""The rule by which the backends of a VIP serve, from how many of them can. Pure.

It says whether backups are used, and whether backends whose checks failed are used all the same. It depends on what the
backends are now, not on what was before: so it is the same after a restart, and on every balancer that sees the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from xdplb.control.plan.operating import needed_of
from xdplb.model.backend import KnownHealth
from xdplb.model.health import HealthCheck
from xdplb.model.vip import AllUnhealthy, Vip

__all__ = ["NO_RULE", "Policy", "Rule", "Tally", "Traits", "backup_words", "rule_of", "rule_words"]


class Traits:
    """What counts of a backend when the rule of its VIP is made, as bits: a flip looks at those of all backends."""

    ASKED: Final = 1
    """The operator wants it to take new connections."""
    SERVES: Final = 2
    """It is asked to, and nothing is in the way."""
    WAITS: Final = 4
    """It is asked to, and its check has not passed yet."""
    FAILED: Final = 8
    """Its check failed, and packets could be sent to it."""
    BACKUP: Final = 16
    """Its role is backup."""
    EJECTED: Final = 32
    """It is asked to, and only passive health is in the way."""
    HELD: Final = 64
    """It is asked to, and only that it flaps is in the way: it is held down."""
    HOPEFUL: Final = ASKED | FAILED
    """It would serve if its failed check were ignored."""


class Policy(StrEnum):
    """Why backends serve whose checks failed, or why none serves."""

    NONE = "none"
    """None of them does: those serve that can."""
    PANIC = "panic"
    """Too few primary backends are healthy, so all of them serve."""
    FAIL_OPEN = "fail-open"
    """No backend is healthy, so those that failed serve."""
    LAST_GOOD = "last-good"
    """No backend is healthy, so those serve that were the last healthy ones."""
    FAIL_CLOSED = "fail-closed"
    """No backend is healthy, and none serves."""
    REJECT = "reject"
    """The same, and clients are told."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many backends of a VIP have which traits."""

    numbers: Mapping[int, int]

    @classmethod
    def of(cls, traits: Iterable[int]) -> Tally:
        """Count them."""
        return cls(Counter(traits))

    def after(self, lost: Iterable[int], got: Iterable[int]) -> Tally:
        """Return the tally without some and with others."""
        numbers = Counter(self.numbers)
        numbers.subtract(lost)
        numbers.update(got)
        return Tally(+numbers)

    def count(self, having: int, lacking: int = 0) -> int:
        """Return how many have all of some traits, and none of others."""
        return sum(n for traits, n in self.numbers.items() if traits & having == having and not traits & lacking)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who serves of a VIP, and the numbers that this follows from.

    `serving` of `asked` primary backends can serve, `needed` are enough, and `backups` backups can serve.
    `spares_primaries`: failed backups are used, since no primary backend could be. With `last-good`, those serve that
    were up until `since` or later. `uses_ejected`: backends that are ejected serve, since too few others can.
    `uses_held`: so do those that are held down since they flap, and they are counted.
    """

    policy: Policy = Policy.NONE
    uses_backups: bool = False
    spares_primaries: bool = False
    uses_ejected: bool = False
    uses_held: bool = False
    since: datetime | None = None
    serving: int = field(default=0, compare=False)
    asked: int = field(default=0, compare=False)
    needed: int = field(default=1, compare=False)
    backups: int = field(default=0, compare=False)

    @property
    def can_serve(self) -> int:
        """How many backends serve by themselves: primary ones, and backups that are used."""
        return self.serving + (self.backups if self.uses_backups else 0)

    @property
    def fails_open(self) -> bool:
        """Whether nobody is healthy, and backends serve all the same."""
        return self.policy in (Policy.FAIL_OPEN, Policy.LAST_GOOD)

    @property
    def lets_any_in(self) -> bool:
        """Whether backends serve whose checks failed."""
        return self.policy in (Policy.PANIC, Policy.FAIL_OPEN, Policy.LAST_GOOD)

    @property
    def uses_unfit(self) -> bool:
        """Whether backends may serve that are not healthy: their checks failed, or they are ejected."""
        return self.lets_any_in or self.uses_ejected

    def lets_in(self, traits: int, health: KnownHealth | None) -> bool:
        """Return whether the failed check of a backend with these traits and this health is ignored."""
        if health is None or not self.lets_any_in or not traits & Traits.FAILED:
            return False
        if bool(traits & Traits.BACKUP) is not self.spares_primaries:
            return False
        if self.policy is not Policy.LAST_GOOD:
            return True
        return health.was_up and self.since is not None and health.since >= self.since

    def with_last(self, last: datetime | None, checks: Sequence[HealthCheck]) -> Rule:
        """Return the rule for `last-good` if the last backend that had been up failed at `last`.

        What fails for one cause is noticed at different times. So those that failed within the time in which the
        slowest of the VIP's `checks` notices a failure count as the last ones together.
        """
        if last is None:
            return self
        notices = (one.interval_seconds * (1 + one.jitter) * one.fall + one.timeout_seconds for one in checks)
        return replace(self, since=last - timedelta(seconds=max(notices, default=0.0)))

    def changed_for(self, before: Rule) -> tuple[int, ...]:
        """Return the traits of backends that may be used in another way than before: all that have all of some."""
        found: list[int] = []
        if self.uses_backups is not before.uses_backups:
            found += [Traits.BACKUP | Traits.SERVES, Traits.BACKUP | Traits.HELD]
        if self.uses_ejected is not before.uses_ejected:
            found.append(Traits.EJECTED)
        if self.uses_held is not before.uses_held:
            found.append(Traits.HELD)
        before_else = replace(
            before, uses_backups=self.uses_backups, uses_ejected=self.uses_ejected, uses_held=self.uses_held
        )
        if self != before_else:
            found.append(Traits.FAILED)
        return tuple(found)


NO_RULE = Rule()
"""The rule while all is as it should be."""


def rule_of(vip: Vip, tally: Tally) -> Rule:
    """Return the rule for a VIP whose backends have these traits; for `last-good`, without who was the last."""
    asked = tally.count(Traits.ASKED, Traits.BACKUP)
    serving = tally.count(Traits.SERVES, Traits.BACKUP)
    backups = tally.count(Traits.SERVES | Traits.BACKUP)
    needed = needed_of(vip.min_serving, asked)
    enough_for_all = vip.panic_share * (asked - tally.count(Traits.WAITS, Traits.BACKUP))
    without_held = serving + (backups if serving < needed else 0)
    # If the balancer's own link flaps, so do all backends: one that was added later is not to get everything.
    uses_held = bool(tally.count(Traits.HELD)) and without_held < max(needed, asked / 2, enough_for_all)
    if uses_held:
        serving += tally.count(Traits.HELD, Traits.BACKUP)
        backups += tally.count(Traits.HELD | Traits.BACKUP)
    uses_backups = bool(backups) and serving < needed
    rule = Rule(
        uses_backups=uses_backups, uses_held=uses_held, serving=serving, asked=asked, needed=needed, backups=backups
    )
    ejected = bool(tally.count(Traits.EJECTED))
    if not serving and not uses_backups and ejected:
        return replace(rule, uses_ejected=True)
    if not serving and not uses_backups:
        if not tally.count(Traits.HOPEFUL):
            return rule
        spares = not tally.count(Traits.HOPEFUL, Traits.BACKUP)
        return replace(rule, policy=_ALL_UNHEALTHY[vip.all_unhealthy], spares_primaries=spares)
    if not uses_backups and serving < enough_for_all and (ejected or tally.count(Traits.HOPEFUL, Traits.BACKUP)):
        return replace(rule, policy=Policy.PANIC, uses_ejected=ejected)
    return rule


def backup_words(rule: Rule) -> str:
    """Return why a backup is not used under this rule."""
    return f"a backup: {_serving_words(rule)}, min_serving is {rule.needed}"


def rule_words(rule: Rule, vip: Vip) -> str:
    """Return what is special about who serves of a VIP, as a sentence; empty if nothing is."""
    if rule.policy is Policy.LAST_GOOD and rule.since is None:
        return "no backend is healthy, and none has been, so no new connection is accepted (last-good)"
    if rule.policy is not Policy.NONE:
        healthy = f"{rule.serving} of {rule.asked}"
        return _POLICY_WORDS[rule.policy].format(healthy=healthy, share=f"{vip.panic_share:g}")
    if rule.uses_ejected:
        return "no other backend can serve, so those that are ejected do"
    if rule.uses_backups:
        return f"{_serving_words(rule)}, min_serving is {rule.needed}, so backups serve"
    if rule.uses_held:
        return "too few others serve, so those that flap are used all the same"
    return ""


def _serving_words(rule: Rule) -> str:
    if not rule.asked:
        return "no primary is asked to serve"
    return f"{rule.serving} of {rule.asked} primaries serve{'s' if rule.serving == 1 else ''}"


_ALL_UNHEALTHY = {
    AllUnhealthy.FAIL_OPEN: Policy.FAIL_OPEN,
    AllUnhealthy.FAIL_CLOSED: Policy.FAIL_CLOSED,
    AllUnhealthy.LAST_GOOD: Policy.LAST_GOOD,
    AllUnhealthy.REJECT: Policy.REJECT,
}

_POLICY_WORDS = {
    Policy.PANIC: "only {healthy} primaries are healthy, a smaller share than panic_share ({share}), so the others"
    " serve too",
    Policy.FAIL_OPEN: "no backend is healthy, so those whose check failed serve (fail-open)",
    Policy.LAST_GOOD: "no backend is healthy, so those that were healthy last serve (last-good)",
    Policy.FAIL_CLOSED: "no backend is healthy, so no new connection is accepted (fail-closed)",
    Policy.REJECT: "no backend is healthy, so new connections are refused at once (reject)",
}
