"""What holds between a VIP and its backends, whichever of the two is changed."""

from __future__ import annotations

from collections.abc import Mapping

from xdplb.balance.rotation import MAX_CANDIDATES
from xdplb.control.state.desired import DesiredVip
from xdplb.model.address import IPAddress
from xdplb.model.backend import Backend
from xdplb.model.errors import CapacityError, InvalidError
from xdplb.model.vip import Forward, Vip

__all__ = ["check_backends", "check_settings"]


def check_backends(vip: DesiredVip, pointers: Mapping[IPAddress, str]) -> None:
    """Raise the error of the first backend that its VIP cannot have; `pointers` says where in the body each stands."""
    _check_number(vip)
    server_ids: dict[str, IPAddress] = {}
    for address, present in vip.backends.items():
        pointer = pointers.get(address, "")
        _check_family(vip, present.backend, f"{pointer}/{'address' if present.backend.forward is None else 'forward'}")
        if present.backend.quic_server_id is not None:
            _check_quic(vip.vip, present.backend, f"{pointer}/quic_server_id")
            other = server_ids.setdefault(present.backend.quic_server_id, address)
            if other != address:
                raise InvalidError.field(
                    f"{pointer}/quic_server_id",
                    f"backend {other} has the server ID {present.backend.quic_server_id} already",
                    hint="each backend of a VIP needs a server ID of its own",
                )


def check_settings(vip: DesiredVip) -> None:
    """Raise the error of the setting of a VIP that its backends do not allow."""
    _check_number(vip)
    for present in vip.backends.values():
        _check_family(vip, present.backend, "/forward")
        if present.backend.quic_server_id is not None:
            _check_quic(vip.vip, present.backend, "/quic")


def _check_number(vip: DesiredVip) -> None:
    if vip.vip.scheduler.compares_all and len(vip.backends) > MAX_CANDIDATES:
        raise CapacityError(
            f"{vip.vip.scheduler} compares all backends for each new connection, {MAX_CANDIDATES} at most,"
            f" and VIP {vip.vip.key} would have {len(vip.backends)}",
            hint="p2c compares two of any number",
        )


def _check_family(vip: DesiredVip, backend: Backend, pointer: str) -> None:
    family = vip.vip.key.address.version
    if vip.forward_of(backend) is Forward.DR and backend.address.version != family:
        raise InvalidError.field(
            pointer,
            f"backend {backend.address} cannot be reached by dr: VIP {vip.vip.key} is of IPv{family}",
            hint="use ipip or gue, which take either family to either, or a backend of the VIP's family",
        )


def _check_quic(vip: Vip, backend: Backend, pointer: str) -> None:
    assert backend.quic_server_id is not None
    if vip.quic is None:
        raise InvalidError.field(
            pointer,
            f"backend {backend.address} has a server ID, and VIP {vip.key} has no quic",
            hint="say with the VIP's quic how long server IDs are, or take the server ID away",
        )
    if len(backend.quic_server_id) != 2 * vip.quic.server_id_bytes:
        raise InvalidError.field(
            pointer,
            f"the server ID {backend.quic_server_id} of backend {backend.address} has"
            f" {len(backend.quic_server_id) // 2} bytes, and VIP {vip.key} has server IDs of"
            f" {vip.quic.server_id_bytes}",
            hint="give both the same length",
        )
