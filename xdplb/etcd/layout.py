# SPDX-License-Identifier: Apache-2.0
"""Where everything lies in etcd, and how values are written there: pure.

PREFIX/v1/head                     the head: what the state is
PREFIX/v1/PATH                     an entry of the state, such as vips/203.0.113.10:443:tcp
PREFIX/v1/staged/NODE:ID/NNNN      a part of a change that is too large for one step
PREFIX/v1/writers/NODE             the id of the last change that a node has written
PREFIX/v1/turn                     the node whose turn it is to change something, since it was too late too often
PREFIX/v1/nodes/NODE/NAME          what a node publishes; under its lease
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from xdplb.cluster.repository import Json

__all__ = ["Layout", "json_of"]

_NODES = "nodes/"
_STAGED = "staged/"
_WRITERS = "writers/"
_TURN = "turn"


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys under a prefix, such as `/xdplb`."""

    prefix: str

    @property
    def root(self) -> str:
        """What all keys begin with."""
        return f"{self.prefix}/v1/"

    @property
    def head(self) -> str:
        """The key of the head."""
        return f"{self.root}head"

    @property
    def turn(self) -> str:
        """The key that says whose turn it is."""
        return f"{self.root}{_TURN}"

    @property
    def nodes(self) -> str:
        """What the keys begin with that nodes publish."""
        return f"{self.root}{_NODES}"

    def entry(self, path: str) -> str:
        """Return the key of an entry."""
        return f"{self.root}{path}"

    def writer(self, node: str) -> str:
        """Return the key of a node's last change."""
        return f"{self.root}{_WRITERS}{node}"

    def published(self, node: str, name: str) -> str:
        """Return the key of what a node publishes under a name."""
        return f"{self.nodes}{node}/{name}"

    def staged(self, change: str) -> str:
        """Return what the keys of the parts of a change begin with."""
        return f"{self.root}{_STAGED}{change}/"

    def staged_by(self, node: str) -> str:
        """Return what the keys of all parts begin with that a node has staged."""
        return f"{self.root}{_STAGED}{node}:"

    def path_of(self, key: str) -> str | None:
        """Return the path of the entry at a key, None if it is none."""
        path = key.removeprefix(self.root)
        return None if path in {"head", _TURN} or path.startswith((_NODES, _STAGED, _WRITERS)) else path

    def publication_of(self, key: str) -> tuple[str, str] | None:
        """Return which node has published a key, and under which name; None if none has."""
        if not key.startswith(self.nodes):
            return None
        node, _, name = key.removeprefix(self.nodes).partition("/")
        return node, name


def json_of(value: Json) -> bytes:
    """Return how a value is written: the same for equal ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
