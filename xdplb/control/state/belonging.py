# SPDX-License-Identifier: Apache-2.0
"""Whether a state and the maps that carry traffic belong together: a pure function of both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from xdplb.control.state.snapshot import Snapshot
from xdplb.dataplane.plane import Mark, VipEntry

__all__ = ["Misfit", "Stored", "misfit"]


class Misfit(StrEnum):
    """Why a state may not be used: the words end a sentence that begins with `the state`."""

    EMPTY = "has no VIPs"
    OLDER = "is older than the maps: a backup was restored, or its write-ahead log was cut"
    FOREIGN = "is not the one that the maps were filled from"
    INCOMPLETE = "lacks changes that were acknowledged: a backup was restored, or its write-ahead log was cut"


@dataclass(frozen=True, slots=True)
class Stored:
    """A state as it is stored. `instance` is None where there is none yet; `acknowledged` as of SqliteStore."""

    snapshot: Snapshot
    instance: int | None = None
    acknowledged: Mark | None = None


def misfit(stored: Stored, mark: Mark | None, vips: Mapping[int, VipEntry]) -> Misfit | None:
    """Return why the state does not belong to the maps that hold these VIPs and this mark, None if it does.

    Maps without VIPs go with any state, unless it is known to lack something. A state may be newer than the maps: a
    process can die after a change is saved and before the maps have it.
    """
    if mark is not None and mark.instance == stored.instance:
        if stored.snapshot.generation < mark.generation:
            return Misfit.OLDER
    elif vips and (mark is not None or not _holds(stored.snapshot, vips.values())):
        return Misfit.FOREIGN if stored.snapshot.vips else Misfit.EMPTY
    if _lacks_changes(stored):
        return Misfit.INCOMPLETE
    if mark is not None and vips and _is_of_another(stored.snapshot, mark, vips.values()):
        return Misfit.FOREIGN
    return None


def _lacks_changes(stored: Stored) -> bool:
    acknowledged = stored.acknowledged
    return (
        acknowledged is not None
        and acknowledged.instance == stored.instance
        and acknowledged.generation > stored.snapshot.generation
    )


def _is_of_another(snapshot: Snapshot, mark: Mark, held: Collection[VipEntry]) -> bool:
    """Return whether the state was copied to another host, has the same instance since, and has gone its own way.

    Maps hold every VIP of their generation and no others, so a state of the same generation has all that they hold. Of
    a newer state only this is certain: it has not replaced all VIPs if some of its own are older than that.
    """
    if snapshot.generation == mark.generation:
        return not _holds(snapshot, held)
    has_old_ones = any(vip.generation <= mark.generation for vip in snapshot.vips.values())
    return has_old_ones and not any(_holds(snapshot, [entry]) for entry in held)


def _holds(snapshot: Snapshot, held: Collection[VipEntry]) -> bool:
    """Return whether the state has these VIPs, with the same ids."""
    return all((vip := snapshot.vips.get(entry.key)) is not None and vip.id == entry.id for entry in held)
