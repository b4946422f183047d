"""Finding a VIP or a backend by what a user calls it, and refusing a change to what is no longer current."""

from __future__ import annotations

import difflib

from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import parse_address
from xdplb.model.errors import InvalidError, NotFoundError, PreconditionError
from xdplb.model.vip import VipKey

__all__ = ["check_match", "find_backend", "find_vip"]


def find_vip(state: Snapshot, ref: str) -> BoundVip:
    """Return the VIP with this name or key, in either spelling; NotFoundError suggests the nearest there is."""
    for record in state.vips.values():
        if record.vip.name == ref:
            return record
    try:
        key = VipKey.parse(ref)
    except InvalidError as error:
        hint = _nearest(state, ref) or error.hint
        raise NotFoundError.field("/path/vip", f"there is no VIP {ref!r}", hint=hint) from None
    if key not in state.vips:
        hint = _nearest(state, str(key)) or "xdplb vip ls lists them"
        raise NotFoundError.field("/path/vip", f"there is no VIP {key}", hint=hint)
    return state.vips[key]


def find_backend(vip: BoundVip, address: str) -> BoundBackend:
    """Return the VIP's backend with this address."""
    record = vip.backends.get(parse_address(address))
    if record is None:
        raise NotFoundError.field(
            "/path/address",
            f"VIP {vip.vip.key} has no backend {address}",
            hint=f"xdplb backend ls {vip.vip.key} lists them",
        )
    return record


def check_match(what: str, generation: int | None, if_match: int | None) -> None:
    """Raise PreconditionError if the caller has seen another generation of `what`; None: it is not there."""
    if if_match is None or if_match == generation:
        return
    if generation is None:
        raise PreconditionError(
            f"{what} is not there: it was removed since you read it", hint="leave If-Match away to add it"
        )
    raise PreconditionError(
        f"{what} is at generation {generation}, not {if_match}: it was changed since you read it",
        hint="read it again and repeat the change if it still makes sense",
    )


def _nearest(state: Snapshot, ref: str) -> str:
    known = [str(key) for key in state.vips] + [record.vip.name for record in state.vips.values() if record.vip.name]
    close = difflib.get_close_matches(ref, known, n=1)
    return f"did you mean {close[0]}?" if close else ""
