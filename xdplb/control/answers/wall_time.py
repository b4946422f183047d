# SPDX-License-Identifier: Apache-2.0
"""The times of views as they are on the wall clock: inside, times go by a clock that nobody sets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from xdplb.control.answers.views import BackendView, CheckView

__all__ = ["backend_on_the_wall", "check_on_the_wall"]


def backend_on_the_wall(view: BackendView, ahead: timedelta) -> BackendView:
    """Return the view of a backend on a wall clock that is so far ahead."""
    if not ahead:
        return view
    drain, path = view.drain, view.path
    if drain is not None:
        drain = replace(drain, started=drain.started + ahead, deadline=drain.deadline + ahead)
    certificate = None if view.certificate is None else view.certificate.moved(ahead)
    if path.lowered is not None:
        path = replace(path, lowered=replace(path.lowered, until=path.lowered.until + ahead))
    held_until = None if view.held_until is None else view.held_until + ahead
    ejection = view.ejection
    if ejection is not None:
        ejection = replace(ejection, since=ejection.since + ahead, until=ejection.until + ahead)
    return replace(
        view,
        since=view.since + ahead,
        held_until=held_until,
        drain=drain,
        certificate=certificate,
        path=path,
        ejection=ejection,
    )


def check_on_the_wall(view: CheckView, ahead: timedelta) -> CheckView:
    """Return the view of a backend's checks on a wall clock that is so far ahead. `last_run` was noted from it."""
    return replace(view, since=view.since + ahead) if ahead else view
