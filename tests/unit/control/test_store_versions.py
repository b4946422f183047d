# SPDX-License-Identifier: Apache-2.0
"""Files of other versions: older ones are brought up to date without loss, newer ones are left alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.bound import bound_vip, snapshot
from tests.unit.control.stored import CHECK, WEB, backend, edited, full_state, reopened, saved
from xdplb.control.edits.edit import (
    ClearOverlay,
    DeleteVip,
    DrainBackend,
    PatchBackend,
    PutBackend,
    PutCheck,
    PutConfig,
)
from xdplb.control.state.desired import Declared, DesiredBackend, Drain
from xdplb.control.state.schema import SCHEMA_VERSION
from xdplb.control.state.snapshot import Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.control.state.told import Told
from xdplb.model.access import AccessList
from xdplb.model.advice import Advice
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.config import Config, DeclaredVip
from xdplb.model.errors import ConflictError
from xdplb.model.health import CheckType, HealthCheck, Target
from xdplb.model.vip import (
    AllUnhealthy,
    Forward,
    HashKind,
    OnUnhealthy,
    QuicIds,
    RateLimits,
    Scheduler,
    Tracking,
    Vip,
    VipKey,
    VlanTags,
)

VERSION_1 = """
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE vip (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, port INTEGER NOT NULL, protocol TEXT NOT NULL,
    generation INTEGER NOT NULL, spec TEXT NOT NULL, health_check TEXT,
    UNIQUE (address, port, protocol)) STRICT;
CREATE TABLE backend (
    id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, vip INTEGER NOT NULL REFERENCES vip ON DELETE CASCADE,
    address TEXT NOT NULL, generation INTEGER NOT NULL, spec TEXT NOT NULL,
    drain_started REAL, drain_timeout_seconds REAL, drain_quiet_seconds REAL,
    UNIQUE (vip, address)) STRICT;
CREATE TABLE epoch (backend INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
CREATE TABLE health (
    backend INTEGER PRIMARY KEY REFERENCES backend ON DELETE CASCADE,
    health TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL) STRICT;
INSERT INTO counter VALUES ('generation', 7);
INSERT INTO vip VALUES (3, '203.0.113.10', 443, 'tcp', 7,
    '{"name": "web", "forward": "ipip", "scheduler": "maglev", "tracking": "always", "hash": "source",
      "on_unhealthy": "keep", "all_unhealthy": "fail-closed", "idle_timeout_seconds": 60}', NULL);
INSERT INTO backend VALUES (5, 2, 3, '10.0.0.1', 6, '{"weight": 3, "forward": null, "admin_state": "ready"}',
    NULL, NULL, NULL);
INSERT INTO epoch VALUES (5, 2);
INSERT INTO health VALUES (5, 'up', '', 0);
PRAGMA user_version = 1;
"""


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.executescript(VERSION_1)
    connection.close()
    state, health = reopened(tmp_path)
    record = state.vips[WEB.key]
    assert (state.generation, record.id, record.generation, dict(state.bindings.epochs)) == (7, 3, 7, {5: 2})
    assert (record.vip.name, record.vip.forward, record.vip.tracking) == ("web", Forward.IPIP, Tracking.ALWAYS)
    assert (record.vip.hash, record.vip.idle_timeout_seconds, record.vip.quic) == (HashKind.SOURCE, 60, None)
    assert [(r.id, r.epoch, r.backend.weight) for r in record.backends.values()] == [(5, 2, 3)]
    assert health[5].health is Health.UP
    saved(tmp_path, Snapshot())
    assert reopened(tmp_path)[0].vips == {}


def test_limits_of_new_flows_that_a_vip_of_udp_was_once_given_are_left_out(tmp_path: Path) -> None:
    key = VipKey.parse("203.0.113.10:53/udp")
    saved(tmp_path, snapshot(4, {key: bound_vip(1, Vip(key, limits=RateLimits(packets=5, source_packets=7)), 1)}))
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE desired_vip SET spec = replace(spec, 'new_flows\": 0', 'new_flows\": 9')")
    connection.close()
    assert reopened(tmp_path)[0].vips[key].vip.limits == RateLimits(packets=5, source_packets=7)


def test_a_real_file_of_schema_2_is_carried_over_without_loss(tmp_path: Path) -> None:
    """The file was written by commit e30274d, the last one of that schema: every column of every table is checked."""
    shutil.copy(Path(__file__).with_name("state-schema-2.db"), tmp_path / "state.db")
    state, health = reopened(tmp_path)
    web, quic = VipKey.parse("203.0.113.10:443/tcp"), VipKey.parse("[2001:db8::10]:443/udp")
    some, every = VipKey.parse("203.0.113.0/24:8000-8999/tcp+udp"), VipKey.parse("[2001:db8::20]:0/tcp")
    then = datetime(2030, 1, 1, tzinfo=UTC)
    settings = {
        web: Vip(
            web, name="web", forward=Forward.IPIP, tracking=Tracking.ALWAYS, on_unhealthy=OnUnhealthy.KEEP,
            all_unhealthy=AllUnhealthy.FAIL_CLOSED, idle_timeout_seconds=60,
        ),
        quic: Vip(
            quic, name="quic", forward=Forward.GUE, scheduler=Scheduler.P2C, vlan=VlanTags.KEEP, quic=QuicIds(3, 5),
            limits=RateLimits(packets=1000, source_packets=7),
        ),
        some: Vip(some, name="range", scheduler=Scheduler.SH, hash=HashKind.SOURCE),
        every: Vip(every, name="all"),
    }  # fmt: skip
    assert {key: vip.vip for key, vip in state.desired.vips.items()} == settings
    assert {key: vip.checks for key, vip in state.desired.vips.items() if vip.checks} == {
        web: (replace(CHECK, target=None),)
    }
    assert {key: vip.access for key, vip in state.desired.vips.items() if vip.access} == {
        some: AccessList((ip_network("10.0.0.0/8"), ip_network("192.0.2.7")), (ip_network("10.1.0.0/16"),)),
        every: AccessList((), (ip_network("2001:db8:bad::/48"),)),
    }
    assert {str(address): desired for address, desired in state.desired.vips[web].backends.items()} == {
        "10.0.0.4": DesiredBackend(backend(4, forward=Forward.DR)),
        "10.0.0.2": DesiredBackend(
            backend(2, weight=2, admin_state=AdminState.DRAIN), Drain(then, 60, 3, id=then.isoformat())
        ),
        "10.0.0.3": DesiredBackend(backend(3, weight=3)),
    }
    assert {str(address): desired.backend for address, desired in state.desired.vips[quic].backends.items()} == {
        "2001:db8:1::1": Backend(ip_address("2001:db8:1::1"), quic_server_id="00a7b1"),
        "10.9.0.1": Backend(ip_address("10.9.0.1"), admin_state=AdminState.MAINT),
    }
    assert {key: vip.id for key, vip in state.bindings.vips.items()} == {web: 1, quic: 2, some: 3, every: 4}
    ids = {str(a): tuple(b) for vip in state.bindings.vips.values() for a, b in vip.backends.items()}
    assert ids == {
        "10.0.0.4": (1, 1),
        "10.0.0.2": (2, 0),
        "10.0.0.3": (3, 0),
        "2001:db8:1::1": (4, 0),
        "10.9.0.1": (5, 0),
    }
    assert state.bindings.epochs == {1: 1, 2: 0, 3: 0, 4: 0, 5: 0}
    assert state.generation == 17
    assert {key: vip.latest for key, vip in state.generations.vips.items()} == {web: 9, quic: 12, some: 14, every: 16}
    stamps = {str(a): g for vip in state.generations.vips.values() for a, g in vip.backends.items()}
    assert stamps == {"10.0.0.4": 8, "10.0.0.2": 9, "10.0.0.3": 6, "2001:db8:1::1": 11, "10.9.0.1": 12}
    assert health == {
        1: KnownHealth(Health.UNKNOWN, "no pass yet", then),
        2: KnownHealth(Health.UP, "status 200", then),
        3: KnownHealth(Health.DOWN, "status 503, wanted 200 or 204", then),
        4: KnownHealth(Health.UP, "", then),
        5: KnownHealth(Health.UP, "", then),
    }
    assert reopened(tmp_path) == (state, health), "opening it again changes nothing"
    saved(tmp_path, edited(state, DeleteVip(some), PutBackend(web, backend(9))))
    assert reopened(tmp_path)[0] == edited(state, DeleteVip(some), PutBackend(web, backend(9)))


def as_schema_3(path: Path) -> None:
    """Make the state what xdplb of schema 3 wrote, which gave it no instance id."""
    as_schema_5(path)
    _rewrite(path, 3, "DELETE FROM counter WHERE name = 'instance'", "DROP TABLE clock")


def as_schema_5(path: Path) -> None:
    """Make the state what xdplb of schema 5 wrote, which knew no config file."""
    as_schema_7(path)
    _rewrite(path, 5, *(f"DROP TABLE {table}" for table in ("told", "declared_backend", "config")))


def as_schema_7(path: Path) -> None:
    """Make the state what xdplb of schema 7 wrote, where a VIP had one check at most."""
    as_schema_8(path)
    _rewrite(
        path,
        7,
        "ALTER TABLE desired_vip ADD COLUMN health_check TEXT",
        "UPDATE desired_vip SET health_check = json_extract(checks, '$[0]')",
        "ALTER TABLE desired_vip DROP COLUMN checks",
    )


def as_schema_8(path: Path) -> None:
    """Make the state what xdplb of schema 8 wrote, whose drains cut nothing and left no certificate."""
    as_schema_9(path)
    _rewrite(path, 8, "DROP TABLE drain_certificate", "ALTER TABLE desired_backend DROP COLUMN drain_cut")


def as_schema_9(path: Path) -> None:
    """Make the state what xdplb of schema 9 wrote, where it was not kept who was up before."""
    as_schema_10(path)
    _rewrite(path, 9, "ALTER TABLE health DROP COLUMN was_up")


def as_schema_10(path: Path) -> None:
    """Make the state what xdplb of schema 10 wrote, where agents had nothing to say."""
    as_schema_11(path)
    _rewrite(path, 10, "ALTER TABLE health DROP COLUMN advice")


def as_schema_11(path: Path) -> None:
    """Make the state what xdplb of schema 11 wrote, where nodes could not be drained."""
    as_schema_12(path)
    _rewrite(path, 11, "DROP TABLE node_drain")


def as_schema_12(path: Path) -> None:
    """Make the state what xdplb of schema 12 wrote, which knew no store that balancers share."""
    tables = ("store_copy", "store_odd", "store_pending", "store_past")
    drops = [f"DROP TABLE {table}" for table in tables]
    _rewrite(path, 12, *drops, "ALTER TABLE desired_backend DROP COLUMN drain_id")


def _rewrite(path: Path, version: int, *statements: str) -> None:
    with sqlite3.connect(path / "state.db") as connection:
        for statement in (*statements, f"PRAGMA user_version = {version}"):
            connection.execute(statement)
    connection.close()


def test_a_drain_of_schema_8_cuts_nothing_and_has_no_certificate(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    as_schema_8(tmp_path)
    store = SqliteStore(tmp_path)
    assert store.open()[0] == state
    assert store.certificates() == {}
    store.close()
    cutting = edited(state, DrainBackend(WEB.key, backend(2).address, 60, 3, cut_at_deadline=True))
    saved(tmp_path, cutting)
    assert reopened(tmp_path)[0] == cutting


def test_a_state_of_schema_5_belongs_to_the_api_and_can_be_given_to_a_file(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    as_schema_5(tmp_path)
    assert reopened(tmp_path)[0] == state
    owned = edited(
        state, PutConfig(Config((DeclaredVip("", WEB, backends=(backend(1), backend(3))),)), "/etc/xdplb/config.toml")
    )
    laid = edited(owned, PatchBackend(WEB.key, backend(3).address, {"weight": 9}))
    saved(tmp_path, owned, laid)
    again = reopened(tmp_path)[0]
    assert again == laid
    assert again.desired.owner == "/etc/xdplb/config.toml"
    assert again.desired.vips[WEB.key].backends[backend(3).address].declared == Declared(1, AdminState.READY)
    cleared = edited(laid, ClearOverlay())
    saved(tmp_path, cleared)
    assert reopened(tmp_path)[0] == cleared
    assert cleared.desired == owned.desired


def test_a_state_of_schema_3_gets_an_instance_id_once(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    as_schema_3(tmp_path)
    instances = []
    for _ in range(2):
        store = SqliteStore(tmp_path)
        assert store.open()[0] == state
        instances.append(store.instance)
        store.close()
    assert instances[0] == instances[1] > 0


def test_a_state_of_schema_5_can_keep_events_of_changes(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    as_schema_5(tmp_path)
    store = SqliteStore(tmp_path)
    assert store.open()[0] == state
    assert store.told() == []
    for kept in (0, 0, 1):
        generation = len(store.told()) + 1
        after = edited(state, PutBackend(WEB.key, backend(90 + generation)))
        store.save(state, after, {}, Told(generation, f"text {generation}".format, kept))
        state = after
    assert store.told() == ["text 2", "text 3"], "what is kept elsewhere is dropped with a later change"
    store.close()


def test_a_check_of_schema_7_stays_the_check_that_it_was(tmp_path: Path) -> None:
    keys = {name: VipKey.parse(f"203.0.113.10:{port}/tcp") for port, name in enumerate(("http", "tcp", "none"), 80)}
    saved(tmp_path, snapshot(4, {key: bound_vip(n, Vip(key), 1) for n, key in enumerate(keys.values(), 1)}))
    as_schema_7(tmp_path)
    stored = {
        "port": None, "path": "/up", "expect_status": [200, 204], "interval_seconds": 3.0, "timeout_seconds": 1.0,
        "rise": 2, "fall": 3, "jitter": 0.1, "reset": True,
    }  # fmt: skip
    with sqlite3.connect(tmp_path / "state.db") as connection:
        for kind in ("http", "tcp"):
            row = (json.dumps({"type": kind, **stored}), str(keys[kind]))
            connection.execute("UPDATE desired_vip SET health_check = ? WHERE vip = ?", row)
    connection.close()
    times = {"interval_seconds": 3.0, "reset": True}
    assert {name: reopened(tmp_path)[0].vips[key].checks for name, key in keys.items()} == {
        "http": (HealthCheck(CheckType.HTTP, path="/up", expect_status=(200, 204), **times),),  # type: ignore[arg-type]
        "tcp": (HealthCheck(CheckType.TCP, **times),),  # type: ignore[arg-type]
        "none": (),
    }
    state, key = reopened(tmp_path)[0], keys["tcp"]
    for target in (None, Target.BACKEND):
        asked = HealthCheck(CheckType.TCP, target=target, **times)  # type: ignore[arg-type]
        declared = tuple(
            DeclaredVip("", vip.vip, (asked,) if at == key else vip.checks) for at, vip in state.vips.items()
        )
        for edit in (PutCheck(key, asked), PutConfig(Config(declared))):
            assert edited(state, edit).vips[key].checks is state.vips[key].checks, "an upgrade changes nothing"
    (faster,) = edited(state, PutCheck(key, replace(asked, target=None, rise=1))).vips[key].checks
    assert faster.target is Target.VIP, "what is changed is new"


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(ConflictError, match="newer xdplb") as refused:
        SqliteStore(tmp_path).open()
    assert refused.value.exit_code == 4  # systemd does not try again then


def test_in_a_state_of_schema_9_nobody_that_is_down_is_known_to_have_been_up(tmp_path: Path) -> None:
    then = datetime(2030, 1, 1, tzinfo=UTC)
    saved(tmp_path, full_state())
    store = SqliteStore(tmp_path)
    store.open()
    drains = Advice(75, None, AdminState.DRAIN)
    known = {
        1: KnownHealth(Health.DOWN, "refused", then, was_up=True, advice=drains),
        2: KnownHealth(Health.UP, "", then),
    }
    store.save_health(known)
    store.close()
    assert {number: reopened(tmp_path)[1][number] for number in known} == known
    as_schema_9(tmp_path)
    assert reopened(tmp_path)[1][1] == KnownHealth(Health.DOWN, "refused", then)


def test_in_a_state_of_schema_11_the_node_serves(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    as_schema_11(tmp_path)
    store = SqliteStore(tmp_path)
    assert store.open()[0] == full_state()
    assert store.node_drain() is None
    store.close()
