# SPDX-License-Identifier: Apache-2.0
"""Finds the C sources and makes one text of them: bcc rewrites map calls only in the main file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from xdplb.model.errors import PlatformError

from .features import Feature, feature_defines
from .plane import Capacity

__all__ = [
    "backend_slots",
    "c_string",
    "capacity_defines",
    "compile_flags",
    "flatten",
    "nat_groups",
    "nat_places",
    "nat_ports",
    "source_dir",
    "source_hash",
    "vip_groups",
    "vip_groups6",
]

MAX_GROUPS, MAX_GROUPS6 = 32768, 16384  # of 64 and 128 bytes: 2 MB, and a map's value may have no more than 4 MB
MAX_NAT_GROUPS = 65536  # of 32 bytes

INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def source_dir() -> Path:
    """Return the folder of the C sources: inside the package in a wheel, beside it in a clone."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_bpf", package.parent / "bpf"):
        if (candidate / "lib" / "layout.h").is_file():
            return candidate
    raise PlatformError(
        f"the C sources of the packet path are not installed with {package}",
        hint="install xdplb from its wheel, or run it from a clone",
    )


def flatten(main: Path) -> str:
    """Return the text of `main` with every `#include "..."` replaced by the file, each once.

    `#line` directives keep the compiler's messages pointing to the real files. `#include <...>` stays.
    """
    return "".join(_lines(main.resolve(), set()))


def _lines(path: Path, seen: set[Path]) -> Iterator[str]:
    seen.add(path)
    yield f'#line 1 "{path}"\n'
    for number, line in enumerate(path.read_text().splitlines(keepends=True), start=1):
        match = INCLUDE.match(line)
        if match is None:
            yield line
            continue
        included = (path.parent / match[1]).resolve()
        if included not in seen:
            yield from _lines(included, seen)
        yield f'#line {number + 1} "{path}"\n'


def vip_groups(capacity: Capacity) -> int:
    """Return how many groups of the VIP index make room for `capacity.vips`: a power of two, eight times that at least.

    A VIP of TCP and UDP on an address of its own takes three entries: four groups a VIP would be too few for thousands.
    """
    return min(int(1 << (8 * capacity.vips - 1).bit_length()), MAX_GROUPS)


def vip_groups6(capacity: Capacity) -> int:
    """Return how many groups the index of IPv6 VIPs has: as many, but half as most."""
    return min(vip_groups(capacity), MAX_GROUPS6)


def backend_slots(capacity: Capacity) -> int:
    """Return how many elements the maps of backends have: id 0 is no backend."""
    return capacity.backends + 1


def nat_places(capacity: Capacity) -> int:
    """Return how many elements the map of NAT backends has: for a moment, old ports and new ones are there."""
    return 2 * nat_ports(capacity)


def nat_ports(capacity: Capacity) -> int:
    """Return how many ports NAT backends may serve in all: a range takes one for each of its ports and protocols."""
    return 8 * backend_slots(capacity)


def nat_groups(capacity: Capacity) -> int:
    """Return how many groups the index of NAT backends has: a power of two, a group for 4 of the ports at least."""
    return min(int(1 << (nat_ports(capacity) // 4).bit_length()), MAX_NAT_GROUPS)


def capacity_defines(capacity: Capacity) -> dict[str, str]:
    """Return the macros that size the maps."""
    return {
        "MAX_VIPS": str(capacity.vips),
        "MAX_BACKENDS": str(backend_slots(capacity)),
        "MAX_FLOWS": str(capacity.flows),
        "NAT_BACKENDS": str(nat_places(capacity)),
        "NAT_GROUPS": str(nat_groups(capacity)),
        "VIP_GROUPS": str(vip_groups(capacity)),
        "VIP_GROUPS6": str(vip_groups6(capacity)),
    }


def c_string(path: Path) -> str:
    """Return a path as a string literal of C."""
    escaped = str(path).replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def compile_flags(
    pin_dir: Path, capacity: Capacity | None = None, features: Iterable[Feature] = (), **defines: str
) -> list[str]:
    """Return the compiler's arguments: PIN_DIR as a C string, the capacities, the features and further macros."""
    macros: Mapping[str, str] = {
        "PIN_DIR": c_string(pin_dir),
        **(capacity_defines(capacity) if capacity else {}),
        **feature_defines(features),
        **defines,
    }
    return [f"-D{name}={value}" for name, value in macros.items()]


def source_hash(text: str, flags: list[str]) -> int:
    """Return 64 bits that change with the program's text, wherever it is installed, or with its flags."""
    portable = re.sub(r"(?m)^#line .*$", "", text)
    digest = hashlib.sha256("\0".join([portable, *flags]).encode()).digest()
    return int.from_bytes(digest[:8], "little")
