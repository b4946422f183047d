# SPDX-License-Identifier: Apache-2.0
"""Refusing an edit if its target has changed since its author read it (RFC 9110, If-Match)."""

from __future__ import annotations

from xdplb.control.edits.edit import Edit, PutBackend, PutVip, backend_of_edit, vip_of_edit
from xdplb.control.state.generations import Generations
from xdplb.model.errors import PreconditionError

__all__ = ["check_precondition"]


def check_precondition(edit: Edit, generations: Generations, if_match: int | None) -> None:
    """Raise PreconditionError if the edit's target is not at generation `if_match`; None accepts any generation.

    The target is the backend for an edit of a backend, the VIP for any other edit of one VIP, and the whole desired
    state for edits of several. A missing target is an error here only if the edit would add it; other edits report it
    themselves.
    """
    if if_match is None:
        return
    what, present = _subject(edit, generations)
    if present == if_match:
        return
    if present is not None:
        raise PreconditionError(
            f"{what} is at generation {present}, not {if_match}: it has changed since you read it",
            hint="read it again and repeat the change if it still makes sense",
        )
    if isinstance(edit, PutVip | PutBackend):
        raise PreconditionError(
            f"{what} does not exist: it was removed since you read it", hint="omit If-Match to add it"
        )


def _subject(edit: Edit, generations: Generations) -> tuple[str, int | None]:
    """Return the target of an edit and its generation, None if it does not exist."""
    key = vip_of_edit(edit)
    if key is None:
        return "the desired state", generations.current
    vip = generations.vips.get(key)
    address = backend_of_edit(edit)
    if address is None:
        return f"VIP {key}", None if vip is None else vip.latest
    return f"backend {address}", None if vip is None else vip.backends.get(address)
