"""The flow table's records as columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import layout
from .plane import FlowRecords

__all__ = ["from_raw"]


def from_raw(keys: NDArray[np.uint8], values: NDArray[np.uint8], now: int) -> FlowRecords:
    """Return the records in raw keys (n, 16) and values (n, 16); `now` is ns of CLOCK_MONOTONIC.

    The program notes the coarse clock, which lags by some milliseconds, so that no age is below 0 by more than that.
    """
    key = keys.view(layout.FLOW_KEY).reshape(-1)
    value = values.view(layout.FLOW).reshape(-1)
    age = (np.int64(now) - value["last_seen"].astype(np.int64)) / 1e9
    return FlowRecords(
        key=keys,
        source=_native(key["source"]),
        source_port=_native(key["source_port"]),
        destination=_native(key["destination"]),
        destination_port=_native(key["destination_port"]),
        protocol=key["protocol"].astype(np.uint8),
        backend=_native(value["backend"]),
        epoch=_native(value["epoch"]),
        flags=_native(value["flags"]),
        age=np.maximum(age, 0.0),
    )


def _native(column: NDArray[Any]) -> NDArray[Any]:
    """Return a contiguous copy in the host's byte order."""
    return column.astype(column.dtype.newbyteorder("="))
