# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a whole configuration, all at once.

The rules are those of single edits, asked of the whole, so that the order of VIPs in it has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xdplb.control.edits.nat_rules import served_by_two
from xdplb.control.edits.overlap import ambiguous, ambiguous_with, taken_by_vips
from xdplb.control.edits.own_ports import check_own_ports
from xdplb.control.edits.rules import unfit_backends
from xdplb.control.state.desired import Desired, DesiredBackend, DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.config import DeclaredVip
from xdplb.model.errors import FieldProblem, InvalidError, XdplbError, located
from xdplb.model.host import NO_HOST, Host
from xdplb.model.vip import VipKey

__all__ = ["faults_of"]


def faults_of(declared: Sequence[DeclaredVip], host: Host = NO_HOST) -> Iterator[XdplbError]:
    """Yield what is wrong with these VIPs as a whole.

    The first problem of an error points to what is wrong; if it has a second one, that is what it is in conflict with.
    No VIP may take ports of the own connections of `host`.
    """
    first: dict[VipKey, DeclaredVip] = {}
    for each in declared:
        if first.setdefault(each.key, each) is not each:
            yield _twice(f"VIP {each.key}", f"{each.pointer}/address", f"{first[each.key].pointer}/address")
    desired = Desired({key: _desired(each) for key, each in first.items()})
    order = {key: number for number, key in enumerate(first)}
    names: dict[str, str] = {}
    for key, each in first.items():
        yield from _name_fault(each, names)
        for other in ambiguous_with(desired, key):
            if order[other] < order[key]:
                yield located(each.pointer, ambiguous(key, other), f"{first[other].pointer}/address")
        yield from _faults_of_vip(each, host)
        yield from _faults_of_backends(each, desired)


def _desired(declared: DeclaredVip) -> DesiredVip:
    backends = {backend.address: DesiredBackend(backend) for backend in declared.backends}
    return DesiredVip(declared.vip, declared.checks, backends, declared.access)


def _faults_of_vip(declared: DeclaredVip, host: Host) -> Iterator[XdplbError]:
    try:
        check_own_ports(declared.key, host)
    except XdplbError as error:
        yield located(declared.pointer, error)


def _faults_of_backends(declared: DeclaredVip, desired: Desired) -> Iterator[XdplbError]:
    pointers: dict[IPAddress, str] = {}
    for number, backend in enumerate(declared.backends):
        pointer = f"{declared.pointer}/backends/{number}"
        if backend.address in pointers:
            yield _twice(f"backend {backend.address}", f"{pointer}/address", f"{pointers[backend.address]}/address")
        else:
            pointers[backend.address] = pointer
    yield from taken_by_vips(desired, declared.key, {address: f"{at}/address" for address, at in pointers.items()})
    vip = desired.vips[declared.key]
    for error in unfit_backends(vip, vip.backends, pointers):
        yield error if error.problems else located(f"{declared.pointer}/scheduler", error)
    yield from served_by_two(desired, vip, vip.backends, pointers)


def _name_fault(declared: DeclaredVip, names: dict[str, str]) -> Iterator[InvalidError]:
    name, pointer = declared.vip.name, f"{declared.pointer}/name"
    if name is not None and names.setdefault(name, pointer) != pointer:
        yield _twice(f"the name {name!r}", pointer, names[name])


def _twice(what: str, pointer: str, other: str) -> InvalidError:
    detail = f"{what} is given twice"
    return InvalidError(
        detail,
        hint="remove one of them",
        problems=(FieldProblem(pointer, detail), FieldProblem(other, "the first one")),
    )
