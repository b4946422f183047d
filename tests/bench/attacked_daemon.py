# SPDX-License-Identifier: Apache-2.0
"""The daemon that the bench of attacks attacks: its checks, its API and its state are real, its maps are in memory.

attacked_daemon.py FOLDER. It is run as a file, so that it can be that of another checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fakes import FakeIcmpErrors, FakeNextHops
from xdplb.daemon.options import ApiOptions, DaemonOptions
from xdplb.daemon.run import Parts, run
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity


def main() -> None:
    folder = Path(sys.argv[1])
    options = DaemonOptions(
        interfaces=("eth0",),
        mode="auto",
        api=ApiOptions((f"unix:{folder / 'api.sock'}",)),
        state_dir=folder / "state",
        pin_dir=folder / "pins",
        capacity={"vips": 256, "backends": 60000, "flows": 1024},
    )
    parts = Parts(
        require_host=lambda _options: None,
        load=lambda options, _features: FakePlane(Capacity(**options.capacity)),
        next_hops=FakeNextHops,
        icmp_errors=FakeIcmpErrors,
        run_dir=folder / "run",
    )
    run(options, parts)


if __name__ == "__main__":
    main()
