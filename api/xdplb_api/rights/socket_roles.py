# SPDX-License-Identifier: Apache-2.0
"""The roles of processes at the Unix socket, by user and groups."""

from __future__ import annotations

import grp
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from xdplb.model.errors import InvalidError
from xdplb.model.role import Role

__all__ = ["ADMIN_GROUP", "SocketRoles"]

ADMIN_GROUP = "xdplb"
"""Members of this group, if the host has it, are admins unless other groups are given."""

_ONE_GROUP_MODE = 0o660
_ALL_MODE = 0o666


@dataclass(frozen=True, slots=True)
class SocketRoles:
    """Which role the members of a group have, by the group's id. Root and the daemon's own user are admins."""

    groups: tuple[tuple[int, Role], ...] = ()

    @classmethod
    def of(cls, given: Iterable[tuple[Role, str]], default: str = ADMIN_GROUP) -> SocketRoles:
        """Return the roles of groups by name or id; without any, `default` is the admins', if the host has it.

        InvalidError if the host does not have a group that was given.
        """
        named = list(given)
        if not named:
            gid = _gid(default)
            return cls(() if gid is None else ((gid, Role.ADMIN),))
        groups = []
        for role, name in named:
            if (gid := _gid(name)) is None:
                raise InvalidError.field(
                    "/socket-group",
                    f"there is no group {name!r} on this host",
                    hint=f"make it with groupadd --system {name}, or name another one",
                )
            groups.append((gid, role))
        return cls(tuple(groups))

    def role_of(self, uid: int, gids: Collection[int]) -> Role | None:
        """Return the highest role of a process with this user and these groups, None if it has none."""
        if uid in {0, os.geteuid()}:
            return Role.ADMIN
        roles = [role for gid, role in self.groups if gid in gids]
        return max(roles, key=list(Role).index, default=None)

    @property
    def file_group(self) -> int | None:
        """The group of the socket's file: the one that has a role, None if there is none or there are several."""
        gids = {gid for gid, _ in self.groups}
        return gids.pop() if len(gids) == 1 else None

    @property
    def file_mode(self) -> int:
        """The mode of the socket's file. A file has one group: with several, all may connect, and credentials count."""
        return _ALL_MODE if len({gid for gid, _ in self.groups}) > 1 else _ONE_GROUP_MODE


def _gid(name: str) -> int | None:
    """Return the id of a group; an id is also taken as it is, since a container may lack the name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return int(name) if name.isascii() and name.isdecimal() and len(name) < 10 else None
