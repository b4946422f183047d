# SPDX-License-Identifier: Apache-2.0
"""What a node, one balancer of a cluster, tells the others of itself.

The JSON is the same wherever it goes: in the store under a lease, and to the peers, where `compact` leaves out what
makes it long. Fields that are not known are ignored, since a newer version may have written it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InvalidError
from .node import NodeState, parse_node_name
from .printable import printable

__all__ = ["NodeStatus"]

_LONGEST_TEXT = 300
_LARGEST = 1 << 63
LATEST = 253_402_300_800.0
"""The end of the year 9999, in seconds since 1970: no later time can be shown."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node says of itself.

    `digest` is that of its desired state in hex, empty if it has none. `since` is when its daemon started, in seconds
    since 1970. `url` is its API where others reach it and `peer` where it listens to peers, as ADDRESS:PORT; both are
    empty if it has none. `state` is one of SeenState, or another word of a newer version. `vips` counts its VIPs by
    operating status; of its `backends`, `backends_out` are not up, and `health` is a short digest of which ones, the
    same on two nodes that see the same. The rates are of the last seconds. `vip_generations` may be left out.
    """

    name: str
    version: str
    generation: int = 0
    observed_generation: int = 0
    digest: str = ""
    since: float = 0.0
    url: str = ""
    peer: str = ""
    state: str = NodeState.SERVING.value
    vips: Mapping[str, int] = field(default_factory=dict)
    backends: int = 0
    backends_out: int = 0
    health: str = ""
    connections_per_second: float = 0.0
    packets_per_second: float = 0.0
    vip_generations: Mapping[str, int] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return it as a JSON object, without what is empty."""
        said: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "generation": self.generation,
            "observed_generation": self.observed_generation,
            "digest": self.digest,
            "since": round(self.since, 3),
            "url": self.url,
            "peer": self.peer,
            "state": str(self.state),
            "vips": dict(self.vips),
            "backends": self.backends,
            "backends_out": self.backends_out,
            "health": self.health,
            "connections_per_second": round(self.connections_per_second, 1),
            "packets_per_second": round(self.packets_per_second, 1),
            "vip_generations": dict(self.vip_generations),
        }
        return {name: value for name, value in said.items() if value not in ("", 0, {})}

    def compact(self, most: int) -> bytes:
        """Return its JSON in at most `most` bytes: if it is longer, without generations of VIPs, then without URL."""
        for one in (self, replace(self, vip_generations={}), replace(self, vip_generations={}, url="")):
            text = json.dumps(one.data(), separators=(",", ":")).encode()
            if len(text) <= most:
                return text
        return json.dumps({"name": self.name, "version": self.version[:32]}, separators=(",", ":")).encode()

    @classmethod
    def of_json(cls, text: bytes | str) -> NodeStatus:
        """Return what a JSON text says. Raises InvalidError if it is none of a node."""
        try:
            return cls.of(json.loads(text))
        except (ValueError, RecursionError):
            raise InvalidError("the status of a node is not JSON") from None

    @classmethod
    def of(cls, data: object) -> NodeStatus:
        """Return what a JSON object says. Raises InvalidError if it names no node; other bad fields are left out."""
        if not isinstance(data, dict):
            raise InvalidError("the status of a node is not a JSON object")
        return cls(
            name=parse_node_name(_text(data, "name")),
            version=_text(data, "version"),
            generation=_count(data.get("generation")),
            observed_generation=_count(data.get("observed_generation")),
            digest=_text(data, "digest"),
            since=since if (since := _rate(data.get("since"))) < LATEST else 0.0,
            url=_text(data, "url"),
            peer=_text(data, "peer"),
            state=_text(data, "state") or NodeState.SERVING.value,
            vips=_counts(data.get("vips")),
            backends=_count(data.get("backends")),
            backends_out=_count(data.get("backends_out")),
            health=_text(data, "health"),
            connections_per_second=_rate(data.get("connections_per_second")),
            packets_per_second=_rate(data.get("packets_per_second")),
            vip_generations=_counts(data.get("vip_generations")),
        )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return printable(value, _LONGEST_TEXT) if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else 0


def _rate(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < _LARGEST else 0.0  # type: ignore[arg-type, operator]


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {printable(str(name), _LONGEST_TEXT): _count(count) for name, count in value.items()}
