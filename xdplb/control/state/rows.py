# SPDX-License-Identifier: Apache-2.0
"""The tables of the state file: how a snapshot and the known health are read from them and written to them."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address

from xdplb.control.state.bindings import BackendBinding, Bindings, VipBinding
from xdplb.control.state.certificate import Certificate, as_json, from_json
from xdplb.control.state.codec import (
    advice_from_json,
    advice_to_json,
    backend_from_json,
    backend_to_json,
    check_from_json,
    check_to_json,
    pack_access,
    settings_from_json,
    settings_to_json,
    unpack_access,
    vip_from_json,
    vip_to_json,
)
from xdplb.control.state.copy_rows import read_copy, write_copy
from xdplb.control.state.desired import NO_ACCESS_LIST, Declared, Desired, DesiredBackend, DesiredVip, Drain
from xdplb.control.state.differing import differing
from xdplb.control.state.generations import Generations, VipGenerations
from xdplb.control.state.snapshot import BoundBackend, BoundVip, Snapshot
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Health, KnownHealth
from xdplb.model.config import NO_SETTINGS
from xdplb.model.health import HealthCheck
from xdplb.model.vip import VipKey

__all__ = [
    "read_certificates",
    "read_health",
    "read_instance",
    "read_state",
    "write_certificates",
    "write_change",
    "write_health",
    "write_instance",
]


def read_instance(connection: sqlite3.Connection) -> int:
    """Return the id of this state."""
    row = connection.execute("SELECT value FROM counter WHERE name = 'instance'").fetchone()
    if row is None:
        raise ValueError("it has no instance id")
    return int(row[0])


def write_instance(connection: sqlite3.Connection, instance: int) -> None:
    """Give the state this id."""
    connection.execute("INSERT OR REPLACE INTO counter VALUES ('instance', ?)", (instance,))


def write_change(
    connection: sqlite3.Connection, before: Snapshot, after: Snapshot, health: Mapping[int, KnownHealth]
) -> None:
    """Write the difference of two states, and these healths."""
    _delete_gone(connection, before, after)
    for key in differing(before.vips, after.vips).present:
        _write_vip(connection, before.vips.get(key), after.vips[key])
    _write_epochs(connection, before.bindings, after.bindings)
    _write_config(connection, before.desired, after.desired)
    write_copy(connection, before.copy, after.copy)
    connection.execute("INSERT OR REPLACE INTO counter VALUES ('generation', ?)", (after.generation,))
    write_health(connection, health)


def read_state(connection: sqlite3.Connection) -> Snapshot:
    """Return the state."""
    desired: dict[VipKey, DesiredVip] = {}
    bindings: dict[VipKey, VipBinding] = {}
    generations: dict[VipKey, VipGenerations] = {}
    backends, backend_bindings, backend_generations = _read_backends(connection)
    checks: dict[str, tuple[HealthCheck, ...]] = {}
    access = {row[0]: unpack_access(*row[1:]) for row in connection.execute("SELECT * FROM desired_access")}
    for text, vip_id, generation, spec, checked in connection.execute(
        "SELECT vip, id, generation, spec, checks FROM desired_vip JOIN vip_binding USING (vip) ORDER BY id"
    ):
        key = VipKey.parse(text)
        if checked not in checks:  # many VIPs have the same
            checks[checked] = tuple(check_from_json(check) for check in json.loads(checked))
        desired[key] = DesiredVip(
            vip_from_json(key, json.loads(spec)),
            checks[checked],
            backends.get(text, {}),
            access.get(text, NO_ACCESS_LIST),
        )
        bindings[key] = VipBinding(vip_id, backend_bindings.get(text, {}))
        generations[key] = VipGenerations(generation, backend_generations.get(text, {}))
    counters = dict(connection.execute("SELECT name, value FROM counter"))
    epochs = dict(connection.execute("SELECT backend, epoch FROM epoch"))
    config = dict(connection.execute("SELECT name, value FROM config"))
    settings = settings_from_json(json.loads(config["settings"])) if "settings" in config else NO_SETTINGS
    whole = Desired(desired, settings, config.get("owner", ""))
    numbers = Generations(counters.get("generation", 0), generations)
    return Snapshot.of(whole, Bindings(bindings, epochs), numbers, read_copy(connection))


def _read_backends(
    connection: sqlite3.Connection,
) -> tuple[
    dict[str, dict[IPAddress, DesiredBackend]],
    dict[str, dict[IPAddress, BackendBinding]],
    dict[str, dict[IPAddress, int]],
]:
    """Return the backends, their bindings and their generations, each by the text of the VIP's key, then by address."""
    alike: dict[tuple[str, str], DesiredBackend] = {}
    desired = defaultdict[str, dict[IPAddress, DesiredBackend]](dict)
    bindings = defaultdict[str, dict[IPAddress, BackendBinding]](dict)
    generations = defaultdict[str, dict[IPAddress, int]](dict)
    declared = _read_declared(connection)
    for vip, text, backend_id, epoch, generation, spec, started, timeout, quiet, cut, drain_id in connection.execute(
        "SELECT vip, address, id, epoch, generation, spec, drain_started, drain_timeout_seconds, drain_quiet_seconds,"
        " drain_cut, drain_id FROM desired_backend JOIN backend_binding USING (vip, address) ORDER BY id"
    ):
        like = alike.get((text, spec))
        if like is None:  # a host is a backend of many VIPs, mostly with the same settings
            like = alike[text, spec] = DesiredBackend(backend_from_json(ip_address(text), json.loads(spec)))
        address = like.backend.address
        drain = None if started is None else Drain(_utc(started), timeout, quiet, bool(cut), drain_id)
        told = declared.get((vip, text)) if declared else None
        is_alike = drain is None and told is None
        desired[vip][address] = like if is_alike else replace(like, drain=drain, declared=told)
        bindings[vip][address] = BackendBinding(backend_id, epoch)
        generations[vip][address] = generation
    return desired, bindings, generations


def _read_declared(connection: sqlite3.Connection) -> dict[tuple[str, str], Declared]:
    """Return what the config file says of the backends under an overlay, by VIP and address."""
    rows = connection.execute("SELECT vip, address, weight, admin_state FROM declared_backend")
    return {(vip, address): Declared(weight, AdminState(state)) for vip, address, weight, state in rows}


def read_health(connection: sqlite3.Connection) -> dict[int, KnownHealth]:
    """Return the last known health, by backend id."""
    return {
        backend: KnownHealth(Health(health), reason, _utc(since), bool(was_up), advice_from_json(advice))
        for backend, health, reason, since, was_up, advice in connection.execute(
            "SELECT backend, health, reason, since, was_up, advice FROM health"
        )
    }


def _delete_gone(connection: sqlite3.Connection, before: Snapshot, after: Snapshot) -> None:
    """Delete removed VIPs and backends. This must come first, since new ones may reuse their ids."""
    gone: list[tuple[str, str]] = []
    for key in differing(before.vips, after.vips).past:
        old, new = before.vips[key], after.vips.get(key)
        if new is None or new.id != old.id:
            connection.execute("DELETE FROM desired_vip WHERE vip = ?", (str(key),))
        else:
            backends = differing(old.backends, new.backends)
            held = {address: old.backends[address] for address in backends.past}
            kept = {(b.id, b.epoch) for b in (new.backends[address] for address in backends.present)}
            gone += [(str(key), str(address)) for address, b in held.items() if (b.id, b.epoch) not in kept]
    connection.executemany("DELETE FROM desired_backend WHERE vip = ? AND address = ?", gone)


def _write_vip(connection: sqlite3.Connection, old: BoundVip | None, new: BoundVip) -> None:
    key = str(new.vip.key)
    checks = json.dumps([check_to_json(check) for check in new.checks])
    connection.execute(
        "INSERT INTO desired_vip VALUES (?, ?, ?, ?) ON CONFLICT (vip) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, checks = excluded.checks",
        (key, new.generation, json.dumps(vip_to_json(new.vip)), checks),
    )
    if old is None or old.id != new.id:
        old = None
        connection.execute("INSERT INTO vip_binding VALUES (?, ?)", (new.id, key))
    if (NO_ACCESS_LIST if old is None else old.access) is not new.access:
        _write_access(connection, key, new)
    known = {} if old is None else old.backends
    present = differing(known, new.backends).present
    changed = [(address, b) for address in present if known.get(address) != (b := new.backends[address])]
    _write_backends(connection, key, changed, known)


def _write_access(connection: sqlite3.Connection, key: str, vip: BoundVip) -> None:
    if vip.access:
        connection.execute(
            "INSERT OR REPLACE INTO desired_access VALUES (?, ?, ?, ?, ?)", (key, *pack_access(vip.access))
        )
    else:
        connection.execute("DELETE FROM desired_access WHERE vip = ?", (key,))


def _write_backends(
    connection: sqlite3.Connection,
    key: str,
    changed: list[tuple[IPAddress, BoundBackend]],
    known: Mapping[IPAddress, BoundBackend],
) -> None:
    connection.executemany(
        "INSERT INTO desired_backend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (vip, address) DO UPDATE SET"
        " generation = excluded.generation, spec = excluded.spec, drain_started = excluded.drain_started,"
        " drain_timeout_seconds = excluded.drain_timeout_seconds, drain_quiet_seconds = excluded.drain_quiet_seconds,"
        " drain_cut = excluded.drain_cut, drain_id = excluded.drain_id",
        (
            (key, str(address), b.generation, json.dumps(backend_to_json(b.backend)), *_drain_columns(b.drain))
            for address, b in changed
        ),
    )
    _write_declared(connection, key, changed, known)
    new = ((a, b) for a, b in changed if (old := known.get(a)) is None or (old.id, old.epoch) != (b.id, b.epoch))
    connection.executemany(
        "INSERT INTO backend_binding VALUES (?, ?, ?, ?)", ((b.id, b.epoch, key, str(address)) for address, b in new)
    )


def _write_declared(
    connection: sqlite3.Connection,
    key: str,
    changed: list[tuple[IPAddress, BoundBackend]],
    known: Mapping[IPAddress, BoundBackend],
) -> None:
    """Write what the config file says of those backends over which an overlay was laid or taken away."""
    for address, new in changed:
        old, told = known.get(address), new.desired.declared
        is_same = old is not None and (old.id, old.epoch) == (new.id, new.epoch)
        if told == (old.desired.declared if old is not None and is_same else None):
            continue
        if told is None:
            connection.execute("DELETE FROM declared_backend WHERE vip = ? AND address = ?", (key, str(address)))
        else:
            row = (key, str(address), told.weight, told.admin_state.value)
            connection.execute("INSERT OR REPLACE INTO declared_backend VALUES (?, ?, ?, ?)", row)


def _write_config(connection: sqlite3.Connection, before: Desired, after: Desired) -> None:
    if before.owner != after.owner:
        connection.execute("INSERT OR REPLACE INTO config VALUES ('owner', ?)", (after.owner,))
    if before.settings != after.settings:
        text = json.dumps(settings_to_json(after.settings))
        connection.execute("INSERT OR REPLACE INTO config VALUES ('settings', ?)", (text,))


def _drain_columns(drain: Drain | None) -> tuple[float | None, float | None, float | None, int, str]:
    if drain is None:
        return None, None, None, 0, ""
    return drain.started.timestamp(), drain.timeout_seconds, drain.quiet_seconds, int(drain.cut_at_deadline), drain.id


def _write_epochs(connection: sqlite3.Connection, before: Bindings, after: Bindings) -> None:
    if before.epochs is not after.epochs:
        changed = [(number, after.epochs[number]) for number in differing(before.epochs, after.epochs).present]
        connection.executemany("INSERT OR REPLACE INTO epoch VALUES (?, ?)", changed)


def write_health(connection: sqlite3.Connection, health: Mapping[int, KnownHealth]) -> None:
    """Write these healths."""
    connection.executemany(
        "INSERT OR REPLACE INTO health VALUES (?, ?, ?, ?, ?, ?)",
        [
            (
                *(key, known.health.value, known.reason, known.since.timestamp(), known.was_up),
                advice_to_json(known.advice),
            )
            for key, known in health.items()
        ],
    )


def read_certificates(connection: sqlite3.Connection) -> dict[int, Certificate]:
    """Return the certificate of the last drain of each backend that has had one, by backend id."""
    rows = connection.execute("SELECT backend, certificate, started, until, last_packet FROM drain_certificate")
    return {backend: from_json(text, (started, until, last)) for backend, text, started, until, last in rows}


def write_certificates(connection: sqlite3.Connection, certificates: Mapping[int, Certificate]) -> None:
    """Write these certificates."""
    connection.executemany(
        "INSERT OR REPLACE INTO drain_certificate VALUES (?, ?, ?, ?, ?)",
        [
            (
                key,
                *(each.started.timestamp(), each.until.timestamp()),
                None if each.last_packet is None else each.last_packet.timestamp(),
                as_json(each),
            )
            for key, each in certificates.items()
        ],
    )


def _utc(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
