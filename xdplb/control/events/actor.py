# SPDX-License-Identifier: Apache-2.0
"""Who does what is told in an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from xdplb.model.printable import word
from xdplb.model.role import Role

__all__ = ["DAEMON", "Actor", "ActorKind"]


class ActorKind(StrEnum):
    """How somebody asks for a change."""

    UNIX = "unix"
    """A process on the Unix socket."""
    TCP = "tcp"
    """A peer on TCP, with a token or a certificate."""
    FILE = "file"
    """The config file."""
    DAEMON = "daemon"
    """The daemon itself."""
    NODE = "node"
    """Another balancer, of which it is not known who asked it."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change. What is not known, or does not go with its kind, is None.

    On the Unix socket `uid`, `user` (its name) and `pid` are of the process. On TCP `peer` is `ADDRESS:PORT`, and
    `token` the name of the token or `certificate` the subject of the client's certificate. `file` is the path of the
    config file. `role` says what it may do. `node` is the balancer that was asked, if it was another one.
    """

    kind: ActorKind
    uid: int | None = None
    pid: int | None = None
    user: str | None = None
    token: str | None = None
    certificate: str | None = None
    peer: str | None = None
    role: Role | None = None
    file: str | None = None
    node: str | None = None

    @classmethod
    def of_node(cls, node: str, told: Mapping[str, object]) -> Actor:
        """Return who asked `node` for a change, as `data` said it there; the node itself if that is not understood."""
        try:
            known = {
                name: told[name]
                for name in ("uid", "pid", "user", "token", "certificate", "peer", "file")
                if name in told
            }
            role = Role(str(told["role"])) if "role" in told else None
            return cls(ActorKind(str(told["kind"])), role=role, node=node, **known)  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError):
            return cls(ActorKind.NODE, node=node)

    def __str__(self) -> str:
        """Return it as log lines have it: `unix(uid=0,pid=4711,role=admin)`, `tcp(peer=192.0.2.7:4000,token=ci)`."""
        known = ",".join(f"{name}={_plain(str(value))}" for name, value in self.data().items() if name != "kind")
        return f"{self.kind}({known})" if known else str(self.kind)

    def data(self) -> dict[str, object]:
        """Return what is known of it, as a JSON object."""
        known = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in known if value is not None}


def _plain(value: str) -> str:
    """Return `value`, in quotes if it could be taken for several: whoever has a certificate made chooses its words."""
    return repr(value) if any(sign in value for sign in ",()'") else word(value)


DAEMON = Actor(ActorKind.DAEMON)
"""The daemon itself."""
