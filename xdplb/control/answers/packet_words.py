# SPDX-License-Identifier: Apache-2.0
"""What explanations and captures say alike of a packet: of its client, and of its backend."""

from __future__ import annotations

from xdplb.model.address import IPAddress
from xdplb.model.errors import InvalidError
from xdplb.model.vip import VipKey

__all__ = ["backend_words", "check_client_family"]


def check_client_family(family: int, vip: VipKey) -> None:
    """Raise InvalidError unless a client of this address family (4 or 6) can send packets to this VIP."""
    if family != vip.address.version:
        raise InvalidError.field(
            "/query/client",
            f"the client is IPv{family}, but {vip} is IPv{vip.address.version}",
            hint="use a client address of the VIP's family",
        )


def backend_words(backend_id: int | None, address: IPAddress | str | None) -> str:
    """Return the address of the backend that has this id, or words for a backend that is gone or for none."""
    if address is not None:
        return str(address)
    return "a backend that is gone" if backend_id else "no backend"
