# SPDX-License-Identifier: Apache-2.0
"""Several options of a command that make one value together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import reduce, wraps
from typing import Any, TypeVar

__all__ = ["gathering"]

Decorated = TypeVar("Decorated", bound=Callable[..., object])


def gathering(
    into: str, options: Sequence[Callable[[Any], Any]], make: Callable[..., object]
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds the options to a command, which gets what `make` makes of them as `into`.

    The options have the names of the parameters of `make`. It may raise UsageError for those that do not go together.
    """
    names = tuple(inspect.signature(make).parameters)

    def decorate(command: Decorated) -> Decorated:
        @wraps(command)
        def gathered(**given: Any) -> object:
            chosen = {name: given.pop(name) for name in names}
            return command(**{into: make(**chosen)}, **given)

        return reduce(lambda made, option: option(made), reversed(options), gathered)  # type: ignore[return-value]

    return decorate
