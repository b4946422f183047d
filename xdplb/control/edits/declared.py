"""A whole configuration as it is declared: what is wrong with it, all at once, and the desired state that it asks for.

The rules are those of single edits, asked of the whole, so that the order of VIPs in it has no meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from xdplb.control.edits.backends import drain_of
from xdplb.control.edits.overlap import ambiguous, ambiguous_with, taken_by_vips
from xdplb.control.edits.own_ports import check_own_ports
from xdplb.control.edits.rules import unfit_backends
from xdplb.control.state.desired import NO_ACCESS_LIST, Desired, DesiredBackend, DesiredVip
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.errors import FieldProblem, InvalidError, XdplbError
from xdplb.model.health import HealthCheck, check_fits
from xdplb.model.host import NO_HOST, Host
from xdplb.model.vip import Vip, VipKey

__all__ = ["DeclaredVip", "desired_of", "faults_of", "located"]

_EPOCH = datetime.min


@dataclass(frozen=True, slots=True)
class DeclaredVip:
    """A VIP with all that belongs to it, as declared. `pointer` is where it is in the body, such as `/vips/3`."""

    pointer: str
    vip: Vip
    check: HealthCheck | None = None
    access: AccessList = NO_ACCESS_LIST
    backends: tuple[Backend, ...] = ()

    @property
    def key(self) -> VipKey:
        """What identifies it."""
        return self.vip.key


def desired_of(declared: Iterable[DeclaredVip], present: Desired, now: datetime) -> Desired:
    """Return the desired state that has these VIPs and no others, or `present` itself if nothing changes.

    What is in both stays the same object, so that later stages compare by identity. A drain under way keeps its start
    and times; one that is declared anew starts at `now`. The VIPs must be without faults.
    """
    vips = {each.key: _desired_vip(each, present.vips.get(each.key), now) for each in declared}
    if len(vips) == len(present.vips) and all(present.vips.get(key) is vip for key, vip in vips.items()):
        return present
    return Desired(vips)


def faults_of(declared: Sequence[DeclaredVip], host: Host = NO_HOST) -> Iterator[XdplbError]:
    """Yield what is wrong with these VIPs as a whole.

    The first problem of an error points to what is wrong; if it has a second one, that is what it is in conflict with.
    No VIP may take ports of the own connections of `host`.
    """
    first: dict[VipKey, DeclaredVip] = {}
    for each in declared:
        if first.setdefault(each.key, each) is not each:
            yield _twice(f"VIP {each.key}", f"{each.pointer}/address", f"{first[each.key].pointer}/address")
    desired = desired_of(first.values(), Desired(), _EPOCH)
    order = {key: number for number, key in enumerate(first)}
    names: dict[str, str] = {}
    for key, each in first.items():
        yield from _name_fault(each, names)
        for other in ambiguous_with(desired, key):
            if order[other] < order[key]:
                yield located(each.pointer, ambiguous(key, other), f"{first[other].pointer}/address")
        yield from _faults_of_vip(each, host)
        yield from _faults_of_backends(each, desired)


def _faults_of_vip(declared: DeclaredVip, host: Host) -> Iterator[XdplbError]:
    try:
        check_own_ports(declared.key, host)
    except XdplbError as error:
        yield located(declared.pointer, error)
    try:
        if declared.check is not None:
            check_fits(declared.check, declared.key)
    except XdplbError as error:
        yield located(f"{declared.pointer}/health_check", error)


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


def located(pointer: str, error: XdplbError, other: str = "") -> XdplbError:
    """Return an error about an object with the place of that object, `pointer`, before each of its own pointers.

    `other` points to what it is in conflict with.
    """
    problems = error.problems or (FieldProblem("", error.detail),)
    error.problems = tuple(FieldProblem(pointer + problem.pointer, problem.detail) for problem in problems)
    if other:
        error.problems += (FieldProblem(other, "the other one"),)
    return error


def _desired_vip(declared: DeclaredVip, present: DesiredVip | None, now: datetime) -> DesiredVip:
    if present is None:
        backends = _desired_backends(declared.backends, {}, now)
        return DesiredVip(declared.vip, declared.check, backends, declared.access or NO_ACCESS_LIST)
    asked = replace(
        present,
        vip=present.vip if present.vip == declared.vip else declared.vip,
        check=present.check if present.check == declared.check else declared.check,
        backends=_desired_backends(declared.backends, present.backends, now),
        access=present.access if present.access == declared.access else declared.access or NO_ACCESS_LIST,
    )
    return present if asked == present else asked


def _desired_backends(
    declared: Iterable[Backend], present: Mapping[IPAddress, DesiredBackend], now: datetime
) -> Mapping[IPAddress, DesiredBackend]:
    backends: dict[IPAddress, DesiredBackend] = {}
    changes = False
    for backend in declared:
        old = present.get(backend.address)
        new = DesiredBackend(backend, drain_of(old, backend, now))
        if old is not None and old == new:
            backends[backend.address] = old
        else:
            backends[backend.address], changes = new, True
    return backends if changes or len(backends) != len(present) else present
