# SPDX-License-Identifier: Apache-2.0
"""What looks at a program of another version before and after it takes the place of the one that runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from .features import Features
from .shadow import Side
from .spans import Span

__all__ = ["SwapGuard"]


class SwapGuard(Protocol):
    """Says whether a program may be swapped in, and whether it may stay. xdplb/upgrade/ has the one of the daemon."""

    @property
    def takes_refused(self) -> bool:
        """Whether a program that was rolled back is tried again."""
        ...

    @property
    def watch_seconds(self) -> float:
        """For how long what a new program does is watched."""
        ...

    @property
    def alone_seconds(self) -> float:
        """For how long of that nothing but the program is changed: neither checks nor changes begin before."""
        ...

    def sampling(self) -> AbstractContextManager[object]:
        """Collect what programs are to be tried with, as long as the block runs."""
        ...

    def compare(self, name: str, old: Side, new: Side, differing: Features) -> None:
        """Try both programs on the same packets; raise ConflictError if the new one may not be swapped in.

        `differing` are features that only one of them is compiled for.
        """
        ...

    def worse(self, before: Span, after: Span, *, alone: bool) -> str | None:
        """Return in words what became worse with the new program, None if nothing did as far as can be told yet.

        `alone`: all the time nothing else has changed what becomes of packets.
        """
        ...
