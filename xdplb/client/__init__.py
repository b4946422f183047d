# SPDX-License-Identifier: Apache-2.0
"""A client of the REST API for Python programs; the `xdplb` command uses it too. See docs/client.md."""

from __future__ import annotations

from xdplb.model.errors import (
    CapacityError,
    ConflictError,
    FieldProblem,
    InvalidError,
    NotFoundError,
    OwnedError,
    PlatformError,
    PreconditionError,
    StateError,
    XdplbError,
)

from .answer import Answer
from .client import Client
from .errors import (
    BusyError,
    DaemonDownError,
    ForbiddenError,
    NotReadyError,
    StillRunningError,
    TimedOutError,
    UnauthenticatedError,
)
from .paths import backend_path, vip_path
from .target import DEFAULT_SOCKET
from .transport import How

__all__ = [
    "DEFAULT_SOCKET",
    "Answer",
    "BusyError",
    "CapacityError",
    "Client",
    "ConflictError",
    "DaemonDownError",
    "FieldProblem",
    "ForbiddenError",
    "How",
    "InvalidError",
    "NotFoundError",
    "NotReadyError",
    "OwnedError",
    "PlatformError",
    "PreconditionError",
    "StateError",
    "StillRunningError",
    "TimedOutError",
    "UnauthenticatedError",
    "XdplbError",
    "backend_path",
    "vip_path",
]
