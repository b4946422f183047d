# SPDX-License-Identifier: Apache-2.0
"""What a change writes to the store that balancers share. Pure; the cost is that of the change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip
from xdplb.control.state.differing import differing
from xdplb.control.state.entries import (
    Json,
    backend_entry,
    backend_path,
    merged,
    settings_entry,
    vip_entry,
    vip_path,
)
from xdplb.control.state.store_copy import NO_COPY, Digest, Odd, StoreCopy
from xdplb.model.address import IPAddress
from xdplb.model.errors import ConflictError
from xdplb.model.vip import VipKey

__all__ = ["HEAD", "SCHEMA", "Written", "all_entries", "all_written", "restamp", "settings_of_head", "written"]

SCHEMA = 1
"""The version of how entries and heads are written. One that a version does not know is left alone."""

HEAD = "head"
"""The path, in the digest, of what the head says of the state."""

_SETTINGS = ("settings", "owner")
_NO_BACKENDS: Mapping[IPAddress, DesiredBackend] = {}


@dataclass(slots=True)
class Written:
    """The entries to put and to delete, and what is known of the store after that."""

    puts: dict[str, Json]
    deletes: set[str]
    digest: Digest
    odd: dict[str, Odd]
    settings: dict[str, Any] = field(default_factory=dict)
    """What the new head says of the state."""

    def head(self, copy: StoreCopy, lineage: str, generation: int, by: Mapping[str, Any]) -> dict[str, Any]:
        """Return the head of the store after the change; `by` says who made it.

        What the one before has that this version does not know stays in it.
        """
        kept = {name: value for name, value in copy.head.items() if name not in _SETTINGS}
        return {
            **kept,
            "instance": lineage,
            "generation": generation,
            "schema": SCHEMA,
            "digest": str(self.digest),
            **by,
            **self.settings,
        }


def settings_of_head(head: Json) -> dict[str, Any]:
    """Return what a head says of the state beside its VIPs, as it is written there."""
    return {name: head[name] for name in _SETTINGS if name in head}


def written(before: Desired, after: Desired, generation: int, copy: StoreCopy) -> Written:
    """Return what a change from `before` to `after` writes, as `generation`; `copy` is of the store before it.

    ConflictError if the change is about something that the store has otherwise than this node, which does not
    understand it.
    """
    made = Written({}, set(), copy.digest, dict(copy.odd))
    difference = differing(before.vips, after.vips)
    for key in difference.gone:
        _delete_vip(made, before.vips[key])
    for key in difference.present:
        _put_vip(made, before.vips.get(key), after.vips[key], generation)
    _set_settings(made, before, after, copy)
    return made


def all_written(desired: Desired) -> Written:
    """Return what is written if there was nothing before."""
    return written(replace(desired, vips={}), desired, 1, NO_COPY)


def all_entries(desired: Desired, generations: Mapping[VipKey, Any], copy: StoreCopy) -> dict[str, dict[str, Any]]:
    """Return all entries as the store should have them, each with its generation.

    What this node knows to be otherwise in the store is as it is there.
    """
    entries: dict[str, dict[str, Any]] = {}
    for key, vip in desired.vips.items():
        numbers = generations[key]
        entries[vip_path(key)] = {**vip_entry(vip), "generation": numbers.latest}
        for address, backend in vip.backends.items():
            entries[backend_path(key, address)] = {**backend_entry(backend), "generation": numbers.backends[address]}
    for path, odd in copy.odd.items():
        if path == HEAD:
            continue
        if odd.value is None:
            entries.pop(path, None)
        else:
            entries[path] = dict(odd.value)
    return entries


def restamp(made: Written, desired: Desired, places: Iterable[tuple[VipKey, IPAddress]], generation: int) -> None:
    """Have these backends be written as of this generation, also those that stay as they are."""
    for key, address in places:
        path = backend_path(key, address)
        odd = made.odd.get(path)
        if path not in made.puts and not (odd is not None and (odd.reason or odd.value is None)):
            entry = backend_entry(desired.vips[key].backends[address]) if odd is None else odd.value
            made.puts[path] = {**(entry or {}), "generation": generation}
            if odd is not None:
                made.odd[path] = Odd(made.puts[path])


def _put_vip(made: Written, old: DesiredVip | None, new: DesiredVip, generation: int) -> None:
    key = new.vip.key
    known = _NO_BACKENDS if old is None else old.backends
    difference = differing(known, new.backends)
    for address in difference.gone:
        _delete(made, backend_path(key, address), backend_entry(known[address]))
    # Without a backend the VIP is of this generation: nothing else is left to say so.
    if old is None or difference.gone or not _has_same_settings(old, new):
        _put(made, vip_path(key), None if old is None else vip_entry(old), vip_entry(new), generation)
    for address in difference.present:
        before = known.get(address)
        if before != new.backends[address]:
            entry = None if before is None else backend_entry(before)
            _put(made, backend_path(key, address), entry, backend_entry(new.backends[address]), generation)


def _has_same_settings(old: DesiredVip, new: DesiredVip) -> bool:
    return (old.vip is new.vip or old.vip == new.vip) and old.checks == new.checks and old.access == new.access


def _delete_vip(made: Written, vip: DesiredVip) -> None:
    key = vip.vip.key
    _delete(made, vip_path(key), vip_entry(vip))
    for address, backend in vip.backends.items():
        _delete(made, backend_path(key, address), backend_entry(backend))


def _put(made: Written, path: str, before: Json | None, after: Json, generation: int) -> None:
    odd, entry = made.odd.get(path), dict(after)
    _require_known(path, odd)
    was = before
    if odd is not None and odd.value is not None:
        entry, was = merged(odd.value, before or {}, after), odd.value
        entry.pop("generation", None)
    made.digest = made.digest.changed(path, was, entry)
    made.puts[path] = {**entry, "generation": generation}
    if entry != after:
        made.odd[path] = Odd(made.puts[path])
    else:
        made.odd.pop(path, None)


def _delete(made: Written, path: str, before: Json) -> None:
    odd = made.odd.pop(path, None)
    _require_known(path, odd)
    made.digest = made.digest.changed(path, before if odd is None else odd.value, None)
    made.deletes.add(path)


def _require_known(path: str, odd: Odd | None) -> None:
    if odd is not None and odd.reason:
        raise ConflictError(
            f"the store has something at {path} that this balancer does not take: {odd.reason}",
            hint="change it on a balancer that takes it, see xdplb node ls; or put right what is in the way here",
        )


def _set_settings(made: Written, before: Desired, after: Desired, copy: StoreCopy) -> None:
    was = settings_of_head(copy.head)
    made.settings = was if copy.head else settings_entry(after)
    if copy.head and (before.settings, before.owner) != (after.settings, after.owner):
        made.settings = merged(was, settings_entry(before), settings_entry(after))
        made.odd.pop(HEAD, None)
    made.digest = made.digest.changed(HEAD, was if copy.head else None, made.settings)
