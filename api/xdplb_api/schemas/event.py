# SPDX-License-Identifier: Apache-2.0
"""Bodies of events."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from xdplb.control.history.wanted import Page

from .base import ResponseBody

__all__ = ["EventOut", "EventsOut", "page_body"]


class EventOut(ResponseBody):
    """Something that happened. The page on events has each kind with its fields."""

    id: int = Field(description="Ids only grow, but not by one.", examples=[1795886580017])
    time: str = Field(
        description="When it happened, by the clock of the host.", examples=["2026-11-28T03:12:07.123456Z"]
    )
    kind: str = Field(description="What it is, for programs.", examples=["health"])
    level: str = Field(description="How serious it is, as syslog has it.", examples=["warning"])
    vip: str | None = Field(
        description="The VIP that it is about, if it is about one.", examples=["203.0.113.10:443/tcp"]
    )
    backend: str | None = Field(description="The address of the backend that it is about.", examples=["10.0.0.11"])
    actor: dict[str, Any] | None = Field(description="Who did it, if somebody did.")
    message: str = Field(
        description="It in one line, as in the log.",
        examples=["health: vip=203.0.113.10:443/tcp backend=10.0.0.11 health=down reason='connection refused'"],
    )
    data: dict[str, Any] = Field(description="What else is known of it; the fields depend on its kind.")


class EventsOut(ResponseBody):
    """A page of events."""

    events: list[EventOut] = Field(description="In the order of their ids.")
    next: int | None = Field(description="The `cursor` for the next page; null if there is none now.")
    latest: int = Field(
        description="The id of the last event of all: as `cursor` or `Last-Event-ID`, it asks for what comes after."
    )
    missed: bool = Field(description="Some of the events after `cursor` are not kept any more.")


def page_body(page: Page) -> str:
    """Return the JSON text of EventsOut: the events are kept as JSON."""
    events = ",".join(event.body for event in page.events)
    following = page.events[-1].id if page.more else "null"
    missed = "true" if page.missed else "false"
    return f'{{"events":[{events}],"next":{following},"latest":{page.latest},"missed":{missed}}}'
