"""What the maps would hold if a backend were down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from xdplb.control.plan.eligibility import Eligibility, Observed
from xdplb.control.plan.plan import plan
from xdplb.control.plan.steps import Held
from xdplb.control.state.snapshot import BoundBackend, BoundVip, KnownHealth, Snapshot
from xdplb.model.backend import Health

__all__ = ["Foreseen", "if_down"]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the maps would hold, and what each backend of the VIP would be used for, by id."""

    held: Held
    eligibility: Mapping[int, Eligibility]


def if_down(vip: BoundVip, backend: BoundBackend, observed: Observed, held: Held, now: datetime) -> Foreseen:
    """Return what a plan makes of this backend's check having failed now, as far as it concerns this VIP."""
    health = {**observed.health, backend.id: KnownHealth(Health.DOWN, "it is asked about as if it were down", now)}
    only = {vip.id}
    others = {vip_id: entry for vip_id, entry in held.vips.items() if vip_id not in only}
    alone = Snapshot(vips={vip.vip.key: vip})
    planned = plan(alone, replace(observed, health=health), held.part(only), others)
    after = planned.after(held.part(only))
    return Foreseen(
        replace(
            held,
            vips={**others, vip.id: after.vips[vip.id]},
            tables={**held.tables, **after.tables},
            backends={**held.backends, **after.backends},
        ),
        planned.eligibility,
    )
