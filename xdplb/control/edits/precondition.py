"""Refusing an edit of what is no longer what its author has seen (RFC 9110, If-Match)."""

from __future__ import annotations

from xdplb.control.edits.edit import (
    Batch,
    CreateBackend,
    DeleteBackend,
    DrainBackend,
    Edit,
    PatchBackend,
    PutBackend,
    PutVip,
    UndrainBackend,
    vip_of_edit,
)
from xdplb.control.state.generations import Generations
from xdplb.model.errors import PreconditionError

__all__ = ["check_precondition"]


def check_precondition(edit: Edit, generations: Generations, if_match: int | None) -> None:
    """Raise PreconditionError if what the edit is about is not at generation `if_match`; None: it may be at any.

    An edit of a backend is about that backend, one of anything else of a VIP about the VIP, a batch about everything.
    What is not there is found out by the edit itself, unless the edit would add it.
    """
    if if_match is None:
        return
    what, present = _subject(edit, generations)
    if present == if_match:
        return
    if present is not None:
        raise PreconditionError(
            f"{what} is at generation {present}, not {if_match}: it was changed since you read it",
            hint="read it again and repeat the change if it still makes sense",
        )
    if isinstance(edit, PutVip | PutBackend):
        raise PreconditionError(
            f"{what} is not there: it was removed since you read it", hint="omit If-Match to add it"
        )


def _subject(edit: Edit, generations: Generations) -> tuple[str, int | None]:
    """Return what an edit is about, and its generation, None where it is not there."""
    if isinstance(edit, Batch):
        return "the desired state", generations.current
    key = vip_of_edit(edit)
    assert key is not None, "it is no batch"
    vip = generations.vips.get(key)
    if isinstance(edit, CreateBackend | PutBackend):
        address = edit.backend.address
    elif isinstance(edit, PatchBackend | DeleteBackend | DrainBackend | UndrainBackend):
        address = edit.address
    else:
        return f"VIP {key}", None if vip is None else vip.latest
    return f"backend {address}", None if vip is None else vip.backends.get(address)
