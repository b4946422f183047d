"""What the agents of backends have said: the one place that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from xdplb.control.health.advising import Advised, Said, advised
from xdplb.model.advice import Advice

__all__ = ["AdviceBook"]

_NONE: Mapping[int, Advice] = MappingProxyType({})


class AdviceBook:
    """The advice that counts, by backend id. Used in the event loop; `counts` may be read in any thread.

    An agent that does not answer has said nothing new: what it said last goes on to count.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._advised: dict[int, Advised] = {}
        self.counts: Mapping[int, Advice] = _NONE
        """That of all who have been advised. Replaced as a whole."""

    def hear(self, backend_ids: Iterable[int], said: Said) -> dict[int, Advice]:
        """Take what one check said of these backends, and return the advice of those for which it is another now."""
        now, changed = self._now(), dict[int, Advice]()
        for number in backend_ids:
            before = self._advised.get(number)
            after = advised(before, said, now)
            if after is not before:
                self._advised[number] = after
                if before is not None or after.advice != Advice():
                    changed[number] = after.advice
        if changed:
            self.counts = {**self.counts, **changed}
        return changed

    def forget(self, backend_ids: Iterable[int]) -> list[int]:
        """Forget what was said of these backends, and return those for which it counted."""
        gone = [number for number in backend_ids if self._advised.pop(number, None) is not None]
        if gone:
            self.counts = {number: each for number, each in self.counts.items() if number in self._advised} or _NONE
        return gone
