# SPDX-License-Identifier: Apache-2.0
"""The state after what other balancers have written to the store. Pure; the cost is that of what they have changed.

An entry that this balancer cannot take, since it does not understand it or it does not fit, leaves that VIP or backend
as it was here, and the reason is kept with what the store has there. The rest is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from xdplb.control.edits.backends import check_drain_times
from xdplb.control.edits.nat_rules import check_served_ports, serving_otherwise
from xdplb.control.edits.overlap import check_new_vip, check_no_vips
from xdplb.control.edits.rules import check_backends, check_settings
from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip
from xdplb.control.state.differing import carried, differing, without
from xdplb.control.state.entries import (
    Json,
    backend_entry,
    backend_path,
    desired_backend,
    desired_vip,
    head_settings,
    place_of,
    text_of,
    vip_entry,
    vip_path,
)
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.places import Places
from xdplb.control.state.store_copy import Digest, Odd, StoreCopy
from xdplb.control.state.written import HEAD, all_entries, settings_of_head
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError, InvalidError, XdplbError
from xdplb.model.host import NO_HOST, Host
from xdplb.model.vip import VipKey

__all__ = ["Joined", "News", "joined", "news_of_all"]

_FEW = 8
_NOT_UNDERSTOOD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, XdplbError)


@dataclass(frozen=True, slots=True)
class News:
    """What the store has otherwise than before: its head, entries, paths without one, and those that are no JSON.

    `exact` are the VIPs all of whose entries are in it.
    """

    head: Json
    puts: Mapping[str, Json]
    deletes: Collection[str]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    exact: frozenset[VipKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Joined:
    """The state, its generations, and what is known of the store, after the news."""

    desired: Desired
    generations: Generations
    copy: StoreCopy


def news_of_all(
    desired: Desired, generations: Generations, copy: StoreCopy, head: Json, entries: Mapping[str, Json]
) -> News:
    """Return the news in all entries of a store, for a balancer that has this state."""
    mine = all_entries(desired, generations.vips, copy)
    found: dict[VipKey, dict[str, Json]] = defaultdict(dict)
    strange: dict[str, Json] = {}
    for path, entry in entries.items():
        try:
            found[place_of(path)[0]][path] = entry
        except InvalidError:
            strange[path] = entry
    puts: dict[str, Json] = {path: entry for path, entry in strange.items() if mine.get(path) != entry}
    exact = set()
    for key, of_vip in found.items():
        latest = max(_number(entry, 0, int(head["generation"])) for entry in of_vip.values())
        mine_of_vip = {path: mine[path] for path in of_vip if path in mine}
        if vip_path(key) in mine_of_vip and vip_path(key) not in copy.odd:
            mine_of_vip[vip_path(key)]["generation"] = of_vip.get(vip_path(key), {}).get("generation")
        known = generations.vips.get(key)
        if mine_of_vip != of_vip or known is None or known.latest != latest:
            puts |= of_vip
            exact.add(key)
    return News(head, puts, mine.keys() - entries.keys(), exact=frozenset(exact))


def joined(
    before: Desired,
    generations: Generations,
    copy: StoreCopy,
    news: News,
    *,
    now: datetime,
    host: Host = NO_HOST,
    refused: Mapping[VipKey, str] | None = None,
) -> Joined:
    """Return the state after the news. A drain that is new here begins `now`.

    The VIPs that are `refused`, with a reason, stay as they are, and so do those that must not take ports of `host`.
    """
    return _Joining(Joined(before, generations, copy), news, now=now, host=host, refused=dict(refused or {})).done()


class _Joining:
    def __init__(self, before: Joined, news: News, *, now: datetime, host: Host, refused: dict[VipKey, str]) -> None:
        self.before, self.generations, self.copy, self.news = before.desired, before.generations, before.copy, news
        self.now, self.host, self.refused = now, host, refused
        self.odd = dict(self.copy.odd)
        self.digest: Digest = self.copy.digest
        self.reasons: dict[str, str] = {}
        self.places: dict[VipKey, set[IPAddress | None]] = defaultdict(set)

    def done(self) -> Joined:
        self._sort()
        made = {key: self._vip(key) for key in self.places}
        after = self._with(made)
        while faults := self._faults(after, made):
            self.refused |= faults
            made |= {key: self.before.vips.get(key) for key in faults}
            after = self._with(made)
        numbers = self._numbers(after)
        for key, places in self.places.items():
            for address in places:
                self._note(key, address, after.vips.get(key))
        was, settings = settings_of_head(self.copy.head), settings_of_head(self.news.head)
        digest = self.digest.changed(HEAD, was if self.copy.head else None, settings)
        head = self.news.head
        after = self._with_settings(after, settings)
        copy = StoreCopy(str(head["instance"]), int(head["generation"]), digest, head, self.odd)
        return Joined(after, numbers, copy)

    def _sort(self) -> None:
        """Find which VIPs and backends the news is about, and those that were not taken until now."""
        for path in (*self.news.puts, *self.news.deletes, *self.news.unreadable):
            try:
                key, address = place_of(path)
            except InvalidError as error:
                self._raw_becomes(path, self._raw(path, None), error.detail)
            else:
                self.places[key].add(address)
        for path, odd in self.copy.odd.items():
            if odd.reason:
                try:
                    key, address = place_of(path)
                except InvalidError:
                    continue
                self.places[key].add(address)

    def _raw(self, path: str, mine: Json | None) -> Json | None:
        """Return what the store has at a path now; `mine` is what this state has there."""
        if path in self.news.puts:
            return self.news.puts[path]
        if path in self.news.deletes or path in self.news.unreadable:
            return None
        return self._raw_before(path, mine)

    def _raw_before(self, path: str, mine: Json | None) -> Json | None:
        odd = self.copy.odd.get(path)
        return mine if odd is None else odd.value

    def _vip(self, key: VipKey) -> DesiredVip | None:
        """Return a VIP as the store has it, or as it is here as far as that cannot be taken."""
        old, path = self.before.vips.get(key), vip_path(key)
        if key in self.refused:
            return old
        if path in self.news.unreadable:
            self.reasons[path], vip = self.news.unreadable[path], old
        elif None in self.places[key] or old is None:
            entry = self._raw(path, None if old is None else vip_entry(old))
            if entry is None:
                return None
            try:
                vip = desired_vip(key, entry, old)
            except _NOT_UNDERSTOOD as error:
                self.reasons[path], vip = _not_understood(error), old
        else:
            vip = old
        return None if vip is None else self._with_backends(key, vip, old)

    def _with_backends(self, key: VipKey, vip: DesiredVip, old: DesiredVip | None) -> DesiredVip:
        given: dict[IPAddress, DesiredBackend] = {}
        gone = []
        for address in self.places[key]:
            if address is None:
                continue
            path, known = backend_path(key, address), vip.backends.get(address)
            if path in self.news.unreadable:
                self.reasons[path] = self.news.unreadable[path]
                continue
            entry = self._raw(path, None if known is None else backend_entry(known))
            if entry is None:
                gone += [address] if known is not None else []
                continue
            try:
                made = desired_backend(address, entry, known, self.now)
                if made.drain is not None:
                    check_drain_times(made.drain.timeout_seconds, made.drain.quiet_seconds)
            except _NOT_UNDERSTOOD as error:
                self.reasons[path] = _not_understood(error)
                continue
            if made is not known:
                given[made.backend.address] = made
        if given or gone:
            left = without(vip.backends, gone)
            left.update(given)
            vip = replace(vip, backends=left)
        if old is not None and all(
            one is other
            for one, other in (
                (old.vip, vip.vip),
                (old.checks, vip.checks),
                (old.access, vip.access),
                (old.backends, vip.backends),
            )
        ):
            return old
        return vip

    def _with(self, made: Mapping[VipKey, DesiredVip | None]) -> Desired:
        changed = {key: vip for key, vip in made.items() if vip is not self.before.vips.get(key)}
        if len(changed) == 1 or (len(changed) <= _FEW and not self._have_other_names(changed)):
            after = self.before
            for key, vip in changed.items():
                after = after.without_vip(key) if vip is None else after.with_vip(vip)
            return after
        vips = {key: made.get(key, vip) for key, vip in self.before.vips.items()}
        vips.update((key, vip) for key, vip in made.items() if key not in vips)
        left = {key: vip for key, vip in vips.items() if vip is not None}
        return self.before.with_vips(left, Places.of(left.values()))

    def _have_other_names(self, changed: Mapping[VipKey, DesiredVip | None]) -> bool:
        """Return whether some of these have got or lost a name: two may have exchanged theirs."""
        pairs = ((self.before.vips.get(key), vip) for key, vip in changed.items())
        return any((old and old.vip.name) != (new and new.vip.name) for old, new in pairs)

    def _faults(self, after: Desired, made: Mapping[VipKey, DesiredVip | None]) -> dict[VipKey, str]:
        """Return the VIPs that do not go with the others, or whose parts do not fit each other, and why."""
        faults = {}
        for key, new in made.items():
            old = self.before.vips.get(key)
            if new is None or new is old:
                continue
            try:
                _check(after, old, new, self.host)
            except XdplbError as error:
                faults[key] = error.detail
        return faults

    def _numbers(self, after: Desired) -> Generations:
        known, given = self.generations.vips, {}
        for key in self.places:
            new = after.vips.get(key)
            if new is not None and key not in self.refused:
                given[key] = self._numbers_of(key, known.get(key), new)
        gone = [key for key in self.places if key in known and key not in after.vips]
        vips = carried(known, gone, given, after.vips)
        return Generations(int(self.news.head["generation"]), vips)

    def _numbers_of(self, key: VipKey, known: VipGenerations | None, new: DesiredVip) -> VipGenerations:
        default = int(self.news.head["generation"])
        before: Mapping[IPAddress, int] = {} if known is None else known.backends
        given = {}
        latest = 0 if known is None or key in self.news.exact else known.latest
        for address in self.places[key]:
            if address is None:
                entry = self.news.puts.get(vip_path(key))
                latest = max(latest, 0 if entry is None else _number(entry, default, default))
                continue
            path = backend_path(key, address)
            entry = self._raw(path, None)
            if entry is not None and address in new.backends and path not in self.reasons:
                given[address] = _number(entry, default, default)
                latest = max(latest, given[address])
        gone = [address for address in before if address not in new.backends]
        given |= {address: default for address in new.backends if address not in before and address not in given}
        return VipGenerations(latest or default, carried(before, gone, given, new.backends))

    def _note(self, key: VipKey, address: IPAddress | None, after: DesiredVip | None) -> None:
        """Note what the store has of a VIP or a backend, beside what is here now."""
        old = self.before.vips.get(key)
        path = vip_path(key) if address is None else backend_path(key, address)
        reason = self.refused.get(key) or self.reasons.get(path, "")
        if not reason and after is None:
            reason = self.reasons.get(vip_path(key)) or "there is no such VIP"
        raw = self._raw(path, _entry(old, address))
        self._raw_becomes(path, raw, reason, mine=_entry(after, address), mine_before=_entry(old, address))

    def _raw_becomes(
        self,
        path: str,
        raw: Json | None,
        reason: str,
        *,
        mine: Json | None = None,
        mine_before: Json | None = None,
    ) -> None:
        self.digest = self.digest.changed(path, self._raw_before(path, mine_before), raw)
        if _text(raw) == _text(mine) and path not in self.news.unreadable:
            self.odd.pop(path, None)
        else:
            self.odd[path] = Odd(raw, reason)

    def _with_settings(self, after: Desired, raw: Json) -> Desired:
        self.odd.pop(HEAD, None)
        try:
            settings = head_settings(self.news.head)
        except _NOT_UNDERSTOOD as error:
            settings = after.settings
            self.odd[HEAD] = Odd(raw, f"its settings: {_not_understood(error)}")
        owner = str(self.news.head.get("owner", ""))
        if settings == after.settings and owner == after.owner:
            return after
        return replace(after, settings=settings, owner=owner).with_vips(after.vips, after.places)


def _entry(vip: DesiredVip | None, address: IPAddress | None) -> Json | None:
    if vip is None:
        return None
    if address is None:
        return vip_entry(vip)
    return backend_entry(vip.backends[address]) if address in vip.backends else None


def _check(after: Desired, old: DesiredVip | None, new: DesiredVip, host: Host) -> None:
    """Raise an error if a VIP cannot be among the others, as for an edit of it."""
    key, name = new.vip.key, new.vip.name
    if name is not None and after.places.names[name] != key:
        raise ConflictError(f"the name {name!r} is taken by VIP {after.places.names[name]}")
    present = differing({} if old is None else old.backends, new.backends)
    check_no_vips(after, key, dict.fromkeys(present.new, "/address"))
    check_backends(new, present.present)
    check_settings(new)
    check_served_ports(after, new, serving_otherwise(old, new))
    if old is None:
        check_new_vip(after, key, host)


def _text(entry: Json | None) -> str:
    """Return the text of an entry without its generation, empty for none."""
    return "" if entry is None else text_of({name: value for name, value in entry.items() if name != "generation"})


def _number(entry: Json, default: int, newest: int) -> int:
    """Return the generation in an entry, `default` if it has none that the store can have had by now."""
    number = entry.get("generation", default)
    return number if type(number) is int and 0 < number <= newest else default


def _not_understood(error: Exception) -> str:
    told = error.detail if isinstance(error, XdplbError) else f"{type(error).__name__}: {error}"
    return f"this version does not understand it ({told})"
