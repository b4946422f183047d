# SPDX-License-Identifier: Apache-2.0
"""What the doctor makes of what is announced, and of who reads it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xdplb.daemon.diagnosis.announcing import Reader, examine_announcing, examine_hashing, readers
from xdplb.daemon.diagnosis.finding import Finding, Level
from xdplb.net.route_facts import RouteFacts

NODE = {"name": "lb1", "state": "serving", "announce_table": 210, "announce_protocol": 244}
WELL = RouteFacts((), (), ())
FRR = Reader("FRR", 7, ("/usr/lib/frr/zebra", "--vty_socket", "/run/lab"))
GOOD_FRR = "ip import-table 210\nrouter bgp 65001\n address-family ipv4 unicast\n  redistribute table 210\n"


def vip(metric: int | None = 0, *, serving: int = 1, asks: bool = True) -> dict[str, Any]:
    announced = {"metric": metric, "reason": ""} if asks else None
    status = {"announced": announced, "backends_serving": serving}
    return {
        "name": "web",
        "address": "203.0.113.10",
        "port": 80,
        "protocol": "tcp",
        "announce": "always",
        "status": status,
    }


def examined(
    *vips: dict[str, Any],
    found: Sequence[Reader] = (),
    facts: RouteFacts = WELL,
    config: str = GOOD_FRR,
    **node: Any,
) -> list[Finding]:
    return list(
        examine_announcing({**NODE, **node}, vips, found=found, facts=lambda *_: facts, ask=lambda _words: config)
    )


def test_without_a_vip_that_asks_for_a_route_nothing_is_looked_at():
    assert examined(vip(asks=False)) == []


def test_a_table_that_nobody_reads_is_a_failure():
    (finding,) = examined(vip())
    assert finding.level is Level.FAIL
    assert "nobody reads table 210" in finding.detail


def test_a_node_that_is_out_of_service_is_told():
    (finding,) = examined(state="drained")
    assert (finding.level, finding.detail) == (Level.WARN, "lb1 is drained")


@pytest.mark.parametrize(
    ("config", "table", "fault"),
    [
        (GOOD_FRR, 210, ""),
        ("router bgp 65001\n  redistribute table-direct 210\n", 210, ""),
        ("ip import-table 210\n", 210, "has no router bgp"),
        (GOOD_FRR.replace("import-table 210", "import-table 211"), 210, "does not import table 210"),
        (GOOD_FRR.replace("redistribute table 210", "redistribute static"), 210, "redistributes it to nobody"),
        ("router bgp 65001\n  redistribute kernel\n", 254, ""),
        (GOOD_FRR, 254, "does not redistribute the kernel's routes"),
    ],
)
def test_what_frr_lacks_is_told_from_its_configuration(config: str, table: int, fault: str):
    (finding,) = examined(vip(), found=[FRR], config=config, announce_table=table)
    assert (finding.level is Level.FAIL) is bool(fault)
    assert fault in finding.detail


def test_an_frr_that_does_not_answer_is_not_blamed():
    def refuse(words: Sequence[str]) -> str:
        assert list(words)[:3] == ["vtysh", "--vty_socket", "/run/lab"]
        raise subprocess.TimeoutExpired(words, 5)

    (finding,) = examine_announcing(NODE, [vip()], found=[FRR], facts=lambda *_: WELL, ask=refuse)
    assert finding.level is Level.OK


def test_the_ready_configuration_of_bird_lacks_nothing() -> None:
    config = Path(__file__).parents[3] / "docs/examples/ha/bird-balancer.conf"
    bird = Reader("BIRD", os.getpid(), ("bird", "-c", str(config)))
    (finding,) = examined(vip(), found=[bird])
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("protocol kernel k { kernel table 210; learn; }", ""),
        ('include "more/*.conf";', ""),
        ("protocol kernel k { kernel table 211; learn; }", "has no protocol for table 210"),
        ("# kernel table 210; learn;", "has no protocol for table 210"),
        ("protocol kernel k { kernel table 210; }", "does not learn"),
    ],
)
def test_what_bird_lacks_is_told_from_its_file(tmp_path: Path, text: str, fault: str):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "vips.conf").write_text("protocol kernel k { kernel table 210; learn; }")
    config = tmp_path / "bird.conf"
    config.write_text(text)
    bird = Reader("BIRD", os.getpid(), ("bird", "-f", "-c", str(config)))
    (finding,) = examined(vip(), found=[bird])
    assert (finding.level is Level.FAIL) is bool(fault)
    assert fault in finding.detail


def test_one_daemon_of_several_that_reads_it_is_enough(tmp_path: Path):
    bird = Reader("BIRD", os.getpid(), ("bird", "-c", str(tmp_path / "bird.conf")))
    (tmp_path / "bird.conf").write_text("protocol device { }")
    (finding,) = examined(vip(), found=[bird, FRR])
    assert finding.level is Level.OK


def test_who_else_uses_table_or_protocol_is_told():
    facts = RouteFacts(("198.18.0.1/32",), ("198.18.0.2/32 in table 254",), ("priority 100",))
    told = [finding.detail for finding in examined(vip(), found=[FRR], facts=facts)[1:]]
    assert len(told) == 3
    assert "another program uses protocol 244, too: 198.18.0.2/32 in table 254" in told[0]
    assert "table 210 also has routes of others, such as 198.18.0.1/32" in told[1]
    assert "a rule looks into table 210" in told[2]


def test_a_vip_that_is_announced_and_that_nobody_serves_is_told():
    assert len(examined(vip(serving=0), found=[FRR])) == 2
    assert len(examined(vip(None, serving=0), found=[FRR])) == 1


def test_readers_are_those_of_this_namespace(tmp_path: Path):
    own, other = tmp_path / "own", tmp_path / "other"
    own.touch()
    other.touch()
    for pid, comm, namespace in ((1, "bird", own), (2, "zebra", other), (3, "bash", own), (4, "zebra", own)):
        (tmp_path / f"{pid}/ns").mkdir(parents=True)
        (tmp_path / f"{pid}/ns/net").symlink_to(namespace)
        (tmp_path / f"{pid}/comm").write_text(f"{comm}\n")
        (tmp_path / f"{pid}/cmdline").write_bytes(f"/usr/sbin/{comm}\0-c\0/etc/x.conf\0".encode())
    (tmp_path / "thread-self/ns").mkdir(parents=True)
    (tmp_path / "thread-self/ns/net").symlink_to(own)
    found = readers(tmp_path)
    assert [(reader.name, reader.pid, reader.option("-c")) for reader in found] == [
        ("BIRD", 1, "/etc/x.conf"),
        ("FRR", 4, "/etc/x.conf"),
    ]


def test_a_router_that_hashes_addresses_alone_is_told(tmp_path: Path):
    for name, policy in (("ipv4", "0"), ("ipv6", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fib_multipath_hash_policy").write_text(f"{policy}\n")
    (finding,) = examine_hashing(lambda _version: True, tmp_path)
    assert finding.fix.startswith("sysctl -w net.ipv4.fib_multipath_hash_policy=1")
    assert list(examine_hashing(lambda _version: False, tmp_path)) == []
    assert list(examine_hashing(lambda _version: True, tmp_path / "none")) == []
