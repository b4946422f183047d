# SPDX-License-Identifier: Apache-2.0
"""The daemon as `xdplb up` puts it together, over stand-ins for what reaches into the host. Run as a process.

python -m tests.contract.cli_daemon FOLDER [LIMITS [CONFIG [API [NOTIFY]]]]

LIMITS are fields of the API's limits, as JSON, CONFIG is a config file (none if empty), and API are fields of where the
API is served and to whom, as JSON, NOTIFY the file of --notify.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes import FakeHealth, FakeIcmpErrors, FakeNextHops
from xdplb.daemon.options import ApiOptions, DaemonOptions, TlsFiles
from xdplb.daemon.run import Parts, run
from xdplb.dataplane.fake import FakePlane
from xdplb.dataplane.plane import Capacity
from xdplb.model.role import Role
from xdplb_api.limits import Limits

__all__ = ["options_in", "parts_in"]


def options_in(folder: Path) -> DaemonOptions:
    """Return what the daemon of `folder` is asked for."""
    return DaemonOptions(
        interfaces=("eth0",),
        mode="auto",
        api=ApiOptions((f"unix:{folder / 'api.sock'}",)),
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
        checker=lambda _sockets, _commands: FakeHealth(),
        icmp_errors=FakeIcmpErrors,
        run_dir=folder / "run",
    )


def _served(given: dict[str, Any]) -> dict[str, Any]:
    """Return fields of ApiOptions that were given as JSON."""
    fields = dict(given)
    if "tls" in given:
        fields["tls"] = TlsFiles(*map(Path, given["tls"]))
    for name in {"listen", "metrics", "hosts"} & given.keys():
        fields[name] = tuple(given[name])
    for name in {"socket_groups", "client_roles"} & given.keys():
        fields[name] = tuple((Role(role), who) for role, who in given[name])
    return fields


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    limits = Limits(**json.loads(sys.argv[2])) if sys.argv[2:] else Limits()
    config = Path(sys.argv[3]) if sys.argv[3:] and sys.argv[3] else None
    served = json.loads(sys.argv[4]) if sys.argv[4:] else {}
    notify = Path(sys.argv[5]) if sys.argv[5:] and sys.argv[5] else None
    options = options_in(folder)
    api = replace(options.api, limits=limits, **_served(served))
    run(replace(options, api=api, config=config, notify=notify), parts_in(folder))
