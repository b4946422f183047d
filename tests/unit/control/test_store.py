"""The store: what was saved is there, whatever happens in between, and what is wrong with a file is said."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from tests.bound import bound_backend, bound_vip, snapshot, with_access
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import DeleteVip, DrainBackend, Edit, PutBackend, PutCheck, PutVip, ReplaceBackends
from xdplb.control.state.desired import NO_ACCESS_LIST, DesiredBackend, Drain
from xdplb.control.state.schema import SCHEMA_VERSION
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Capacity, Mark
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.health import CheckType, HealthCheck
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

CAPACITY = Capacity()
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
WEB = Vip(VipKey.parse("203.0.113.10:443/tcp"), name="web", forward=Forward.IPIP, tracking=Tracking.ALWAYS)
CHECK = HealthCheck(type=CheckType.HTTP, port=8080, path="/ready", expect_status=(200, 204), interval_seconds=0.5)


def backend(last: int, **fields: object) -> Backend:
    return Backend(IPv4Address(f"10.0.0.{last}"), **fields)  # type: ignore[arg-type]


def edited(state: Snapshot, *edits: Edit, capacity: Capacity = CAPACITY) -> Snapshot:
    """The state after these edits, each a change of its own."""
    for edit in edits:
        state = state.then(apply_edit(state.desired, edit, NOW), capacity)
    return state


def replaced(*lasts: int) -> ReplaceBackends:
    return ReplaceBackends(WEB.key, tuple(backend(last) for last in lasts))


def full_state() -> Snapshot:
    state = edited(Snapshot(), PutVip(WEB), PutCheck(WEB.key, CHECK))
    for last in (1, 2, 3):
        state = edited(state, PutBackend(WEB.key, backend(last, weight=last)))
    return edited(state, DrainBackend(WEB.key, IPv4Address("10.0.0.2"), 60, 3))


def reopened(path: Path) -> tuple[Snapshot, dict[int, KnownHealth]]:
    store = SqliteStore(path)
    try:
        return store.open()
    finally:
        store.close()


def saved(path: Path, *states: Snapshot, health: dict[int, KnownHealth] | None = None) -> None:
    store = SqliteStore(path)
    before, _ = store.open()
    for state in states:
        store.save(before, state, health or {})
        before = state
    store.close()


def test_everything_comes_back(tmp_path: Path) -> None:
    state = full_state()
    health = {1: KnownHealth(Health.DOWN, "status 503, expected 200", NOW), 3: KnownHealth(Health.UP, "", NOW)}
    saved(tmp_path / "deep" / "dir", state, health=health)
    assert reopened(tmp_path / "deep" / "dir") == (state, health)


def test_an_empty_directory_is_an_empty_state(tmp_path: Path) -> None:
    assert reopened(tmp_path) == (Snapshot(), {})


def test_only_what_is_left_comes_back(tmp_path: Path) -> None:
    first = full_state()
    second = edited(first, replaced(9, 3))
    saved(tmp_path, first, second)
    assert reopened(tmp_path)[0] == second
    third = edited(second, DeleteVip(WEB.key))
    saved(tmp_path, third)
    state, health = reopened(tmp_path)
    assert (state, health) == (third, {})
    assert state.generation == third.generation
    assert state.bindings.epochs == third.bindings.epochs


def test_an_id_given_to_another_backend_in_the_same_change(tmp_path: Path) -> None:
    full = Capacity(backends=3)
    first = edited(Snapshot(), PutVip(WEB), replaced(1, 2, 3), capacity=full)
    second = edited(first, replaced(4, 5, 6), capacity=full)
    assert {record.epoch for _, record in second.backends()} == {1}
    saved(tmp_path, first, second)
    assert reopened(tmp_path)[0] == second


def test_health_of_a_backend_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    state = full_state()
    store = SqliteStore(tmp_path)
    store.open()
    store.save(Snapshot(), state, {})
    store.save_health({1: KnownHealth(Health.DOWN, "x", NOW), 77: KnownHealth(Health.UP, "", NOW)})
    store.close()
    assert list(reopened(tmp_path)[1]) == [1]


def test_a_save_that_fails_changes_nothing(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    store = SqliteStore(tmp_path)
    store.open()
    other = replace(WEB, key=VipKey.parse("203.0.113.11:80/tcp"))
    clash = {**state.vips, other.key: bound_vip(state.vips[WEB.key].id, other, 99)}
    with pytest.raises(PlatformError):
        store.save(
            state,
            snapshot(99, clash),
            {1: KnownHealth(Health.UP, "", NOW)} | {999: KnownHealth(Health.UP, "", NOW)},
        )
    store.close()
    assert reopened(tmp_path) == (state, {})


def test_a_full_disk_changes_nothing_and_is_forgotten_when_there_is_room(tmp_path: Path) -> None:
    state = full_state()
    saved(tmp_path, state)
    store = SqliteStore(tmp_path)
    store.open()
    connection = store._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    web = state.vips[WEB.key]
    many: dict[IPAddress, BoundBackend] = {
        address: bound_backend(number, 9, Backend(address), 99)
        for number, address in ((n, IPv4Address("10.9.0.0") + n) for n in range(1000, 3000))
    }
    after = snapshot(99, {WEB.key: bound_vip(web.id, WEB, 99, web.check, {**web.backends, **many})})
    with pytest.raises(PlatformError, match="is full") as raised:
        store.save(state, after, {})
    assert "make room on it" in raised.value.hint
    connection.execute("PRAGMA max_page_count = 1000000")
    kept = snapshot(98, state.vips, state.bindings.epochs)
    store.save(state, kept, {})
    store.close()
    assert reopened(tmp_path)[0] == kept


def test_two_daemons_cannot_share_a_directory(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    first = SqliteStore(tmp_path)
    first.open()
    with pytest.raises(ConflictError, match="held by another xdplb"):
        SqliteStore(tmp_path).open()
    first.close()
    assert reopened(tmp_path)[0] == full_state()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(PlatformError, match="newer xdplb"):
        SqliteStore(tmp_path).open()


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 200, b"\0" * 5000])
def test_a_damaged_file_is_said_so_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(PlatformError, match="is damaged"):
        SqliteStore(tmp_path).open()
    assert (tmp_path / "state.db").read_bytes() == content


def test_pages_overwritten_in_a_real_file_are_noticed(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    with (tmp_path / "state.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * 8192)
    with pytest.raises(PlatformError, match="is damaged"):
        SqliteStore(tmp_path).open()


def test_a_directory_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="cannot be opened"):
        SqliteStore(tmp_path / "file" / "state").open()


WRITER = """
import sys, json
from ipaddress import IPv4Address
from pathlib import Path
from datetime import UTC, datetime
from xdplb.control.edits.apply import apply_edit
from xdplb.control.edits.edit import PutVip, ReplaceBackends
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Capacity
from xdplb.model.backend import Backend
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
store = SqliteStore(Path(sys.argv[1]))
state, _ = store.open()
key = VipKey.parse("203.0.113.10:443/tcp")

def save(edit):
    global state
    new = state.then(apply_edit(state.desired, edit, datetime.now(UTC)), Capacity())
    store.save(state, new, {})
    state = new

if not state.vips:
    save(PutVip(Vip(key, name="web")))
while True:
    weight = state.generation % 60000
    asked = [Backend(IPv4Address(f"10.0.{i}.1"), weight) for i in range(weight % 7 + 1)]
    save(ReplaceBackends(key, tuple(asked)))
    print(json.dumps([state.generation, weight, len(asked)]), flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    for turn in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            acknowledged = [writer.stdout.readline()]
            time.sleep(0.05 + 0.03 * turn)
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += writer.stdout.readlines()
        generation, weight, count = json.loads([line for line in acknowledged if line.endswith(b"\n")][-1])
        state, _ = reopened(tmp_path)
        assert state.generation in {generation, generation + 1}
        records = state.vips[WEB.key].backends.values()
        wanted = weight if state.generation == generation else generation % 60000
        assert {record.backend.weight for record in records} == {wanted}
        assert len(records) == (count if state.generation == generation else wanted % 7 + 1)
        assert all(record.backend.admin_state is AdminState.READY for record in records)


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


def test_vips_of_all_kinds_and_access_lists_are_kept(tmp_path: Path) -> None:
    lists = {
        4: AccessList((ip_network("10.0.0.0/8"),), (ip_network("192.0.2.7"),)),
        6: AccessList((), (ip_network("2001:db8::/32"), ip_network("2001:db8::/33"))),
    }
    texts = ["203.0.113.0/24:80/tcp", "203.0.113.0/25:80/tcp", "203.0.113.0/24:80-90/tcp", "[2001:db8::10]:0/tcp+udp"]
    keys = [VipKey.parse(text) for text in texts]
    asked = Vip(
        VipKey.parse("[2001:db8::10]:443/udp"), scheduler=Scheduler.P2C, vlan=VlanTags.KEEP, quic=QuicIds(3, 5),
        limits=RateLimits(1, 0, 3, 0),
    )  # fmt: skip
    backend = Backend(ip_address("2001:db8:1::1"), quic_server_id="00a7b1")
    bound = {
        key: bound_vip(number, Vip(key, limits=RateLimits(1, 2, 3, 4)), 1, access=lists[key.address.version])
        for number, key in enumerate(keys)
    }
    bound[asked.key] = bound_vip(9, asked, 1, None, {backend.address: bound_backend(1, 0, backend, 1)})
    state = snapshot(4, bound)
    saved(tmp_path, state)
    assert reopened(tmp_path)[0] == state
    store = SqliteStore(tmp_path)
    held, _ = store.open()
    without = {**held.vips, keys[0]: with_access(held.vips[keys[0]], NO_ACCESS_LIST)}
    store.save(held, snapshot(4, without), {})
    store.close()
    assert reopened(tmp_path)[0].vips == without


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
    assert {key: vip.check for key, vip in state.desired.vips.items() if vip.check} == {web: CHECK}
    assert {key: vip.access for key, vip in state.desired.vips.items() if vip.access} == {
        some: AccessList((ip_network("10.0.0.0/8"), ip_network("192.0.2.7")), (ip_network("10.1.0.0/16"),)),
        every: AccessList((), (ip_network("2001:db8:bad::/48"),)),
    }
    assert {str(address): desired for address, desired in state.desired.vips[web].backends.items()} == {
        "10.0.0.4": DesiredBackend(backend(4, forward=Forward.DR)),
        "10.0.0.2": DesiredBackend(backend(2, weight=2, admin_state=AdminState.DRAIN), Drain(then, 60, 3)),
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
    with sqlite3.connect(path / "state.db") as connection:
        connection.execute("DELETE FROM counter WHERE name = 'instance'")
        connection.execute("DROP TABLE clock")
        connection.execute("PRAGMA user_version = 3")
    connection.close()


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


def test_the_acknowledged_generation_is_beside_the_state_and_of_its_instance(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.open()
    assert store.acknowledged() is None
    store.save(Snapshot(), full_state(), {})
    assert store.acknowledged() == Mark(store.instance, full_state().generation)
    store.close()
    for content in (b"", b"0", b"\xff" * 38, b"0" * 1000):
        (tmp_path / "state.db-acknowledged").write_bytes(content)
        assert SqliteStore(tmp_path).acknowledged() is None
    saved(tmp_path, full_state())
    assert store.acknowledged() == Mark(store.instance, full_state().generation)


def test_a_state_that_takes_the_place_of_another_leaves_it_beside(tmp_path: Path) -> None:
    saved(tmp_path, full_state())
    for number in (1, 2):
        kept = SqliteStore(tmp_path).replace(77, edited(full_state(), replaced(number)), {})
        assert kept == tmp_path / f"state.db.replaced-{number}"
        assert kept.exists()
        store = SqliteStore(tmp_path)
        assert store.open()[0] == edited(full_state(), replaced(number))
        assert store.instance == 77
        store.close()
    assert SqliteStore(tmp_path / "new").replace(5, full_state(), {}) is None
