# SPDX-License-Identifier: Apache-2.0
"""What can be asked about nodes: the balancers that serve the same VIPs."""

from __future__ import annotations

from typing import Unpack
from urllib.parse import quote

from .answer import Answer
from .bodies import NodeDrainIn, NodeListOut, NodeOut, NodesOfVipOut
from .paths import vip_path
from .transport import How, Transport

__all__ = ["Nodes"]

_PATH = "/v1/nodes"


class Nodes:
    """The balancers that serve the same VIPs. Only the one that is asked can be drained."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, within: float | None = None) -> Answer[NodeListOut]:
        """Return all nodes that the one which is asked knows, itself first."""
        return self._transport.request("GET", _PATH, within=within)

    def get(self, name: str, *, within: float | None = None) -> Answer[NodeOut]:
        """Return a node. NotFoundError if none is known by this name."""
        return self._transport.request("GET", _node_path(name), within=within)

    def of_vip(self, vip: str) -> Answer[NodesOfVipOut]:
        """Return what each node says of a VIP: its generation there, and the health of its backends."""
        return self._transport.request("GET", f"{vip_path(vip)}/nodes")

    def drain(self, name: str, times: NodeDrainIn | None = None, **how: Unpack[How]) -> Answer[NodeOut]:
        """Drain the node that is asked. ConflictError if `name` is another one's."""
        return self._transport.change("POST", f"{_node_path(name)}/drain", times or {}, how)

    def undrain(self, name: str, **how: Unpack[How]) -> Answer[NodeOut]:
        """Let the node that is asked serve again. ConflictError if `name` is another one's."""
        return self._transport.change("DELETE", f"{_node_path(name)}/drain", None, how)


def _node_path(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"
