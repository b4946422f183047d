# SPDX-License-Identifier: Apache-2.0
"""Waiting for the packets that are under way in the program."""

from __future__ import annotations

from .map_specs import U32, MapSpec
from .maps import MapType

__all__ = ["wait_for_packets"]

_SPEC = MapSpec(
    "wait", MapType.ARRAY_OF_MAPS, U32, U32, 1, inner=MapSpec("inner", MapType.ARRAY, U32, U32, 1), filled=True
)


def wait_for_packets() -> None:
    """Return when every packet that was in a program has left it: some 15 ms.

    A change to a map of maps guarantees that: the kernel waits for an RCU grace period.
    """
    _SPEC.create().close()
