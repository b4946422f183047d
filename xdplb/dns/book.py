# SPDX-License-Identifier: Apache-2.0
"""The names at which this node may have claims, kept in a file: also those of VIPs that are gone.

A name is noted before the first claim is made at it, and struck out when the last one is gone. So whoever starts after
a crash, or with a state in which the VIP is no more, knows where to clean up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xdplb.dns.records import Place
from xdplb.placed_file import place as place_file
from xdplb.private_files import FILE_MODE

__all__ = ["Book", "Noted"]

_log = logging.getLogger("xdplb")


@dataclass(frozen=True, slots=True)
class Noted:
    """What is noted of a place: the file of the key, and the nodes whose claims may be there."""

    key_file: str
    nodes: frozenset[str]


class Book:
    """The places that are noted. `path` is None for one in memory. It is written in one thread, and read in any."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.noted: Mapping[Place, Noted] = {} if path is None else _read(path)
        """Replaced as a whole."""

    def nodes_at(self, place: Place) -> frozenset[str]:
        """Return the nodes whose claims may be at a place: this one, and what it was called before."""
        return self.noted[place].nodes if place in self.noted else frozenset()

    def note(self, place: Place, key_file: str, node: str) -> None:
        """Note that there may be claims of `node`; it is on the disk when this returns. Raises OSError."""
        noted = Noted(key_file, self.nodes_at(place) | {node})
        if noted != self.noted.get(place):
            self._write({**self.noted, place: noted})

    def strike(self, place: Place, node: str) -> None:
        """Note that there are none any more. Raises OSError."""
        if node not in self.nodes_at(place):
            return
        left = dict(self.noted)
        noted = left.pop(place)
        if nodes := noted.nodes - {node}:
            left[place] = Noted(noted.key_file, nodes)
        self._write(left)

    def _write(self, noted: Mapping[Place, Noted]) -> None:
        if self._path is not None:
            rows = [
                {**asdict(place), "key_file": each.key_file, "nodes": sorted(each.nodes)}
                for place, each in sorted(noted.items())
            ]
            place_file(self._path, json.dumps({"names": rows}, indent=1).encode(), mode=FILE_MODE, overwrite=True)
        self.noted = noted


def _read(path: Path) -> dict[Place, Noted]:
    try:
        rows = json.loads(path.read_bytes())["names"]
        return {_place(row): Noted(str(row["key_file"]), frozenset(row["nodes"])) for row in rows}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        _log.warning(
            "%s cannot be read (%s): names in DNS of VIPs that are gone are not cleaned up, unless it is put back",
            path,
            error,
        )
        return {}


def _place(row: Mapping[str, Any]) -> Place:
    return Place(str(row["server"]), int(row["port"]), str(row["zone"]), str(row["name"]))
