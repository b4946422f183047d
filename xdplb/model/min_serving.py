# SPDX-License-Identifier: Apache-2.0
"""How many backends of a VIP must serve: a number, or a percent of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidError

__all__ = ["MIN_SERVING_HINT", "MIN_SERVING_MOST", "MIN_SERVING_PATTERN", "MinServing"]

MIN_SERVING_MOST = 65533
"""As many as a VIP can have backends: ids have 16 bits; 0 and the highest one have other meanings."""
MIN_SERVING_PATTERN = r"^([1-9][0-9]?|100)%$"
MIN_SERVING_HINT = f'give a whole number from 1 to {MIN_SERVING_MOST}, or a percent from "1%" to "100%"'


@dataclass(frozen=True, slots=True)
class MinServing:
    """At least `number` backends, or `percent` of them; one of the two is 0."""

    number: int = 1
    percent: int = 0

    @classmethod
    def of(cls, value: object, pointer: str = "/min_serving") -> MinServing:
        """Return what `value` means: a whole number, or a percent as text. Raises InvalidError for `pointer`."""
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MIN_SERVING_MOST:
            return cls(value, 0)
        if isinstance(value, str) and re.fullmatch(MIN_SERVING_PATTERN, value, re.ASCII):
            return cls(0, int(value[:-1]))
        raise InvalidError.field(pointer, f"min_serving is {value!r}", hint=MIN_SERVING_HINT)

    @property
    def value(self) -> int | str:
        """The value as people write it."""
        return f"{self.percent}%" if self.percent else self.number

    def needed(self, total: int) -> int:
        """Return how many of `total` backends that is. A percent is rounded up."""
        return -(-total * self.percent // 100) if self.percent else self.number

    def __str__(self) -> str:
        return str(self.value)
