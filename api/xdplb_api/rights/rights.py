# SPDX-License-Identifier: Apache-2.0
"""What decides who may do what, put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from .hosts import Hosts
from .slowing import Slowing
from .socket_roles import SocketRoles
from .tls import Tls
from .token_file import TokenFile

__all__ = ["Rights"]


@dataclass(frozen=True, slots=True)
class Rights:
    """The roles of groups, the tokens, TLS with the roles of certificates if there is any, and the API's names."""

    tokens: TokenFile = field(default_factory=TokenFile)
    socket: SocketRoles = field(default_factory=SocketRoles)
    tls: Tls | None = None
    hosts: Hosts = field(default_factory=Hosts)
    slowing: Slowing = field(default_factory=Slowing)
