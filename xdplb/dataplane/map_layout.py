# SPDX-License-Identifier: Apache-2.0
"""The layout of a map's keys and values, as data: kept in `meta`, so that a newer xdplb can read the maps.

A value of an older layout becomes one of the present layout field by field, by name: a field that the older one has not
is zero, one that the present one no longer has is dropped. A field may therefore be added anywhere, also in what is
`unused`, and one may be moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MapLayout", "convert", "dump_layouts", "load_layouts"]


@dataclass(frozen=True, slots=True)
class MapLayout:
    """The version of one map's layout, and its key and value: of a map of maps, those of the inner maps."""

    version: int
    key: np.dtype[Any]
    value: np.dtype[Any]


def convert(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return these values with the fields of `dtype`. Of an array that became longer, the rest is zero."""
    if values.dtype == dtype:
        return values
    made = np.zeros(values.shape, dtype)
    _copy(values, made)
    return made


def _copy(old: NDArray[Any], new: NDArray[Any]) -> None:
    """Copy what both have. Their shapes differ in the lengths of arrays within a value alone."""
    shared = tuple(slice(min(lengths)) for lengths in zip(old.shape, new.shape, strict=True))
    old, new = old[shared], new[shared]
    names, known = new.dtype.names, old.dtype.names
    if names is None or known is None:
        new[...] = old
        return
    for name in names:
        if name in known:
            _copy(old[name], new[name])


def dump_layouts(layouts: Mapping[str, MapLayout]) -> bytes:
    """Return the layouts as JSON."""
    described = {
        name: {"version": layout.version, "key": _dump(layout.key), "value": _dump(layout.value)}
        for name, layout in layouts.items()
    }
    return json.dumps(described, separators=(",", ":")).encode()


def load_layouts(text: bytes) -> dict[str, MapLayout]:
    """Return the layouts that `dump_layouts` wrote."""
    return {
        name: MapLayout(found["version"], _load(found["key"]), _load(found["value"]))
        for name, found in json.loads(text).items()
    }


def _dump(dtype: np.dtype[Any]) -> Any:
    """Return a number as its code (`<u4`), a struct as a list of [name, type], an array as {of, shape}."""
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        return {"of": _dump(element), "shape": list(shape)}
    if dtype.names is None:
        return dtype.str
    return [[name, _dump(dtype[name])] for name in dtype.names]


def _load(described: Any) -> np.dtype[Any]:
    if isinstance(described, str):
        return np.dtype(described)
    if isinstance(described, dict):
        return np.dtype((_load(described["of"]), tuple(described["shape"])))
    return np.dtype([(name, _load(kind)) for name, kind in described])
