# SPDX-License-Identifier: Apache-2.0
"""Numbers that people write, of which each has one spelling: no sign, blanks, underscores, or digits but 0 to 9.

Readers differ in what they take `010`, `+80`, `8_0` or full-width digits for; here they are no numbers.
"""

from __future__ import annotations

import re

__all__ = ["decimal_of", "whole_of"]

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")


def whole_of(text: str) -> int | None:
    """Return the whole number in `text`, None if it is not one in decimal digits without leading zeros."""
    return int(text) if _WHOLE.fullmatch(text) else None


def decimal_of(text: str) -> float | None:
    """Return the number in `text`, None if it is not one in decimal digits, with or without a fraction."""
    return float(text) if _DECIMAL.fullmatch(text) else None
