"""The daemon as `xdplb up` puts it together, over stand-ins for what reaches into the host. Run as a process.

python -m tests.contract.cli_daemon FOLDER [LIMITS [CONFIG]]

LIMITS are fields of the API's limits, as JSON, and CONFIG is a config file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from tests.fakes import FakeHealth, FakeIcmpErrors, FakeNextHops
from xdplb.daemon.options import DaemonOptions
from xdplb.daemon.run import Parts, run
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity
from xdplb_api.limits import Limits

__all__ = ["options_in", "parts_in"]


def options_in(folder: Path) -> DaemonOptions:
    """Return what the daemon of `folder` is asked for."""
    return DaemonOptions(
        interfaces=("eth0",),
        mode="auto",
        listen=f"unix:{folder / 'api.sock'}",
        state_dir=folder / "state",
        pin_dir=folder / "pins",
        capacity={"vips": 4, "backends": 16, "flows": 1024},
    )


def parts_in(folder: Path) -> Parts:
    """Return the stand-ins."""
    return Parts(
        require_host=lambda _options: None,
        maps_in_use=lambda _options: None,
        load=lambda options, _features: FakePlane(Capacity(**options.capacity)),
        next_hops=FakeNextHops,
        checker=lambda _sockets: FakeHealth(),
        icmp_errors=FakeIcmpErrors,
        run_dir=folder / "run",
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    limits = Limits(**json.loads(sys.argv[2])) if sys.argv[2:] else Limits()
    config = Path(sys.argv[3]) if sys.argv[3:] else None
    run(replace(options_in(folder), api=limits, config=config), parts_in(folder))
