# SPDX-License-Identifier: Apache-2.0
"""What `xdplb up` starts with: the stored state, if it belongs to the maps that carry traffic, or what is asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from xdplb.control.state.adoption import adopt
from xdplb.control.state.belonging import Misfit, Stored, misfit
from xdplb.control.state.schema import new_instance
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Mark, Reading, VipEntry
from xdplb.model.errors import ConflictError

from .options import DaemonOptions, Otherwise
from .restore import restore_backup

__all__ = ["state_at_start"]

_log = logging.getLogger("xdplb")


@dataclass(frozen=True, slots=True)
class _Maps:
    """The maps that are taken over, what they are marked with, and the VIPs that they hold."""

    reading: Reading
    mark: Mark | None
    vips: Mapping[int, VipEntry]

    def __str__(self) -> str:
        backends = sum(1 for backend in self.reading.read_backends().values() if backend.vip_id in self.vips)
        return _figures("maps", self.mark, len(self.vips), backends)


def state_at_start(options: DaemonOptions, store: SqliteStore, reading: Reading | None) -> Snapshot:
    """Return the state to start with; `reading` is of the maps in use, None if there are none. They are not changed.

    The store is left open, so that the state is read only once, and that nobody changes it from here on. ConflictError
    if they do not belong together and `options` do not say how to go on; StateError if the state cannot be read or
    written; the store is closed then. With `--restore` a backup takes the place of the state first. With `--adopt-maps`
    the state is replaced, and the one that was there kept beside it.
    """
    try:
        if options.restore is not None:
            restore_backup(options.restore, options, store, reading)
        return _state(options, store, reading)
    except BaseException:
        store.close()
        raise


def _state(options: DaemonOptions, store: SqliteStore, reading: Reading | None) -> Snapshot:
    maps = None if reading is None else _Maps(reading, reading.read_mark(), reading.read_vips())
    in_use = maps is not None and bool(maps.vips)
    # A state dir that is mistyped is not made, unless the daemon may start with it.
    stored = _stored(store) if store.exists or not in_use else Stored(Snapshot())
    wrong = misfit(stored, *((None, {}) if maps is None else (maps.mark, maps.vips)))
    if wrong is None:
        if options.otherwise is not None:
            why = "the state belongs to the maps" if in_use else "no maps with VIPs are in use"
            _log.info("%s was not needed: %s", options.otherwise, why)
        return stored.snapshot
    if options.otherwise is Otherwise.DISCARD:
        _log.warning("the state in %s %s: %s goes on with it", store.path, wrong, options.otherwise)
        store.open()
        store.acknowledge()
        return stored.snapshot
    if options.otherwise is Otherwise.ADOPT and maps is not None and in_use:
        return _adopted(options, store, stored, maps)
    raise _refusal(options, store.path, stored, wrong, maps)


def _stored(store: SqliteStore) -> Stored:
    snapshot, _ = store.open()
    return Stored(snapshot, store.instance, store.acknowledged())


def _refusal(options: DaemonOptions, path: Path, stored: Stored, wrong: Misfit, maps: _Maps | None) -> ConflictError:
    """Return the error for the state at `path`."""
    state = stored.snapshot
    mark = None if stored.instance is None else Mark(stored.instance, state.generation)
    told = _figures("state", mark, len(state.vips), sum(1 for _ in state.backends()))
    if stored.acknowledged is not None and wrong is Misfit.INCOMPLETE:
        told += f"; acknowledged: generation {stored.acknowledged.generation}"
    right = (
        f"if {options.state_dir} is not the right --state-dir, or its volume is not mounted, put that right;"
        " or put back the state that was there"
    )
    if maps is not None:
        told += f"; {maps}"
    if maps is None or not maps.vips:
        return ConflictError(
            f"the state in {path} {wrong} ({told})",
            hint=f"{right}; to go on with this state as it is, start with --discard-maps",
        )
    return ConflictError(
        f"the state in {path} {wrong}, and the maps in {options.pin_dir} carry traffic ({told})",
        hint=f"{right}; to make a state from what the maps hold, start with --adopt-maps; to give the maps what this"
        " state has and forget the rest, start with --discard-maps",
    )


def _figures(name: str, mark: Mark | None, vips: int, backends: int) -> str:
    known = "no instance" if mark is None else f"instance {mark.instance:016x}, generation {mark.generation}"
    return f"{name}: {known}, VIPs {vips}, backends {backends}"


def _adopted(options: DaemonOptions, store: SqliteStore, stored: Stored, maps: _Maps) -> Snapshot:
    """Store what the maps hold, and return it. It is newer than all that was known of these maps."""
    mark = maps.mark or Mark(new_instance(), 0)
    is_older = mark.instance == stored.instance
    generations = [mark.generation, stored.snapshot.generation if is_older else 0]
    if stored.acknowledged is not None and stored.acknowledged.instance == mark.instance:
        generations.append(stored.acknowledged.generation)
    older = stored.snapshot if is_older else Snapshot()
    store.close()
    made = adopt(maps.reading, older, max(generations) + 1, datetime.now(UTC))
    kept = store.replace(mark.instance, made.snapshot, made.health)
    _log.warning(
        "%s made a state of generation %d from the maps in %s: VIPs %d, backends %d; %s",
        options.otherwise,
        made.snapshot.generation,
        options.pin_dir,
        len(made.snapshot.vips),
        len(made.health),
        "there was none before" if kept is None else f"the one that was there is now {kept}",
    )
    for line in made.lost:
        _log.warning("adopted %s", line)
    snapshot, _ = store.open()
    return snapshot
