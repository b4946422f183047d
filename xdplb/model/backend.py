# SPDX-License-Identifier: Apache-2.0
"""A backend: a host that serves a VIP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .address import IPAddress, parse_address, parse_port
from .admin_state import AdminState
from .advice import WEIGHT_RANGE, Advice
from .errors import InvalidError
from .misspelt import host_and_port
from .url_path import PATH_HINT, PATH_PATTERN
from .vip import LARGEST_RATE, Forward

__all__ = [
    "SERVER_ID_HINT",
    "SERVER_ID_PATTERN",
    "WEIGHT_RANGE",
    "AdminState",
    "Backend",
    "BackendRole",
    "Health",
    "KnownHealth",
    "parse_backend_address",
]

SERVER_ID_PATTERN = r"^([0-9a-f]{2}){1,8}$"
SERVER_ID_HINT = "1 to 8 bytes as lower-case hex, such as 00a7"


def parse_backend_address(text: str, pointer: str = "/address") -> IPAddress:
    """Return the address of a backend in `text`. Raises InvalidError for the field `pointer`, also for a port."""
    if (found := host_and_port(text)) is not None:
        raise InvalidError.field(
            pointer,
            f"{text!r} has a port, which is no part of a backend's address",
            hint=f"give {found[0]}: dr, ipip and gue leave the client's packet as it is, so it serves the VIP's port;"
            f" with nat it may have another one, as `port`: {found[1]}",
        )
    return parse_address(text, pointer)


class BackendRole(StrEnum):
    """When a backend serves: always, or only while too few primary ones do."""

    PRIMARY = "primary"
    BACKUP = "backup"


class Health(StrEnum):
    """What the health checks say: no result yet, passed, or failed."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend of one VIP, as configured. With weight 0 it gets no new connections and keeps its open ones.

    `forward` None is the VIP's. `quic_server_id` is the server ID, in hex, in the QUIC connection IDs that this backend
    issues. It takes `max_new_flows` new TCP connections a second, 0 for any number. `checked` False: the VIP's checks
    are not run for it, and it counts as up; `check_port` and `check_path`: instead of those of the checks. With nat,
    `port` is the one that serves the VIP's port, or the first one of its range; None: the same.
    """

    address: IPAddress
    weight: int = 1
    forward: Forward | None = None
    admin_state: AdminState = AdminState.READY
    quic_server_id: str | None = None
    role: BackendRole = BackendRole.PRIMARY
    max_new_flows: int = 0
    checked: bool = True
    check_port: int | None = None
    check_path: str | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        low, high = WEIGHT_RANGE
        if not low <= self.weight <= high:
            raise InvalidError.field(
                "/weight", f"weight {self.weight} is out of range", hint=f"give a whole number from {low} to {high}"
            )
        if self.quic_server_id is not None and not re.fullmatch(SERVER_ID_PATTERN, self.quic_server_id):
            raise InvalidError.field(
                "/quic_server_id",
                f"{self.quic_server_id!r} is not a server ID",
                hint=SERVER_ID_HINT,
            )
        if not 0 <= self.max_new_flows <= LARGEST_RATE:
            raise InvalidError.field(
                "/max_new_flows",
                f"max_new_flows is {self.max_new_flows}",
                hint=f"give a whole number from 0 (no limit) to {LARGEST_RATE}",
            )
        if self.port is not None:
            parse_port(self.port, "/port")
            if self.port == 0:
                raise InvalidError.field("/port", "the port is 0", hint="give a port from 1 to 65535, or omit port")
        self._check_own_check()

    def _check_own_check(self) -> None:
        if self.check_port is not None:
            parse_port(self.check_port, "/check_port")
        if self.check_path is not None and not re.fullmatch(PATH_PATTERN, self.check_path):
            raise InvalidError.field("/check_path", f"{self.check_path!r} is not a path", hint=PATH_HINT)
        for name in ("check_port", "check_path"):
            if not self.checked and getattr(self, name) is not None:
                raise InvalidError.field(
                    f"/{name}",
                    f"the backend has a {name}, but is not checked",
                    hint=f"set {name} to null, or checked to true",
                )


@dataclass(frozen=True, slots=True)
class KnownHealth:
    """The health of a backend, why, and since when (UTC). `was_up`: it is down, and was up before that.

    `advice` is what its agent wants beside that, None if nothing has been said.
    """

    health: Health
    reason: str
    since: datetime
    was_up: bool = False
    advice: Advice | None = None
