# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of what the tables were made from, so that the next daemon knows a table without reading it.

The program does not use them. A table's fingerprint is removed before the table changes and written when it is whole:
a process that dies in between leaves a table that has none, which must be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from . import layout
from .maps import BpfMap
from .mirror import Mirror

__all__ = ["NO_PRINT", "TablePrints"]

NO_PRINT = b""
"""That of a table that must be read, such as one with slots that are moving."""


class TablePrints:
    """The fingerprints by VIP id, in the array `prints`."""

    def __init__(self, prints: BpfMap) -> None:
        self._prints = Mirror(prints, layout.TABLE_PRINT)

    def read(self) -> Mapping[int, bytes]:
        """Return the fingerprints of the tables that have one."""
        held = self._prints.held["fingerprint"]
        return {vip_id: held[vip_id].tobytes() for vip_id in np.flatnonzero(held.any(axis=1)).tolist()}

    def write(self, vip_id: int, fingerprint: bytes) -> None:
        """Set a table's fingerprint, or remove it with NO_PRINT."""
        wanted = np.zeros(1, layout.TABLE_PRINT)
        if fingerprint:
            wanted["fingerprint"][0] = np.frombuffer(fingerprint, np.uint8)
        self._prints.write_changes(np.array([vip_id], np.uint32), wanted)

    def verify(self) -> Iterator[bool]:
        """As of Mirror."""
        return self._prints.verify()
