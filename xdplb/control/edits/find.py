# SPDX-License-Identifier: Apache-2.0
"""Finding a VIP or a backend: by what a user names it, or by its key and address, as edits do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from xdplb.control.state.desired import Desired, DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.backend import parse_backend_address
from xdplb.model.errors import InvalidError, NotFoundError
from xdplb.model.printable import quoted
from xdplb.model.vip import VipKey

__all__ = ["find_backend", "find_key", "no_backend", "vip_of"]

AnyBackend = TypeVar("AnyBackend")


def find_key(desired: Desired, ref: str, pointer: str, *, suggests: bool = True) -> VipKey:
    """Return the key of the VIP with this name or key.

    NotFoundError points at `pointer`, where `ref` was given, and if it `suggests`, which takes a while with thousands
    of VIPs, names the closest match. InvalidError if `ref` has the form of a key, but a part of it is wrong, such as
    its port.
    """
    if (named := desired.places.names.get(ref)) is not None:
        return named
    try:
        key = VipKey.parse(ref)
    except InvalidError as error:
        if _is_in_a_part(error):
            raise InvalidError.field(pointer, error.detail, hint=error.hint) from None
        hint = (_nearest(desired, ref) if suggests else "") or error.hint
        raise NotFoundError.field(pointer, f"there is no VIP {quoted(ref, 100)}", hint=hint) from None
    vip_of(desired, key, pointer, suggests=suggests)
    return key


def _is_in_a_part(error: InvalidError) -> bool:
    """Return whether the error of VipKey.parse is about a part of a key, and not about the form of the whole."""
    return any(problem.pointer != "/vip" for problem in error.problems)


def vip_of(desired: Desired, key: VipKey, pointer: str = "/key", *, suggests: bool = True) -> DesiredVip:
    """Return the VIP with this key; NotFoundError is as in `find_key`.

    It points at `pointer`, by default the key in an edit.
    """
    if key not in desired.vips:
        hint = (_nearest(desired, str(key)) if suggests else "") or "xdplb vip ls lists them"
        raise NotFoundError.field(pointer, f"there is no VIP {key}", hint=hint)
    return desired.vips[key]


def find_backend(key: VipKey, backends: Mapping[IPAddress, AnyBackend], address: str, pointer: str) -> AnyBackend:
    """Return the backend of VIP `key` with this address, given at `pointer`; NotFoundError if there is none."""
    backend = backends.get(parse_backend_address(address, pointer))
    if backend is None:
        raise no_backend(key, address, pointer)
    return backend


def no_backend(key: VipKey, address: IPAddress | str, pointer: str = "/address") -> NotFoundError:
    """Return the error that a VIP has no backend with this address; by default it points at the address in an edit."""
    return NotFoundError.field(
        pointer, f"VIP {key} has no backend {address}", hint=f"xdplb backend ls {key} lists them"
    )


def _nearest(desired: Desired, ref: str) -> str:
    known = [*map(str, desired.vips), *desired.places.names]
    close = difflib.get_close_matches(ref, known, n=1)
    return f"did you mean {close[0]}?" if close else ""
