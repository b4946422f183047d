# SPDX-License-Identifier: Apache-2.0
"""What may be wrong with the tunnels that end at the balancer."""

from __future__ import annotations

from xdplb.model.decap import Decap
from xdplb.net.links import holders

__all__ = ["notes_on_tunnels"]


def notes_on_tunnels(decap: Decap) -> list[str]:
    """Return a sentence for each end of a tunnel that is no address of this host: nobody may find the way to it."""
    return [
        f"--decap-at {end} is no address of this host: packets come to it only if a route leads here"
        for end in decap.at
        if not holders(end)
    ]
