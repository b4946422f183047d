# SPDX-License-Identifier: Apache-2.0
"""Looking at what the maps hold: everything once a minute, a little at a time, so that no flip waits for it."""

from __future__ import annotations

import asyncio
import math
from functools import partial

from xdplb.control.events import DriftKind
from xdplb.control.writing.drifts import Drifts
from xdplb.control.writing.writer import Writer

__all__ = ["Verifier"]

_ROUND_SECONDS = 50.0
_TURN_SECONDS = 0.25


class Verifier:
    """Verifies the maps all the time, also while changes come one after the other."""

    def __init__(self, writer: Writer, drifts: Drifts) -> None:
        self._writer, self._applier, self._drifts = writer, writer.applier, drifts

    async def run(self) -> None:
        """Forever: verify the share of a turn. What was changed by another process is written again."""
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            try:
                await self._turn()
            except Exception as error:
                reason = f"it cannot be seen whether the maps hold what xdplb wrote: {str(error) or repr(error)}"
                self._drifts.stands(DriftKind.MAP, "all maps", reason)
                await asyncio.sleep(_ROUND_SECONDS)
            else:
                self._drifts.well(DriftKind.MAP, "all maps")

    async def _turn(self) -> None:
        """Verify so many parts that all have their turn in time. Between two jobs of the maps' thread others run."""
        left = math.ceil(self._applier.parts * _TURN_SECONDS / _ROUND_SECONDS)
        while left > 0:
            left -= await self._writer.read_maps(partial(self._applier.verify, left))
