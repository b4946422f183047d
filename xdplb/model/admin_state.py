# SPDX-License-Identifier: Apache-2.0
"""What a backend is to be used for."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["AdminState"]


class AdminState(StrEnum):
    """What the operator asked for: serve; keep open connections but accept no new ones; or get no packets at all."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"
