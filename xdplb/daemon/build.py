# SPDX-License-Identifier: Apache-2.0
"""What this xdplb is: its version, the commit it was built from, and the layouts of its BPF maps."""

from __future__ import annotations

import xdplb
from xdplb.commit import commit
from xdplb.dataplane.versions import layout_name

__all__ = ["own_build"]


def own_build() -> dict[str, str | None]:
    """Return them under the names that `GET /v1/version` has for a daemon's."""
    return {"version": xdplb.__version__, "commit": commit(), "map_layout": layout_name()}
