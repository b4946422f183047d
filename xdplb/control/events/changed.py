# SPDX-License-Identifier: Apache-2.0
"""What a change changed, as JSON for its event: bounded, whatever the change is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from xdplb.control.plan.desired_diff import DesiredChange, DiffKind
from xdplb.control.state.codec import backend_to_json, check_to_json, vip_to_json
from xdplb.control.state.desired import DesiredBackend, DesiredVip, Drain
from xdplb.model.access import AccessList

__all__ = ["changes_json"]

_MOST = 50
"""How many changes are told: a whole configuration may be one change."""

_MOST_PREFIXES = 20


def changes_json(changes: Sequence[DesiredChange]) -> list[dict[str, object]]:
    """Return each difference with what was there before and after it: of what stays, only the fields that differ."""
    return [_change(one) for one in changes[:_MOST]]


def _change(one: DesiredChange) -> dict[str, object]:
    before, after = _shown(one, one.before), _shown(one, one.after)
    if before is not None and after is not None:
        names = [name for name in after if before.get(name) != after[name]]
        before, after = ({name: side.get(name) for name in names} for side in (before, after))
    backend = None if one.backend is None else str(one.backend)
    return {"kind": one.kind.value, "vip": str(one.vip), "backend": backend, "before": before, "after": after}


def _shown(one: DesiredChange, side: DesiredVip | DesiredBackend | None) -> dict[str, object] | None:
    """Return one side of a difference: what the difference is about, None if it is not there."""
    if side is None:
        return None
    if isinstance(side, DesiredBackend):
        return {**backend_to_json(side.backend), "drain": _drain(side.drain)}
    if one.kind in {DiffKind.CHECK_ADDED, DiffKind.CHECK_CHANGED, DiffKind.CHECK_REMOVED}:
        return _checks(side)
    if one.kind is DiffKind.ACCESS_CHANGED:
        return _access(side.access)
    if one.kind is DiffKind.VIP_CHANGED:
        return vip_to_json(side.vip)
    backends = [str(address) for address in islice(side.backends, _MOST)]
    return {
        **vip_to_json(side.vip),
        **(_checks(side) or {"checks": []}),
        "access": _access(side.access),
        "backends": backends,
    }


def _checks(side: DesiredVip) -> dict[str, object] | None:
    return {"checks": [check_to_json(check) for check in side.checks]} if side.checks else None


def _drain(drain: Drain | None) -> dict[str, object] | None:
    return None if drain is None else {"timeout_seconds": drain.timeout_seconds, "quiet_seconds": drain.quiet_seconds}


def _access(access: AccessList) -> dict[str, object]:
    """Return how many prefixes an access list has, and the first of them: it may have hundreds of thousands."""
    return {
        "allow_prefixes": len(access.allow),
        "deny_prefixes": len(access.deny),
        "allow": [str(prefix) for prefix in islice(access.allow, _MOST_PREFIXES)],
        "deny": [str(prefix) for prefix in islice(access.deny, _MOST_PREFIXES)],
    }
