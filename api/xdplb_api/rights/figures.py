# SPDX-License-Identifier: Apache-2.0
"""Figures of who may do what, for the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Figures"]


@dataclass(frozen=True, slots=True)
class Figures:
    """How many requests were refused since the start, by the code of the problem, and when the certificate expires.

    `expires` is in seconds since 1970, None without TLS.
    """

    refused: Mapping[str, int]
    expires: float | None = None
