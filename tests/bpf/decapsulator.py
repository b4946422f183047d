# SPDX-License-Identifier: Apache-2.0
"""The backends' program, really loaded, and its maps."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import numpy as np

from xdplb.dataplane.libbpf import RunResult, obj_get, prog_test_run
from xdplb.dataplane.maps import BpfMap
from xdplb.dataplane.source import source_dir
from xdplb.dataplane.tunnel_sources import wide_address

__all__ = ["ADDRESS", "ADDRESS6", "Decapsulator"]

ADDRESS, ADDRESS6 = "10.0.1.3", "2001:db8:1::3"
"""The two addresses of the host that tunnels may end at."""


class Decapsulator:
    """What a test sends through the program, and what was counted."""

    def __init__(self, pin_dir: Path) -> None:
        self._program = obj_get(pin_dir / "decap_program")
        self._stats = BpfMap.open(pin_dir / "decap_stats")
        addresses = BpfMap.open(pin_dir / "decap_addresses")
        for address in (ADDRESS, ADDRESS6):
            addresses.update(wide_address(ip_address(address)), 1)
        text = (source_dir() / "lib" / "decap_reasons.h").read_text()
        found = re.findall(r"^\t(DECAP_\w+) = (\d+),", text, re.MULTILINE)
        self._reasons = {name: int(number) for name, number in found}

    def clear(self) -> None:
        """Set all counters to zero."""
        for number in self._reasons.values():
            self._stats.update(number, bytes(self._stats.value_bytes))

    def send(self, frame: bytes) -> RunResult:
        """Run the program on a frame."""
        return prog_test_run(self._program, frame)

    def counted(self) -> dict[str, int]:
        """Return what was counted, without zeros."""
        totals = {
            name: int(np.frombuffer(self._stats.lookup(number) or b"", np.uint64).sum())
            for name, number in self._reasons.items()
        }
        return {name: total for name, total in totals.items() if total}
