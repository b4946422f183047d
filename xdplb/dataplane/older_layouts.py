# SPDX-License-Identifier: Apache-2.0
"""Layout version 3, the last one in which `meta` did not describe the maps.

Its maps are those of layouts_v3.json. Its reasons were numbered by their place in the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .map_layout import MapLayout, load_layouts
from .plane import Capacity
from .reasons import REASONS
from .source import vip_groups, vip_groups6

__all__ = ["V3", "layouts_of_v3", "renumbered"]

V3 = 3
VIP_GROUP_SIZE = 4

REASONS_OF_V3 = (
    "pass_not_ip",
    "pass_not_unicast",
    "pass_not_tcp_udp",
    "pass_no_vip",
    "pass_malformed",
    "pass_fragment",
    "drop_fragment",
    "drop_no_backend",
    "drop_backend_down",
    "drop_too_big",
    "drop_no_headroom",
    "drop_denied",
    "drop_source_rate",
    "drop_vip_rate",
    "drop_bad_length",
    "drop_bad_checksum",
    "drop_ttl",
    "drop_land",
    "drop_tcp_flags",
    "drop_extension",
    "drop_internal",
    "answer_echo",
    "answer_too_big",
)


def layouts_of_v3(capacity: Capacity) -> dict[str, MapLayout]:
    """Return the layouts of the maps of version 3 that are worth carrying over."""
    layouts = load_layouts(Path(__file__).with_name("layouts_v3.json").read_bytes())
    for name, groups in (("vip_index", vip_groups(capacity)), ("vip_index6", vip_groups6(capacity))):
        layouts[name] = _with_groups(layouts[name], groups)
    return layouts


def _with_groups(found: MapLayout, groups: int) -> MapLayout:
    """Return the layout of an index, which is as long as the capacity wants it."""
    names = found.value.names or ()
    entry = found.value["entries"].base
    fields = [(name, found.value[name]) for name in names if name != "entries"]
    return MapLayout(found.version, found.key, np.dtype([*fields, ("entries", entry, (groups * VIP_GROUP_SIZE,))]))


def renumbered(name: str, version: int) -> Mapping[int, int] | None:
    """Return the present key for each key of an older version of a map, None if all are the same."""
    if name != "reason_stats" or version > 1:
        return None
    numbers = {reason.name: reason.number for reason in REASONS}
    return {old: numbers[reason] for old, reason in enumerate(REASONS_OF_V3) if reason in numbers}
