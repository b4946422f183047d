# SPDX-License-Identifier: Apache-2.0
"""What is inside of a tunnel that ends at the balancer, according to the reference model."""

from __future__ import annotations

from xdplb.reference.config import Config
from xdplb.reference.flow_state import FlowState
from xdplb.reference.journey import Journey
from xdplb.reference.process import HEADROOM
from xdplb.reference.reasons import Stop
from xdplb.reference.unwrap import unwrap

from .profiles import INGRESS

__all__ = ["out_of_tunnel"]


def out_of_tunnel(config: Config, frame: bytes) -> bytes | None:
    """Return the frame without its tunnel; as it is if it is in none that ends here; None if it is stopped there."""
    journey = Journey(config, FlowState(), INGRESS, 0, 0, HEADROOM, 0, frame)
    try:
        unwrap(journey)
    except Stop:
        return None
    return journey.frame
