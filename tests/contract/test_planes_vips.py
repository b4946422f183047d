# SPDX-License-Identifier: Apache-2.0
"""What every DataPlane promises of VIPs and their access lists."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from xdplb.dataplane.access_index import is_denied
from xdplb.dataplane.plane import DataPlane, VipEntry
from xdplb.model.access import AccessList
from xdplb.model.errors import CapacityError
from xdplb.model.vip import HashKind, QuicIds, RateLimits, Scheduler, VipKey

from .planes import CAPACITY, KEY, UDP, V6, V6_UDP, Kit, build, many_vips, vip


def test_vips_are_replaced_as_a_whole(plane: DataPlane) -> None:
    first = vip(0, KEY, track_always=True, idle_seconds=65535)
    second = vip(5, UDP, hash=HashKind.SOURCE, idle_seconds=1)
    plane.write_vips([first, second])
    assert plane.read_vips() == {0: first, 5: second}
    plane.write_vips([second])
    assert plane.read_vips() == {5: second}
    plane.write_vips([])
    assert plane.read_vips() == {}


def test_takes_as_many_vips_as_its_capacity(plane: DataPlane) -> None:
    entries = many_vips(CAPACITY.vips)
    plane.write_vips(entries)
    assert plane.read_vips() == {entry.id: entry for entry in entries}


def test_refuses_vips_over_its_capacity_and_keeps_what_it_had(plane: DataPlane) -> None:
    plane.write_vips([vip(0, KEY)])
    with pytest.raises(CapacityError) as refused:
        plane.write_vips(many_vips(CAPACITY.vips + 1))
    assert "--max-vips" in refused.value.hint
    with pytest.raises(CapacityError):
        plane.write_vips([vip(CAPACITY.vips, UDP)])
    assert plane.read_vips() == {0: vip(0, KEY)}


def test_a_vip_twice_is_a_mistake_of_the_caller(plane: DataPlane) -> None:
    with pytest.raises(ValueError, match="twice"):
        plane.write_vips([vip(0, KEY), vip(1, KEY)])
    with pytest.raises(ValueError, match="twice"):
        plane.write_vips([vip(0, KEY), vip(0, UDP)])


EVERY_KIND = [
    vip(0, KEY),
    vip(1, UDP, track_always=True, hash=HashKind.SOURCE, idle_seconds=65535),
    vip(2, VipKey.parse("203.0.113.11:53/tcp+udp")),
    vip(3, V6, scheduler=Scheduler.LC, track_always=True, candidates=128),
    vip(4, V6_UDP, quic=QuicIds(8, 6), has_access_list=True),
    vip(5, VipKey.parse("[2001:db8::11]:53/tcp+udp"), limits=RateLimits(1, 30_001, 999_999_999, 1_000_000_000)),
    vip(6, VipKey.parse("203.0.113.0/24:0/tcp+udp")),
    vip(7, VipKey.parse("[2001:db8::/32]:1000-2000/udp"), limits=RateLimits(source_packets=7)),
]


def test_vips_of_every_kind_read_back_as_written(kit: Kit) -> None:
    kit.plane.write_vips(EVERY_KIND)
    assert kit.plane.read_vips() == {entry.id: entry for entry in EVERY_KIND}
    assert kit.again().read_vips() == {entry.id: entry for entry in EVERY_KIND}
    assert kit.looked_at().read_vips() == {entry.id: entry for entry in EVERY_KIND}
    kit.plane.write_vips(EVERY_KIND[::2])
    assert kit.again().read_vips() == {entry.id: entry for entry in EVERY_KIND[::2]}
    kit.plane.write_vips([])
    assert kit.again().read_vips() == {}


@pytest.mark.parametrize("scheduler", Scheduler)
@pytest.mark.parametrize("key", [KEY, VipKey.parse("[2001:db8::/64]:80/tcp")], ids=["exact", "wildcard"])
def test_a_scheduler_reads_back_by_its_name(kit: Kit, scheduler: Scheduler, key: VipKey) -> None:
    kit.plane.write_vips([vip(1, key, scheduler=scheduler)])
    assert kit.again().read_vips()[1].scheduler is scheduler


def test_vips_around_and_beside_one_another_read_back(kit: Kit) -> None:
    texts = [
        "203.0.113.10:443/tcp+udp",
        "203.0.113.10:443/tcp",
        "203.0.113.10:443/udp",
        "203.0.113.10:0/tcp",
        "203.0.113.0/24:443/tcp+udp",
        "203.0.0.0/16:400-500/tcp",
        "203.0.0.0/16:0/udp",
        "203.0.113.10:443-444/tcp+udp",
    ]
    entries = {number: vip(number, VipKey.parse(text)) for number, text in enumerate(texts)}
    kit.plane.write_vips(list(entries.values()))
    assert kit.again().read_vips() == kit.looked_at().read_vips() == entries
    del entries[4]
    kit.plane.write_vips(list(entries.values()))
    assert kit.again().read_vips() == entries


def test_more_vips_around_one_another_than_fit_are_refused(wide: DataPlane) -> None:
    entries = [vip(number, VipKey.parse(f"203.0.0.0/16:{100 + number}/tcp")) for number in range(33)]
    wide.write_vips(entries[:32])
    with pytest.raises(CapacityError, match="33, the limit is 32"):
        wide.write_vips(entries)
    assert len(wide.read_vips()) == 32


def test_more_candidates_than_fit_are_refused(plane: DataPlane) -> None:
    with pytest.raises(CapacityError, match="129, the limit is 128"):
        plane.write_vips([vip(1, KEY, scheduler=Scheduler.LC, candidates=129)])


@pytest.mark.parametrize("entry", EVERY_KIND[3:], ids=lambda entry: str(entry.key))
def test_what_was_not_required_is_a_mistake_of_the_caller(plain: DataPlane, entry: VipEntry) -> None:
    with pytest.raises(ValueError, match="require it first"):
        plain.write_vips([entry])
    assert plain.read_vips() == {}


def test_access_lists_where_they_were_not_required(plain: DataPlane) -> None:
    plain.write_access({})
    with pytest.raises(ValueError, match="require it first"):
        plain.write_access({1: AccessList(deny=(ip_network("198.51.100.0/24"),))})


def test_each_vip_has_its_own_access_list(kit: Kit) -> None:
    deny, deny6 = (AccessList(deny=(ip_network(prefix),)) for prefix in ("198.51.100.0/24", "2001:db8:f::/48"))
    allow, allow6 = (AccessList(allow=(ip_network(prefix),)) for prefix in ("198.51.100.7", "2001:db8:f::7"))
    kit.plane.write_access({1: deny, 2: deny6, 6: allow, 7: allow6})
    inside, outside = ("198.51.100.7", "2001:db8:f::7"), ("203.0.113.1", "::1")
    for at, (denying, allowing) in enumerate(((1, 6), (2, 7))):
        assert kit.is_denied(denying, inside[at])
        assert not kit.is_denied(denying, outside[at])
        assert not kit.is_denied(allowing, inside[at])
        assert kit.is_denied(allowing, outside[at])
    kit.plane.write_access({6: deny})
    assert kit.is_denied(6, "198.51.100.7")


def test_more_access_lists_than_fit_are_refused(wide: DataPlane) -> None:
    lists = {number: AccessList(deny=(ip_network("198.51.100.0/24"),)) for number in range(257)}
    wide.write_access({number: lists[number] for number in range(256)})
    with pytest.raises(CapacityError, match="too many access lists: 257, the limit is 256"):
        wide.write_access(lists)


def test_a_vip_keeps_its_list_when_another_daemon_takes_over(kit: Kit) -> None:
    lists = {number: AccessList(deny=(ip_network(f"198.51.100.{number}"),)) for number in range(4)}
    kit.plane.write_access(lists)
    kit.plane.write_vips([vip(number, KEY if number == 2 else UDP, has_access_list=True) for number in (2, 3)])
    again = kit.again()
    again.write_access({0: lists[0], 3: lists[3], 2: lists[2], 7: lists[1]})
    for vip_id, last in ((0, 0), (2, 2), (3, 3), (7, 1)):
        assert [kit.is_denied(vip_id, f"198.51.100.{number}") for number in range(4)] == [n == last for n in range(4)]


ACCESS = [
    (KEY, [], ["198.51.100.0/24", "203.0.113.7"]),
    (KEY, ["198.51.100.0/24"], ["198.51.100.128/25"]),
    (KEY, ["0.0.0.0/1", "255.255.255.255"], []),
    (KEY, [], ["0.0.0.0/0"]),
    (KEY, [], ["0.0.0.0/8"]),
    (V6, [], ["2001:db8:f::/48", "2001:db8:f::1:7"]),
    (V6, ["2001:db8:f::/48", "ffff::/16"], ["2001:db8:f:8::/64"]),
    (V6, [], ["::/0"]),
]


@pytest.mark.parametrize(("key", "allow", "deny"), ACCESS)
def test_access_lists_read_back_accept_the_same_sources(
    kit: Kit, key: VipKey, allow: list[str], deny: list[str]
) -> None:
    written = AccessList.parse(allow, deny, key.address.version)
    other = AccessList.parse([], ["192.0.2.0/24"], 4)
    kit.plane.write_access({5: other, 2: written})
    kit.plane.write_vips([vip(2, key, has_access_list=True), vip(5, UDP, has_access_list=True)])
    read = dict(kit.looked_at().read_access())
    assert read == kit.again().read_access()
    assert read.keys() == {2, 5}
    assert read[5] == other
    edges = [f(prefix) for prefix in (*written.allow, *written.deny) for f in (lambda p: p[0], lambda p: p[-1])]
    for address in [a for edge in edges for a in (edge - 1 if int(edge) else edge, edge)]:
        before, after = (build(address)({0: found}) for found in (written, read[2]))
        assert is_denied(before, address, 0) == is_denied(after, address, 0), address
