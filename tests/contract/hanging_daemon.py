# SPDX-License-Identifier: Apache-2.0
"""The daemon of `cli_daemon`, whose threads hang while there is a file `hang-THREAD` in its folder. Run as a process.

python -m tests.contract.hanging_daemon FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes import FakeNextHops
from xdplb.daemon.run import run
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Attachment, Capacity
from xdplb.model.host import Host

from .cli_daemon import options_in, parts_in


def hang_while(path: Path) -> None:
    """Return when the file is gone."""
    while path.exists():
        time.sleep(0.05)


class HangingPlane(FakePlane):
    """A data plane whose system calls may not return."""

    def __init__(self, folder: Path, capacity: Capacity) -> None:
        super().__init__(capacity)
        self._folder = folder

    def attachments(self) -> list[Attachment]:
        """As a netlink request that gets no answer: it is asked twice a second."""
        hang_while(self._folder / "hang-maps")
        while (self._folder / "work-maps").exists():
            sum(range(100_000))
        return super().attachments()  # type: ignore[return-value]

    def verify(self) -> Iterator[str]:
        """Return nothing to repair."""
        return iter(())


class HangingNextHops(FakeNextHops):
    """Asked for the host by all who show it, and in the control loop by each change."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def host(self) -> Host:
        """Hang in the thread of the API, or in the control loop."""
        thread = "loop" if threading.current_thread() is threading.main_thread() else "api"
        hang_while(self._folder / f"hang-{thread}")
        return super().host()


if __name__ == "__main__":
    folder = Path(sys.argv[1])

    def load(options: Any, _features: Any) -> FakePlane:
        return HangingPlane(folder, Capacity(**options.capacity))

    run(options_in(folder), replace(parts_in(folder), load=load, next_hops=lambda: HangingNextHops(folder)))
