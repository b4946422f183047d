# SPDX-License-Identifier: Apache-2.0
"""The impact of a change, as sentences for people. Each can follow "would change: "."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from xdplb.balance.hashing import TABLE_SIZE
from xdplb.control.plan.desired_diff import DesiredChange, DiffKind, FieldChange
from xdplb.control.plan.eligibility import Use
from xdplb.control.plan.impact import AtRisk, BackendUse, Cause, Concern, Impact, KnownBy, Risk, TableChange, Warned
from xdplb.control.state.desired import DesiredBackend, DesiredVip
from xdplb.dataplane.features import Features
from xdplb.model.address import IPAddress
from xdplb.model.config import Settings

__all__ = ["risk_sentence", "sentences", "settings_sentences", "warning_sentence"]


def sentences(impact: Impact) -> tuple[str, ...]:
    """Return a sentence for each effect of a change; none if it changes nothing. Warnings are not among them."""
    return tuple(_sentences(impact))


def settings_sentences(before: Settings, after: Settings) -> tuple[str, ...]:
    """Return a sentence for each setting of the daemon that changes."""
    old, new = asdict(before.api), asdict(after.api)
    return tuple(
        f"setting api.{name} becomes {'what xdplb up was told' if value is None else value}"
        for name, value in new.items()
        if old[name] != value
    )


def warning_sentence(warned: Warned) -> str:
    """Return a warning as a sentence. It can follow "warning: "."""
    some = warned.backends
    one = some[0] if len(some) == 1 else "ADDRESS"
    return _WARNINGS[warned.concern].format(
        vip=warned.vip, who=_who(some), get=_get(some), one=one, detail=warned.detail
    )


def risk_sentence(risk: Risk) -> str:
    """Return the connections that a change may break for one cause, as a sentence."""
    who = _who(risk.backends).removesuffix(",")
    return f"{_connections(risk.connections)} of {risk.vip} with {who} may break: {_CAUSES[risk.cause]}"


def _connections(number: AtRisk) -> str:
    """Return a number of connections, as the subject of a sentence."""
    if number.at_most is None or number.expected is None:
        return "open connections (it is not known how many)"
    if number.expected == number.at_most:
        return _count(number.at_most, "open connection")
    return f"{number.expected} or more open connections, {number.at_most} at most,"


def _sentences(impact: Impact) -> Iterator[str]:
    yield from (_CHANGES[change.kind](change) for change in impact.changes)
    if impact.features:
        yield _features_sentence(impact.features)
    # In the order of the steps: a backend is usable before a table names it, and is cut off after the tables.
    yield from (_use_sentence(use) for use in impact.uses if use.after is not Use.OUT)
    yield from (_table_sentence(table) for table in impact.tables if table.moves or table.is_first)
    yield from (_use_sentence(use) for use in impact.uses if use.after is Use.OUT)
    if impact.cut_off and impact.flows is None and impact.at_risk.at_most != 0:
        yield "recorded flows of these backends break; the flow table was not read lately, so it is not known how many"
    elif impact.flows:
        yield f"{_count(impact.flows, 'recorded flow')} lose{'s' if impact.flows == 1 else ''} the backend"
    if impact.risks:
        yield from map(risk_sentence, impact.risks)
    elif impact.at_risk.known_by is KnownBy.NOTHING:
        yield "it is not known how many connections break: the maps cannot be read now"


def _features_sentence(lacking: Features) -> str:
    return f"the program is recompiled with {', '.join(sorted(lacking))} and swapped; traffic is not interrupted"


def _use_sentence(use: BackendUse) -> str:
    why = f": {use.reason}" if use.reason else ""
    return f"backend {use.backend} ({use.forward}) {_USES[use.after]}{why}"


def _table_sentence(table: TableChange) -> str:
    if not table.moves:
        return f"packets to {table.vip} are dropped until a backend is usable"
    if table.is_first:
        return f"VIP {table.vip}: {table.moved} of {TABLE_SIZE} slots are assigned to backends"
    later = f"; {table.owed} more go to backends that ramp up, step by step" if table.owed else ""
    return (
        f"VIP {table.vip}: {table.moved} of {TABLE_SIZE} slots change owners; open connections stay in {table.kept}"
        f" of them; then {table.after.steady} are steady, {table.after.moving} moving and {table.after.pinned} pinned"
        f"{later}"
    )


def _who(backends: Sequence[IPAddress]) -> str:
    """Return the backends that a warning is about, as the subject of its sentence."""
    if not backends:
        return "its backends"
    return f"backend {backends[0]}" if len(backends) == 1 else f"{len(backends)} backends, such as {backends[0]},"


def _get(backends: Sequence[IPAddress]) -> str:
    return "gets" if len(backends) == 1 else "get"


def _vip_removed(change: DesiredChange) -> str:
    assert isinstance(change.before, DesiredVip)
    return f"VIP {change.vip} is removed, with its {_count(len(change.before.backends), 'backend')}"


def _access_changed(change: DesiredChange) -> str:
    assert isinstance(change.after, DesiredVip)
    access = change.after.access
    if not access:
        return f"VIP {change.vip} accepts packets from any source"
    rest = "every other source is denied" if access.allow else "every other source is allowed"
    allowed = _count(len(access.allow), "prefix", "prefixes")
    return f"VIP {change.vip} allows {allowed} and denies {len(access.deny)}; {rest}"


def _check_added(change: DesiredChange) -> str:
    assert isinstance(change.after, DesiredVip)
    told = [f"{check.type} every {check.interval_seconds:g} s" for check in change.after.checks]
    return f"the backends of {change.vip} are checked by {' and '.join(told)}"


def _check_changed(change: DesiredChange) -> str:
    if change.fields:
        return f"the health check of {change.vip} changes to {_new_values(change.fields)}"
    return _check_added(change)


def _backend_added(change: DesiredChange) -> str:
    assert isinstance(change.after, DesiredBackend)
    return f"backend {change.backend} of {change.vip} is added with weight {change.after.backend.weight}"


def _drain_changed(change: DesiredChange) -> str:
    assert isinstance(change.before, DesiredBackend)
    assert isinstance(change.after, DesiredBackend)
    old, new = change.before.drain, change.after.drain
    assert old is not None
    assert new is not None
    said = []
    if old.timeout_seconds != new.timeout_seconds:
        said.append(f"times out after {new.timeout_seconds:g} s (was {old.timeout_seconds:g} s)")
    if old.quiet_seconds != new.quiet_seconds:
        said.append(f"ends after {new.quiet_seconds:g} s of silence (was {old.quiet_seconds:g} s)")
    if old.cut_at_deadline != new.cut_at_deadline:
        said.append(f"{'cuts what is left' if new.cut_at_deadline else 'cuts nothing'} at its deadline")
    return f"the drain of backend {change.backend} of {change.vip} {' and '.join(said)}"


def _count(number: int, one: str, several: str = "") -> str:
    """Return a number of things: `1 backend`, `2 backends`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def _new_values(changed: tuple[FieldChange, ...]) -> str:
    return ", ".join(f"{field.name} {_show(field.after)} (was {_show(field.before)})" for field in changed)


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


_USES = {
    Use.SERVING: "takes new connections",
    Use.KEEPING: "takes no new connections but keeps its open ones",
    Use.OUT: "receives no packets",
}

_CAUSES = {
    Cause.CUT_OFF: "no packets are sent to it any more",
    Cause.TAKEN: "the new VIP is more specific and takes their packets",
    Cause.HASH: "the hash changes, and with it their slots",
    Cause.SCHEDULER: "they have no record, and the new scheduler chooses anew",
    Cause.UDP: "UDP flows without a record move with their slots",
    Cause.QUIC: "IDs in their packets may name another backend than before, or none",
    Cause.ACCESS: "the access list admits fewer sources",
    Cause.LIMITS: "the limit of packets is lower",
    Cause.FORWARD: "their packets come in another way, which the backend must be set up for",
    Cause.IDLE_TIMEOUT: "slots are still moving, and connections may be silent for less long",
    Cause.FLOW_TABLE: "their slots move, and the flow table may have no room for their records",
}

_WARNINGS = {
    Concern.NO_BACKEND: "VIP {vip} has no usable backend now: its packets are dropped, or refused if all_unhealthy is"
    " reject, until it has one",
    Concern.NO_NEW_CONNECTIONS: "no backend of VIP {vip} takes new connections now: they are dropped until one does;"
    " open ones go on",
    Concern.CONNECTIONS_BREAK: "open connections of VIP {vip} break: {detail}; to let them end first, use xdplb backend"
    " drain {vip} {one} --wait",
    Concern.CANNOT_SEND: "{who} of VIP {vip} {get} no packets yet: {detail}",
    Concern.BEHIND_GATEWAY: "{who} of VIP {vip} {get} no packets: {detail}",
    Concern.FAILS_OPEN: "no backend of VIP {vip} whose check passes takes new connections now: they go to backends"
    " whose check failed",
    Concern.PANICS: "too few backends of VIP {vip} are healthy now (panic_share): new connections go to those whose"
    " check failed, too",
    Concern.BACKUPS_SERVE: "too few primary backends of VIP {vip} serve now (min_serving): new connections go to its"
    " backups, too",
    Concern.AT_RISK: "{detail}",
    Concern.OWN_SERVICE: "VIP {vip} takes packets to this host itself: {detail}; if that is how you reach this host,"
    " you lose it; use an address that is not this host's, or another port",
    Concern.HASH_CHANGES: "open connections of VIP {vip} without a record go to other backends, since the hash changes",
    Concern.SCHEDULER_CHANGES: "open connections of VIP {vip} without a record go to other backends, since the"
    " scheduler changes",
    Concern.HOST_PORTS: "{detail}",
    Concern.HOST_SOURCE: "this host can send only from {detail}, the address of VIP {vip}: backends that have it too"
    " answer no check from there, and drop packets of a tunnel from there; give this host an address that is no VIP's",
    Concern.TUNNEL_SOURCE: "packets of tunnels leave from {detail}, which has addresses of VIP {vip}: backends that"
    " have them too drop such packets; give xdplb up another --ipip-source",
}

_CHANGES: Mapping[DiffKind, Callable[[DesiredChange], str]] = {
    DiffKind.VIP_ADDED: lambda change: f"VIP {change.vip} is added",
    DiffKind.VIP_CHANGED: lambda change: f"VIP {change.vip} changes to {_new_values(change.fields)}",
    DiffKind.VIP_REMOVED: _vip_removed,
    DiffKind.ACCESS_CHANGED: _access_changed,
    DiffKind.CHECK_ADDED: _check_added,
    DiffKind.CHECK_CHANGED: _check_changed,
    DiffKind.CHECK_REMOVED: lambda change: f"the backends of {change.vip} are no longer checked",
    DiffKind.BACKEND_ADDED: _backend_added,
    DiffKind.BACKEND_CHANGED: lambda change: (
        f"backend {change.backend} of {change.vip} changes to {_new_values(change.fields)}"
    ),
    DiffKind.BACKEND_REMOVED: lambda change: f"backend {change.backend} of {change.vip} is removed",
    DiffKind.DRAIN_CHANGED: _drain_changed,
}
