# SPDX-License-Identifier: Apache-2.0
"""The store: what was saved is there, whatever happens in between, and what is wrong with a file is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from tests.bound import bound_backend, bound_vip, snapshot, with_access
from tests.unit.control.stored import NOW, WEB, edited, full_state, reopened, replaced, saved
from xdplb.control.clock import ClockMark
from xdplb.control.edits.edit import DeleteVip, PutVip
from xdplb.control.state.certificate import Certificate, Counted, KnownBy, Outcome
from xdplb.control.state.desired import NO_ACCESS_LIST
from xdplb.control.state.snapshot import BoundBackend, Snapshot
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.plane import Capacity, Mark
from xdplb.model.access import AccessList
from xdplb.model.address import IPAddress
from xdplb.model.backend import AdminState, Backend, Health, KnownHealth
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.model.vip import QuicIds, RateLimits, Scheduler, Vip, VipKey, VlanTags


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


def test_certificates_are_kept_until_their_backends_are_gone(tmp_path: Path) -> None:
    state = full_state()
    ids = {str(b.backend.address): b.id for b in state.vips[WEB.key].backends.values()}
    one = Certificate(
        Outcome.CUT, NOW, NOW + timedelta(seconds=9), KnownBy.RECORDS, Counted(closed=3, cut=2), 0, "a sentence"
    )
    other = replace(one, counted=None, silent_at_most=None, last_packet=NOW, restarts=2, forgotten=Counted(idle=1))
    store = SqliteStore(tmp_path)
    store.open()
    store.save(Snapshot(), state, {})
    kept = {ids["10.0.0.1"]: one, ids["10.0.0.2"]: other}
    store.save_certificates({**{(number, 0): each for number, each in kept.items()}, (77, 0): one, (3, 9): one})
    store.close()
    assert store.open()[0] == state
    assert store.certificates() == kept
    store.set_clock_mark(ClockMark("boot", 0, int((NOW.timestamp() + 99) * 1e9), 0), -int(5e9))
    store.close()
    store.open()
    assert store.certificates()[ids["10.0.0.2"]] == other.moved(timedelta(seconds=-5))
    store.save(state, edited(state, replaced(1, 3)), {})
    store.close()
    store.open()
    assert list(store.certificates()) == [ids["10.0.0.1"]]
    store.close()


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
    after = snapshot(99, {WEB.key: bound_vip(web.id, WEB, 99, web.checks, {**web.backends, **many})})
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
from xdplb.model.vip import Vip, VipKey
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
    bound[asked.key] = bound_vip(9, asked, 1, (), {backend.address: bound_backend(1, 0, backend, 1)})
    state = snapshot(4, bound)
    saved(tmp_path, state)
    assert reopened(tmp_path)[0] == state
    store = SqliteStore(tmp_path)
    held, _ = store.open()
    without = {**held.vips, keys[0]: with_access(held.vips[keys[0]], NO_ACCESS_LIST)}
    store.save(held, snapshot(4, without), {})
    store.close()
    assert reopened(tmp_path)[0].vips == without


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
