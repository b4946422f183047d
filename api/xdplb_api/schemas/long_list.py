# SPDX-License-Identifier: Apache-2.0
"""Long lists in bodies: checked a part at a time, so that the errors of one that is all wrong stay few."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticKnownError

__all__ = ["in_parts"]

_PART = 500
"""Items that are checked in one go. pydantic makes an object of each error, and no other thread runs meanwhile."""


def in_parts(most: int) -> WrapValidator:
    """Mark a list of up to `most` items as checked in parts. After a part with errors, the rest is not looked at."""

    def check_in_parts(given: Any, check: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(given, list) or len(given) <= _PART:
            return check(given)
        if len(given) > most:
            told = {"field_type": "List", "max_length": most, "actual_length": len(given)}
            raise PydanticKnownError("too_long", told)
        checked: list[Any] = []
        for start in range(0, len(given), _PART):
            try:
                checked += check(given[start : start + _PART])
            except ValidationError:
                return check(given[: start + _PART])  # raises the same, with the places in the whole list
        return checked

    return WrapValidator(check_in_parts)
