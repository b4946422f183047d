# SPDX-License-Identifier: Apache-2.0
"""Counters."""

from __future__ import annotations

from pydantic import Field

from xdplb.control.answers.views import StatsView, VipStatsView

from .base import ResponseBody

__all__ = ["BackendStatsOut", "StatsOut", "VipStatsOut"]

PACKETS = "Packets forwarded."
BYTES = "Bytes of those packets as received, with the Ethernet header."
NEW_FLOWS = "New connections: SYNs for TCP, recorded flows for UDP."
REPLIES = "Packets of backends reached by `nat` that were sent on to clients."


class BackendStatsOut(ResponseBody):
    """Counters of one backend since it was added."""

    backend: str = Field(description="The backend's address.", examples=["10.0.0.11"])
    packets: int = Field(description=PACKETS)
    bytes: int = Field(description=BYTES)
    new_flows: int = Field(description=NEW_FLOWS)
    failovers: int = Field(
        description="New connections that went to another backend, since this one was suspect or could not be sent to."
    )
    over: int = Field(description="New connections that went to another backend, since they were over max_new_flows.")
    replies: int = Field(description=REPLIES)


class VipStatsOut(ResponseBody):
    """Counters of one VIP since it was added."""

    vip: str = Field(description="The VIP.", examples=["203.0.113.10:443/tcp"])
    packets: int = Field(description=PACKETS)
    bytes: int = Field(description=BYTES)
    new_flows: int = Field(description=NEW_FLOWS)
    at_risk: int = Field(description="Packets of old connections without a record.")
    records: int = Field(description="Flows added to the flow table.")
    replies: int = Field(description=REPLIES)
    backends: list[BackendStatsOut] = Field(description="Its backends.")

    @classmethod
    def of(cls, view: VipStatsView) -> VipStatsOut:
        """Return the body for the manager's view."""
        return cls(
            vip=view.vip,
            packets=view.packets,
            bytes=view.bytes,
            new_flows=view.new_flows,
            at_risk=view.at_risk,
            records=view.records,
            replies=view.replies,
            backends=[
                BackendStatsOut(
                    backend=each.backend,
                    packets=each.packets,
                    bytes=each.bytes,
                    new_flows=each.new_flows,
                    failovers=each.failovers,
                    over=each.over,
                    replies=each.replies,
                )
                for each in view.backends
            ],
        )


class StatsOut(ResponseBody):
    """All counters."""

    vips: list[VipStatsOut] = Field(description="The VIPs, each with its backends.")
    drops: dict[str, int] = Field(description="Packets dropped, by reason.", examples=[{"no_backend": 3}])
    passes: dict[str, int] = Field(description="Packets passed to the host, by reason.", examples=[{"no_vip": 120}])
    answers: dict[str, int] = Field(description="Packets answered by the balancer, by reason.", examples=[{"echo": 5}])
    unwrapped: int = Field(description="Packets taken out of tunnels that end at the balancer.")
    flow_evictions: int = Field(
        description="Flow records evicted since the daemon started because the flow table was full."
    )

    @classmethod
    def of(cls, view: StatsView) -> StatsOut:
        """Return the body for the manager's view."""
        return cls(
            vips=[VipStatsOut.of(vip) for vip in view.vips],
            drops=dict(view.drops),
            passes=dict(view.passes),
            answers=dict(view.answers),
            unwrapped=view.unwrapped,
            flow_evictions=view.flow_table.evicted,
        )
