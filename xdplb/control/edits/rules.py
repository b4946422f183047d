"""Rules between a VIP and its backends, checked when either of them changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from xdplb.balance.rotation import check_candidates
from xdplb.control.state.desired import DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.errors import InvalidError
from xdplb.model.vip import Forward, Vip

__all__ = ["check_backends", "check_settings"]


def check_backends(
    vip: DesiredVip, changed: Collection[IPAddress], pointers: Mapping[IPAddress, str] = MappingProxyType({})
) -> None:
    """Raise an error for the first backend of these `changed` ones that the VIP cannot have.

    `pointers` gives the JSON pointers of backends, those of the whole body are "".
    """
    _check_number(vip)
    for address in changed:
        backend, pointer = vip.backends[address].backend, pointers.get(address, "")
        _check_family(vip, backend, f"{pointer}/{'address' if backend.forward is None else 'forward'}")
        if backend.quic_server_id is not None:
            _check_quic(vip.vip, backend, f"{pointer}/quic_server_id")
    if any(vip.backends[address].backend.quic_server_id is not None for address in changed):
        _check_server_ids(vip, pointers)


def check_settings(vip: DesiredVip) -> None:
    """Raise an error if a setting of the VIP does not fit its backends."""
    _check_number(vip)
    for present in vip.backends.values():
        _check_family(vip, present.backend, "/forward")
        if present.backend.quic_server_id is not None:
            _check_quic(vip.vip, present.backend, "/quic")


def _check_server_ids(vip: DesiredVip, pointers: Mapping[IPAddress, str]) -> None:
    found: dict[str, IPAddress] = {}
    for address, present in vip.backends.items():
        server_id = present.backend.quic_server_id
        if server_id is not None and (other := found.setdefault(server_id, address)) != address:
            raise InvalidError.field(
                f"{pointers.get(address, '')}/quic_server_id",
                f"backend {other} already has the server ID {server_id}",
                hint="each backend of a VIP needs a unique server ID",
            )


def _check_number(vip: DesiredVip) -> None:
    if vip.vip.scheduler.compares_all:
        check_candidates(len(vip.backends))


def _check_family(vip: DesiredVip, backend: Backend, pointer: str) -> None:
    family = vip.vip.key.address.version
    if vip.forward_of(backend) is Forward.DR and backend.address.version != family:
        raise InvalidError.field(
            pointer,
            f"backend {backend.address} cannot be reached by dr: VIP {vip.vip.key} is IPv{family}",
            hint="use ipip or gue, which work between families, or a backend of the VIP's family",
        )


def _check_quic(vip: Vip, backend: Backend, pointer: str) -> None:
    assert backend.quic_server_id is not None
    if vip.quic is None:
        raise InvalidError.field(
            pointer,
            f"backend {backend.address} has a server ID, but VIP {vip.key} has no quic settings",
            hint="set quic on the VIP, with the length of server IDs, or remove the server ID",
        )
    if len(backend.quic_server_id) != 2 * vip.quic.server_id_bytes:
        raise InvalidError.field(
            pointer,
            f"the server ID {backend.quic_server_id} of backend {backend.address} has"
            f" {len(backend.quic_server_id) // 2} bytes, but VIP {vip.key} uses"
            f" {vip.quic.server_id_bytes}",
            hint="use the same length for both",
        )
