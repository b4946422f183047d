# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try while the store is away."""

from __future__ import annotations

import asyncio
import random

__all__ = ["Backoff"]

_FIRST = 0.05
_LONGEST = 2.0


class Backoff:
    """Waits longer each time, up to 2 s, and never as long as another balancer: they do not all come at once."""

    def __init__(self) -> None:
        self._seconds = _FIRST

    def reset(self) -> None:
        """Begin anew: it went well."""
        self._seconds = _FIRST

    async def wait(self) -> None:
        """Wait."""
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.0))  # noqa: S311 (nothing is kept secret by it)
        self._seconds = min(2 * self._seconds, _LONGEST)
