# SPDX-License-Identifier: Apache-2.0
"""Rules between a VIP and its backends, checked when either of them changes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from xdplb.balance.rotation import check_candidates
from xdplb.control.edits.nat_rules import unfit_nat
from xdplb.control.state.desired import DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.errors import InvalidError, XdplbError
from xdplb.model.vip import Forward, Protocol, Vip

__all__ = ["check_backends", "check_settings", "unfit_backends"]


def check_backends(
    vip: DesiredVip, changed: Collection[IPAddress], pointers: Mapping[IPAddress, str] = MappingProxyType({})
) -> None:
    """Raise an error for the first backend of these `changed` ones that the VIP cannot have.

    `pointers` gives the JSON pointers of backends, those of the whole body are "".
    """
    for error in unfit_backends(vip, changed, pointers):
        raise error


def unfit_backends(
    vip: DesiredVip, changed: Collection[IPAddress], pointers: Mapping[IPAddress, str] = MappingProxyType({})
) -> Iterator[XdplbError]:
    """Yield all errors of these `changed` backends; `pointers` is as in `check_backends`."""
    try:
        _check_number(vip)
    except XdplbError as error:
        yield error
    for address in changed:
        backend, pointer = vip.backends[address].backend, pointers.get(address, "")
        at_forward = f"{pointer}/{'address' if backend.forward is None else 'forward'}"
        yield from _unfit_family(vip, backend, at_forward)
        yield from unfit_nat(vip, backend, f"{pointer}/port", at_forward)
        if backend.quic_server_id is not None:
            yield from _unfit_quic(vip.vip, backend, f"{pointer}/quic_server_id")
        if backend.max_new_flows and vip.vip.key.protocol is Protocol.UDP:
            yield InvalidError.field(
                f"{pointer}/max_new_flows",
                f"VIP {vip.vip.key} is for UDP, and only TCP connections are counted",
                hint="omit max_new_flows; limits.packets of the VIP holds for UDP",
            )
    if any(vip.backends[address].backend.quic_server_id is not None for address in changed):
        yield from _server_ids_given_twice(vip, pointers)


def check_settings(vip: DesiredVip) -> None:
    """Raise an error if a setting of the VIP does not fit its backends."""
    _check_number(vip)
    for present in vip.backends.values():
        for error in _unfit_family(vip, present.backend, "/forward"):
            raise error
        for error in unfit_nat(vip, present.backend, "/forward", "/forward"):
            raise error
        if present.backend.quic_server_id is not None:
            for error in _unfit_quic(vip.vip, present.backend, "/quic"):
                raise error


def _server_ids_given_twice(vip: DesiredVip, pointers: Mapping[IPAddress, str]) -> Iterator[InvalidError]:
    found: dict[str, IPAddress] = {}
    for address, present in vip.backends.items():
        server_id = present.backend.quic_server_id
        if server_id is not None and (other := found.setdefault(server_id, address)) != address:
            yield InvalidError.field(
                f"{pointers.get(address, '')}/quic_server_id",
                f"backend {other} already has the server ID {server_id}",
                hint="each backend of a VIP needs a unique server ID",
            )


def _check_number(vip: DesiredVip) -> None:
    if vip.vip.scheduler.compares_all:
        check_candidates(len(vip.backends))


def _unfit_family(vip: DesiredVip, backend: Backend, pointer: str) -> Iterator[InvalidError]:
    family = vip.vip.key.address.version
    if vip.forward_of(backend) is Forward.DR and backend.address.version != family:
        yield InvalidError.field(
            pointer,
            f"backend {backend.address} cannot be reached by dr: VIP {vip.vip.key} is IPv{family}",
            hint="use ipip or gue, which work between families, or a backend of the VIP's family",
        )


def _unfit_quic(vip: Vip, backend: Backend, pointer: str) -> Iterator[InvalidError]:
    assert backend.quic_server_id is not None
    if vip.quic is None:
        yield InvalidError.field(
            pointer,
            f"backend {backend.address} has a server ID, but VIP {vip.key} has no quic settings",
            hint="set quic on the VIP, with the length of server IDs, or remove the server ID",
        )
    elif len(backend.quic_server_id) != 2 * vip.quic.server_id_bytes:
        yield InvalidError.field(
            pointer,
            f"the server ID {backend.quic_server_id} of backend {backend.address} has"
            f" {len(backend.quic_server_id) // 2} bytes, but VIP {vip.key} uses"
            f" {vip.quic.server_id_bytes}",
            hint="use the same length for both",
        )
