# SPDX-License-Identifier: Apache-2.0
"""What NAT does to a packet, as sentences: which port of a backend it gets to, and whose reply it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xdplb.dataplane.plane import BackendEntry
from xdplb.dataplane.remembered import FlowId
from xdplb.model.address import with_port
from xdplb.reference.nat import answers_directly, serves

__all__ = ["reply_sentences", "request_sentences"]


def request_sentences(flow: FlowId, backend: BackendEntry | None) -> Iterator[str]:
    """Yield what becomes of a packet for a VIP that is sent to this backend; nothing without NAT."""
    if backend is None or backend.nat is None:
        return
    own = with_port(backend.address, (flow.destination_port + backend.nat.shift) % 2**16)
    yield f"nat: its destination becomes {own}, and what comes from there is from {_vip(flow)} again"
    for network in backend.nat.direct:
        if flow.source in network:
            yield (
                f"its source is in {network}, which the VIP has in nat_direct: the answer comes from {own} itself, and"
                " the client does not recognise it"
            )


def reply_sentences(flow: FlowId, backends: Iterable[BackendEntry]) -> Iterator[str]:
    """Yield whose reply a packet is that is for no VIP; nothing if it is none."""
    for backend in backends:
        if backend.nat is None or not serves(backend, flow.source, flow.source_port, flow.protocol):
            continue
        own = with_port(flow.source, flow.source_port)
        if answers_directly(backend, flow.destination):
            yield f"it is of {own}, a NAT backend, and for a network in nat_direct: it stays as it is"
            return
        vip = with_port(backend.nat.vip, (flow.source_port - backend.nat.shift) % 2**16)
        yield f"it is a reply of the NAT backend {own}: its source becomes {vip}, and the host's routes say where to"
        return


def _vip(flow: FlowId) -> str:
    return with_port(flow.destination, flow.destination_port)
