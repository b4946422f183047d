"""Whether the maps have room for what is asked, where only building what goes into them can tell."""

from __future__ import annotations

from xdplb.control.records import State
from xdplb.dataplane import access_index, vip_prefixes
from xdplb.dataplane.capacity import check_access_lists
from xdplb.dataplane.plane import VipEntry

__all__ = ["check_room"]


def check_room(before: State, after: State) -> None:
    """Raise CapacityError where the maps cannot hold what is new in `after`. Seconds for very long access lists."""
    if before.vips.keys() != after.vips.keys():
        _check_prefixes(after)
    if any((old := before.vips.get(key)) is None or old.access is not vip.access for key, vip in after.vips.items()):
        _check_access(after)


def _check_prefixes(state: State) -> None:
    entries = [VipEntry.of(vip.id, vip.vip) for vip in state.vips.values() if not vip.vip.key.is_exact]
    for family in (4, 6):
        vip_prefixes.build([entry for entry in entries if entry.key.address.version == family])


def _check_access(state: State) -> None:
    lists = [vip.access for vip in state.vips.values() if vip.access]
    check_access_lists(len(lists))
    if lists:
        access_index.build4(dict(enumerate(lists)))
        access_index.build6(dict(enumerate(lists)))
