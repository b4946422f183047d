# SPDX-License-Identifier: Apache-2.0
"""The output of `ipvsadm -S -n` as a config file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from xdplb.convert.convert import Source, convert
from xdplb.convert.notes import ConvertError, Note

SAVED = """\
-A -t 203.0.113.10:443 -s wrr
-a -t 203.0.113.10:443 -r 10.0.0.11:443 -g -w 3
-a -t 203.0.113.10:443 -r 10.0.0.12:443 -g -w 0 -x 0 -y 0
-A -u [2001:db8::10]:53 -s mh -b mh-fallback,mh-port
-a -u [2001:db8::10]:53 -r [2001:db8:1::1]:53 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-a -u [2001:db8::10]:53 -r 10.0.0.1:53 -i -w 1 --tun-type ipip
-a -u [2001:db8::10]:53 -r 10.0.0.2:53 -i -w 1 --tun-type ipip
"""


def masqueraded(service: str, real: str) -> str:
    """Return a service of TCP with one real server by NAT."""
    return f"-A -t {service}\n-a -t {service} -r {real} -m\n"


def made(tmp_path: Path, text: str) -> tuple[list[Any], list[Note]]:
    file = tmp_path / "saved"
    file.write_text(text)
    written, notes = convert(Source.IPVSADM, str(file), "main")
    for note in notes:
        assert f"# {note.comment()}\n" in written
    return tomllib.loads(written).get("vips", []), notes


def test_services_and_their_real_servers_are_there_without_a_word(tmp_path: Path) -> None:
    vips, notes = made(tmp_path, SAVED)
    assert notes == []
    assert vips == [
        {
            "address": "203.0.113.10", "port": 443, "protocol": "tcp", "forward": "dr", "scheduler": "wrr",
            "backends": [{"address": "10.0.0.11", "weight": 3}, {"address": "10.0.0.12", "weight": 0}],
        },
        {
            "address": "2001:db8::10", "port": 53, "protocol": "udp", "forward": "ipip", "scheduler": "maglev",
            "hash": "5-tuple",
            "backends": [
                {"address": "2001:db8:1::1", "weight": 1, "forward": "gue"},
                {"address": "10.0.0.1", "weight": 1},
                {"address": "10.0.0.2", "weight": 1},
            ],
        },
    ]  # fmt: skip


def test_long_options_and_the_name_of_the_program_are_read_too(tmp_path: Path) -> None:
    text = """# saved by hand
ipvsadm --add-service --tcp-service=203.0.113.10:80 --scheduler lc

ipvsadm --add-server --tcp-service 203.0.113.10:80 --real-server 10.0.0.11 --ipip --weight=2
"""
    (vip,), notes = made(tmp_path, text)
    assert (vip["scheduler"], vip["forward"], vip["backends"]) == (
        "lc",
        "ipip",
        [{"address": "10.0.0.11", "weight": 2}],
    )
    assert notes == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-A -f 1 -s rr", "what the mark stands for"),
        ("-A --sctp-service 203.0.113.10:80", "TCP and UDP"),
        ("-A -t 203.0.113.10:80 -p 300", "scheduler sh"),
        ("-A -t 203.0.113.10:80 -p -M 255.255.255.0", "whole addresses"),
        ("-A -t 203.0.113.10:80 -o", "datagrams"),
        ("-A -t 203.0.113.10:80 --pe sip", "persistence engines"),
        ("-A -t 203.0.113.10:80 -s fo", "maglev"),
        ("-A -t 203.0.113.10:80 -b flag-3", "no such flag"),
        ("-A -t 203.0.113.10:80 --new-thing", "not known"),
        ("-A -t localhost:80", "is not an IP address"),
        ("-A -t 203.0.113.10:80\n-A -t 203.0.113.10:80 -s rr", "the same service"),
        ("--set 900 120 300", "only -A and -a"),
        ("--start-daemon master", "only -A and -a"),
        (masqueraded("203.0.113.1:0", "10.0.0.1:8080"), "keeps each of them"),
        (
            masqueraded("203.0.113.1:80", "10.0.0.1:80") + masqueraded("203.0.113.2:80", "10.0.0.1:80"),
            "it cannot be nat: it serves VIP 203.0.113.1:80/tcp with this port too",
        ),
        (
            masqueraded("203.0.113.1:0", "10.0.0.1:0") + masqueraded("203.0.113.2:80", "10.0.0.1:8080"),
            "it cannot be nat: it serves VIP 203.0.113.1:0/tcp with this port too",
        ),
        ("-A -t 203.0.113.1:80\n-a -t 203.0.113.1:80 -r 10.0.0.1:8080 -g", "must serve port 80"),
        ("-A -t 203.0.113.1:80\n-a -t 203.0.113.1:80 -r 10.0.0.1:80 -x 9", "no thresholds"),
        ("-A -t 203.0.113.1:80\n-a -t 203.0.113.1:80 -r 10.0.0.1:80 -i --tun-type gre", "no gre tunnels"),
        ("-A -t 203.0.113.1:80\n-a -t 203.0.113.1:80 -r 10.0.0.1:80 -w 70000", "weight 70000"),
        ("-A -f 1\n-a -f 1 -r 10.0.0.1:0", "its service is left out"),
    ],
)
def test_what_has_no_counterpart_is_told(tmp_path: Path, line: str, why: str) -> None:
    _, notes = made(tmp_path, line)
    assert why in "\n".join(map(str, notes))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("IP Virtual Server version 1.2.1 (size=4096)", "no command of ipvsadm"),
        ("-a -t 203.0.113.10:80 -r 10.0.0.1:80", "no line before it"),
        ("-A -t 203.0.113.10:80\n-a -t 203.0.113.10:80", "no real server"),
        ("-A -t 203.0.113.10:http", "is not a port"),
        ("-A -t", "has no value"),
        ("-A -t 203.0.113.10:80\n-a -t 203.0.113.10:80 -r 10.0.0.1:80 -w x", "is not a weight"),
        ("-A -t '203.0.113.10:80", "cannot be read"),
    ],
)
def test_what_is_not_the_output_of_ipvsadm_is_an_error_with_its_line(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(ConvertError, match=why) as told:
        made(tmp_path, line)
    assert f"{tmp_path}/saved:{line.count(chr(10)) + 1}: " in told.value.detail


def test_a_port_of_zero_is_all_ports(tmp_path: Path) -> None:
    (vip,), _ = made(tmp_path, "-A -t 203.0.113.10:0 -s sh\n-a -t 203.0.113.10:0 -r 10.0.0.1:0 -g\n")
    assert vip["port"] == 0


def test_many_backends_are_not_compared_all(tmp_path: Path) -> None:
    reals = "".join(f"-a -t 203.0.113.10:80 -r 10.0.0.{n}:80 -g\n" for n in range(1, 130))
    (vip,), (note,) = made(tmp_path, f"-A -t 203.0.113.10:80 -s wlc\n{reals}")
    assert vip["scheduler"] == "p2c"
    assert "129 backends" in str(note)


def test_masquerading_is_nat_with_the_ports_of_the_real_servers(tmp_path: Path) -> None:
    """TCP and UDP on one port are two services; replies of the two are told apart."""
    text = "".join(
        f"-A {kind} 203.0.113.10:80\n-a {kind} 203.0.113.10:80 -r 10.0.0.1:8080 -m\n"
        f"-a {kind} 203.0.113.10:80 -r 10.0.0.2:80 -m\n"
        for kind in ("-t", "-u")
    )
    vips, notes = made(tmp_path, text)
    assert notes == []
    assert [vip["forward"] for vip in vips] == ["nat", "nat"]
    for vip in vips:
        assert [each.get("port") for each in vip["backends"]] == [8080, None]
        assert not any(each.get("forward") for each in vip["backends"])


def test_nat_beside_direct_routing_is_each_of_the_two(tmp_path: Path) -> None:
    service = "203.0.113.10:80"
    text = f"-A -t {service}\n-a -t {service} -r 10.0.0.1:8080 -m\n-a -t {service} -r 10.0.0.2:80 -g"
    (vip,), notes = made(tmp_path, text)
    assert notes == []
    assert [(each.get("forward"), each.get("port")) for each in vip["backends"]] == [(None, 8080), ("dr", None)]
