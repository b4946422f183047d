# SPDX-License-Identifier: Apache-2.0
"""Which backends are usable, and why not: pure functions of the desired state and of what was observed.

First each backend is looked at by itself; then a rule follows from how many of the VIP's can serve (`policies.py`), and
the rule says what else is used, or is not. So a backend that fails costs one look, unless the rule changes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from xdplb.control.plan.policies import Policy, Rule, Tally, Traits, backup_words, rule_of
from xdplb.control.plan.sources import NO_SOURCES, Sources
from xdplb.control.state.snapshot import BoundBackend, BoundVip, is_checked
from xdplb.model.address import IPAddress, IPNetwork
from xdplb.model.advice import PARTS
from xdplb.model.backend import AdminState, BackendRole, Health, KnownHealth
from xdplb.model.hold import Hold
from xdplb.model.next_hop import MAX_TAGS, NextHop, Resolution
from xdplb.model.vip import Forward, OnUnhealthy

__all__ = [
    "DRAINING",
    "WAITING",
    "Eligibility",
    "Observed",
    "Use",
    "assess",
    "assess_by_rule",
    "can_be_tagged",
    "held_words",
    "is_waiting",
    "look_at",
    "rule_for",
    "under",
]


class Use(StrEnum):
    """What a backend is used for: new and open connections, only open ones, or nothing."""

    SERVING = "serving"
    KEEPING = "keeping"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Eligibility:
    """The use of a backend, and why it does not serve (or serves although its check failed); empty if all is well.

    `reachable` is False if no frame can be sent to it, whatever was asked. If the reason is its check, `about_check` is
    the reason with {} in place of the result, for views that know a later one. `unfit`: it serves although it is not
    healthy, since its check failed or it is ejected. `waits_as_backup`: it is a backup that is not used; views say how
    many primary ones serve now. `hold` is why and until when it is held down, if it is. `traits` are what the VIP's
    rule follows from.
    """

    use: Use
    reason: str = ""
    reachable: bool = True
    about_check: str = ""
    unfit: bool = False
    waits_as_backup: bool = False
    hold: Hold | None = None
    traits: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed: health by backend id (missing: unknown), next hops by address (missing: not known yet).

    `tunnel_sources` are the networks from which outer source addresses are taken, at most one per family; a family
    without one uses the host's own address. `ifindexes` are the NICs that packets can be sent out by, None if that is
    not known. `nics_out` are those that are asked for and not among them, with the reason. `vlan`: tagged frames may
    come in. `sources` are the addresses that the host can send from. `path_mtus` are the MTUs of paths that a router
    has told, by the backend's address; they hold for tunnels. `now` is the time at which this was observed, None if
    no backend is to ramp up (slow start). `cuts` says when drains were cut, `ejected` are the backends that passive
    health has ejected, with the reason, and `holds` those that flap and are held down, all by backend id. `has_peers`:
    other balancers send packets to the same backends, and may have found them otherwise.
    """

    health: Mapping[int, KnownHealth] = field(default_factory=dict)
    next_hops: Mapping[IPAddress, Resolution] = field(default_factory=dict)
    tunnel_sources: tuple[IPNetwork, ...] = ()
    ifindexes: frozenset[int] | None = None
    nics_out: Mapping[str, str] = field(default_factory=dict)
    vlan: bool = False
    sources: Sources = NO_SOURCES
    path_mtus: Mapping[IPAddress, int] = field(default_factory=dict)
    ejected: Mapping[int, str] = field(default_factory=dict)
    now: datetime | None = None
    cuts: Mapping[int, datetime] = field(default_factory=dict)
    holds: Mapping[int, Hold] = field(default_factory=dict)
    has_peers: bool = False
    _looked_up: dict[int, tuple[IPAddress, Resolution | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def next_hop(self, address: IPAddress) -> Resolution | None:
        """Return the next hop of a backend, None if it is not known yet."""
        # Each is looked up once, by identity: hashing an address takes longer than all the rest, and a host is a
        # backend of many VIPs. The address is kept, so that no other one gets its identity.
        found = self._looked_up.get(id(address))
        if found is None:
            found = self._looked_up[id(address)] = address, self.next_hops.get(address)
        return found[1]

    def path_mtu(self, address: IPAddress) -> int | None:
        """Return the MTU of the path to a backend that a router has told, None if none has."""
        return self.path_mtus.get(address) if self.path_mtus else None

    def tunnel_source(self, family: int) -> IPNetwork | None:
        """Return the network of outer source addresses of IPv`family`, None for the host's own address."""
        return next((network for network in self.tunnel_sources if network.version == family), None)


WAITING = "its check has not passed yet"

DRAINING = "draining"
"""The reason of a draining backend. Views replace it once its connections have been counted."""

_CUT = "cut off at the deadline of its drain"

_CUSTOMER_TAG = 0x8100

_CHECK_FAILED = "its check failed: {}"
_USED_THOUGH_IT_FLAPS = "it flaps ({}), and is used all the same, since too few others serve"
_SPARED = "{}; it is used all the same, since too few others can serve"
_ALL_THE_SAME = f"{_CHECK_FAILED}; it is used all the same, since "
_IN_SPITE_OF = {
    Policy.FAIL_OPEN: f"{_ALL_THE_SAME}no other backend can serve (fail-open)",
    Policy.LAST_GOOD: f"{_ALL_THE_SAME}no backend can serve and it was up last (last-good)",
    Policy.PANIC: f"{_ALL_THE_SAME}too few backends are healthy (panic)",
}


def can_be_tagged(hop: NextHop) -> bool:
    """Return whether xdplb can write the VLAN tags of this next hop."""
    return len(hop.tags) <= MAX_TAGS and all(tag.type == _CUSTOMER_TAG for tag in hop.tags[1:])


def assess(vip: BoundVip, observed: Observed) -> dict[int, Eligibility]:
    """Return the eligibility of each backend of `vip`, by id."""
    return assess_by_rule(vip, observed)[0]


def assess_by_rule(vip: BoundVip, observed: Observed) -> tuple[dict[int, Eligibility], Rule]:
    """Return the eligibility of each backend of `vip`, by id, and the rule that it follows from."""
    looks = {bound.id: look_at(vip, bound, observed) for bound in vip.backends.values()}
    rule = rule_for(vip, Tally.of(each.traits for each in looks.values()), looks.items(), observed)
    return {bound.id: under(rule, looks[bound.id], bound, observed) for bound in vip.backends.values()}, rule


def rule_for(vip: BoundVip, tally: Tally, backends: Iterable[tuple[int, Eligibility]], observed: Observed) -> Rule:
    """Return the rule for a VIP whose backends have these traits; `backends` are looked at only if it depends on them.

    They are the ids of all of them, with what was found when they were looked at.
    """
    rule = rule_of(vip.vip, tally)
    if rule.policy is not Policy.LAST_GOOD:
        return rule
    hopeful = [number for number, each in backends if each.traits & Traits.HOPEFUL == Traits.HOPEFUL]
    failed = [known.since for number in hopeful if (known := observed.health[number]).was_up]
    return rule.with_last(max(failed, default=None), vip.checks)


def look_at(vip: BoundVip, bound: BoundBackend, observed: Observed) -> Eligibility:
    """Return what a backend would be used for if it were for it alone, with its traits."""
    found = _standing(vip, bound, observed)
    traits = _traits(bound, found, observed)
    if observed.ejected and found.use is Use.SERVING and (why := observed.ejected.get(bound.id)) is not None:
        return Eligibility(Use.KEEPING, why, traits=traits & ~Traits.SERVES | Traits.EJECTED)
    if observed.holds and found.use is Use.SERVING and (hold := observed.holds.get(bound.id)) is not None:
        return Eligibility(Use.KEEPING, held_words(hold), hold=hold, traits=traits & ~Traits.SERVES | Traits.HELD)
    if found.use is Use.SERVING and not found.reason:
        return _WELL[traits]
    return Eligibility(found.use, found.reason, found.reachable, found.about_check, traits=traits)


def under(rule: Rule, look: Eligibility, bound: BoundBackend, observed: Observed) -> Eligibility:
    """Return the eligibility of a backend that was looked at, under the rule of its VIP."""
    traits = look.traits
    if rule.lets_in(traits, observed.health.get(bound.id)):
        return _in_spite_of_failure(rule.policy, bound, observed, traits)
    if traits & Traits.EJECTED and rule.uses_ejected:
        return Eligibility(Use.SERVING, _SPARED.format(look.reason), unfit=True, traits=traits)
    could_serve = traits & Traits.SERVES or (traits & Traits.HELD and rule.uses_held)
    if traits & Traits.BACKUP and could_serve and not rule.uses_backups:
        return Eligibility(Use.KEEPING, backup_words(rule), waits_as_backup=True, traits=traits)
    if traits & Traits.HELD and could_serve:
        assert look.hold is not None
        return Eligibility(Use.SERVING, _USED_THOUGH_IT_FLAPS.format(look.hold.why), traits=traits)
    return look


def held_words(hold: Hold, seconds: float | None = None) -> str:
    """Return why a backend is held down; `seconds` is for how long yet, if that is known."""
    left = "" if seconds is None else f" for {max(1, round(seconds))} s more"
    return f"it passes its check, but is held down{left}: {hold.why}"


def is_waiting(standing: Eligibility) -> bool:
    """Return whether a backend does not serve only because no check has had a result yet."""
    return standing.use is Use.KEEPING and standing.reason.startswith(WAITING)


def _traits(bound: BoundBackend, look: Eligibility, observed: Observed) -> int:
    """Return what of a backend that was looked at decides about the others."""
    backend, health, traits = bound.backend, _health(bound, observed), 0
    if backend.role is BackendRole.BACKUP:
        traits |= Traits.BACKUP
    if backend.admin_state is AdminState.READY and backend.weight:
        traits |= Traits.ASKED
        if look.use is Use.SERVING:
            traits |= Traits.SERVES
        if look.reachable and health is Health.UNKNOWN:
            traits |= Traits.WAITS
    if health is Health.DOWN and look.about_check and not _wants_nothing_new(observed.health[bound.id]):
        traits |= Traits.FAILED
    return traits


def _in_spite_of_failure(policy: Policy, bound: BoundBackend, observed: Observed, traits: int) -> Eligibility:
    """Return the eligibility of a backend whose failed check is ignored."""
    if why := _why_nothing_new(bound, observed.health.get(bound.id)):
        return Eligibility(Use.KEEPING, why, traits=traits)
    why = _IN_SPITE_OF[policy]
    reason = why.format(observed.health[bound.id].reason)
    return Eligibility(Use.SERVING, reason, about_check=why, unfit=True, traits=traits)


def _standing(vip: BoundVip, bound: BoundBackend, observed: Observed) -> Eligibility:
    if why := _why_no_packets(bound, observed):
        return Eligibility(Use.OUT, why)
    if obstacle := _obstacle(vip, bound, observed):
        return Eligibility(Use.OUT, obstacle, reachable=False)
    health = _health(bound, observed)
    if health is Health.DOWN:
        use = Use.KEEPING if vip.vip.on_unhealthy is OnUnhealthy.KEEP else Use.OUT
        why = _CHECK_FAILED + _unless_checked(vip, bound, observed)
        return _by_check(use, why, observed.health[bound.id].reason)
    if bound.backend.admin_state is not AdminState.DRAIN and health is Health.UNKNOWN:
        return _waiting(_unless_checked(vip, bound, observed))
    if why := _why_nothing_new(bound, observed.health.get(bound.id)):
        return Eligibility(Use.KEEPING, why)
    return Eligibility(Use.SERVING, _doubt(vip, bound, observed) or _other_weight(bound, observed.health.get(bound.id)))


def _waiting(unless: str) -> Eligibility:
    return Eligibility(Use.KEEPING, WAITING + unless, about_check="" if unless else WAITING + ": {}")


def _by_check(use: Use, about_check: str, result: str) -> Eligibility:
    return Eligibility(use, about_check.format(result), about_check=about_check)


def _why_no_packets(bound: BoundBackend, observed: Observed) -> str:
    """Return why a backend gets no packets although some could be sent to it, or an empty string."""
    if bound.backend.admin_state is AdminState.MAINT:
        return "in maintenance"
    is_cut = bound.drain is not None and bound.drain.is_cut(observed.cuts.get(bound.id))
    return _CUT if is_cut else ""


def _why_nothing_new(bound: BoundBackend, known: KnownHealth | None) -> str:
    """Return why a backend takes no new connections although it can keep its open ones, or an empty string."""
    if bound.backend.admin_state is AdminState.DRAIN:
        return DRAINING
    if not bound.backend.weight:
        return "its weight is 0"
    return str(known.advice) if known is not None and _wants_nothing_new(known) else ""


def _wants_nothing_new(known: KnownHealth) -> bool:
    """Return whether the agent of a backend wants no new connections for it."""
    return known.advice is not None and known.advice.takes_nothing_new


def _other_weight(bound: BoundBackend, known: KnownHealth | None) -> str:
    """Return why a backend has another weight than it was given, or an empty string."""
    advice = None if known is None else known.advice
    is_other = advice is not None and advice.parts_of(bound.backend.weight) != bound.backend.weight * PARTS
    return str(advice) if is_other else ""


def _doubt(vip: BoundVip, bound: BoundBackend, observed: Observed) -> str:
    """Return what may be wrong with a backend that serves, or an empty string."""
    address = bound.backend.address
    if obstacle := _obstacle_to_checks(vip, bound, observed):
        return f"it passed its last check, but cannot be checked now: {obstacle}"
    is_tunnel = vip.forward_of(bound.backend).is_tunnel
    if not is_tunnel or observed.tunnel_source(address.version) is not None:
        return ""
    return observed.sources.of_tunnel(address, observed.next_hops[address]).obstacle


def _unless_checked(vip: BoundVip, bound: BoundBackend, observed: Observed) -> str:
    """Return why it cannot be checked, to follow what the checks so far found, or an empty string."""
    obstacle = _obstacle_to_checks(vip, bound, observed)
    return f", and it cannot be checked now: {obstacle}" if obstacle else ""


def _obstacle_to_checks(vip: BoundVip, bound: BoundBackend, observed: Observed) -> str:
    """Return why the host has no right address to check the backend from, or an empty string."""
    resolution = observed.next_hop(bound.backend.address)
    if not is_checked(vip, bound) or resolution is None:
        return ""
    return observed.sources.of_check(bound.backend.address, resolution).obstacle


def _health(bound: BoundBackend, observed: Observed) -> Health:
    known = observed.health.get(bound.id)
    return Health.UNKNOWN if known is None else known.health


def _obstacle(vip: BoundVip, bound: BoundBackend, observed: Observed) -> str:
    """Return why no frame can reach the backend, or an empty string."""
    resolution = observed.next_hop(bound.backend.address)
    if resolution is None or resolution.next_hop is None:
        return (resolution and resolution.reason) or "its next hop is not known yet"
    hop = resolution.next_hop
    if observed.ifindexes is not None and hop.ifindex not in observed.ifindexes:
        return _why_not_attached(hop.interface, observed.nics_out.get(hop.interface))
    if not can_be_tagged(hop):
        return (
            f"its route goes out by {hop.interface} with VLAN tags that xdplb cannot write"
            " (it can write one, or two as QinQ)"
        )
    gateway = hop.gateway
    if gateway is not None and vip.forward_of(bound.backend) is Forward.DR:
        return f"it is behind the gateway {gateway}, but dr needs it on the balancer's own segment: use ipip or gue"
    return ""


def _why_not_attached(interface: str, reason: str | None) -> str:
    if reason is None:
        return f"its route goes out by {interface}, which xdplb is not attached to: add {interface} to `xdplb up`"
    return f"its route goes out by {interface}, which xdplb cannot use now: {reason}"


_WELL = {
    traits: Eligibility(Use.SERVING, traits=traits)
    for traits in (Traits.ASKED | Traits.SERVES, Traits.ASKED | Traits.SERVES | Traits.BACKUP)
}
"""What nearly all backends are found to be, by their traits: one object for all of them."""
