"""The text of all metrics, made once for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from xdplb.control.answers.gathered import Gathered

from .control import Control
from .exposition import encode
from .metrics import collect

__all__ = ["Scrapes"]


class Scrapes:
    """Makes the text in a thread, since all metrics may be tens of megabytes, for at most half of the time."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._text = Gathered(self._make, rests=True)

    async def text(self) -> Sequence[bytes]:
        """Return the text in pieces, as of a moment after this was called."""
        return await self._text()

    async def _make(self) -> Sequence[bytes]:
        view = await self._control.answers.metrics()
        return await asyncio.to_thread(lambda: [piece.encode() for piece in encode(collect(view))])
