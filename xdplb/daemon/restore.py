# SPDX-License-Identifier: Apache-2.0
"""`xdplb up --restore FILE`: a backup takes the place of the state, before anything else is done with that.

What is restored is what was asked for, as a change would ask for it: VIPs and backends that the maps or the state have
keep their ids and epochs, so that connections to those that stay go on, and the result is newer than both. So maps in
use are brought to the backup as to any other change. The file is put in its place in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from xdplb.control.state.adoption import adopt
from xdplb.control.state.backup import Backup
from xdplb.control.state.belonging import Stored, misfit
from xdplb.control.state.generations import Generations
from xdplb.control.state.schema import new_instance
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Mark, Reading
from xdplb.model.backend import KnownHealth
from xdplb.model.errors import ConflictError, StateError

from .options import DaemonOptions

__all__ = ["restore_backup"]

_log = logging.getLogger("xdplb")


class _Base(NamedTuple):
    """What the backup is a change to: the state of the maps in use, or of the file, or nothing."""

    instance: int
    snapshot: Snapshot
    health: Mapping[int, KnownHealth]


def restore_backup(file: Path, options: DaemonOptions, store: SqliteStore, reading: Reading | None) -> None:
    """Put the backup in the place of the state, unless it is there already; `reading` is of the maps in use.

    The store is left closed. ConflictError if there is a state with VIPs and the options do not say to replace it;
    InvalidError and PlatformError if the file is no backup that can be used; CapacityError if it does not fit.
    """
    backup = store.stage_backup(file)
    try:
        stored, health, why = _stored(store)
        if stored.snapshot.vips and stored.snapshot.desired == backup.snapshot.desired:
            _log.info("--restore was not needed: the state in %s is the one in %s", store.path, file)
            return
        if (why or stored.snapshot.vips) and not options.replaces_state:
            told = why or f"it has {len(stored.snapshot.vips)} VIPs, of generation {stored.snapshot.generation}"
            raise ConflictError(
                f"--restore would replace the state in {store.path}: {told}",
                hint="add --replace-state to do so; the state that is there is kept beside it",
            )
        base = _base(stored, health, backup, reading)
        state = base.snapshot.then(backup.snapshot.desired, options.capacity_after(reading))
        known = {bound.id: base.health[bound.id] for bound in _kept(base.snapshot, state) if bound.id in base.health}
        kept = store.replace_with(backup, base.instance, state, known)
    finally:
        backup.discard()
    _log.warning(
        "restored %s: the state has generation %d now, VIPs %d, backends %d; %s",
        file,
        state.generation,
        len(state.vips),
        sum(1 for _ in state.backends()),
        "there was none before" if kept is None else f"the one that was there is now {kept}",
    )


def _stored(store: SqliteStore) -> tuple[Stored, Mapping[int, KnownHealth], str]:
    """Return the state that is there, its health, and why it cannot be read, if so. The store is closed then."""
    if not store.exists:
        return Stored(Snapshot(), None, store.acknowledged()), {}, ""
    try:
        snapshot, health = store.open()
    except StateError as error:
        return Stored(Snapshot(), None, store.acknowledged()), {}, error.detail
    instance = store.instance
    store.close()
    return Stored(snapshot, instance, store.acknowledged()), health, ""


def _base(stored: Stored, health: Mapping[int, KnownHealth], backup: Backup, reading: Reading | None) -> _Base:
    mark, vips = (None, {}) if reading is None else (reading.read_mark(), reading.read_vips())
    if stored.instance is not None and stored.snapshot.vips and misfit(stored, mark, vips) is None:
        return _Base(stored.instance, stored.snapshot, health)
    if reading is None or not vips:
        # No maps name any ids, and whatever was said of the state that is lost was of another instance.
        return _Base(new_instance(), _at(Snapshot(), backup.snapshot.generation), {})
    mark = mark or Mark(new_instance(), 0)
    acknowledged = stored.acknowledged
    generations = [mark.generation, backup.snapshot.generation, stored.snapshot.generation]
    if acknowledged is not None and acknowledged.instance == mark.instance:
        generations.append(acknowledged.generation)
    older = backup.snapshot if backup.instance == mark.instance else Snapshot()
    made = adopt(reading, older, max(generations) + 1, datetime.now(UTC))
    return _Base(mark.instance, made.snapshot, made.health)


def _at(snapshot: Snapshot, generation: int) -> Snapshot:
    return replace(snapshot, generations=Generations(generation))


def _kept(before: Snapshot, after: Snapshot) -> list[BoundBackend]:
    """Return the backends that are the same before and after."""
    there = {(bound.id, bound.epoch) for _, bound in before.backends()}
    return [bound for _, bound in after.backends() if (bound.id, bound.epoch) in there]
