# SPDX-License-Identifier: Apache-2.0
"""keepalived.conf as a config file: what has a counterpart is there, and every other line is told."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from xdplb.convert.convert import Source, convert
from xdplb.convert.notes import ConvertError, Note

EVERYTHING = """\
! comments begin with ! and #
global_defs {
    router_id lb1                       # told
    lvs_timeouts tcp 1200 tcpfin 30 udp 60  # tcp and udp are taken, tcpfin is told
    lvs_sync_daemon eth0 VI_1           # told
}
vrrp_instance VI_1 {                    # told, with its block
    interface eth0
    authentication {
        auth_type PASS
        auth_pass s3cret
    }
    virtual_ipaddress {
        203.0.113.10/24
    }
}
virtual_server 203.0.113.10 443 {
    delay_loop 5
    lvs_sched sh
    sh-fallback
    lvs_method DR
    persistence_timeout 300             # told
    persistence_granularity 255.255.255.0  # told
    protocol TCP
    alpha
    omega                               # told
    quorum 2                            # told
    hysteresis 1                        # told
    quorum_down "/bin/down now"         # told
    virtualhost www.example.net
    snmp_name shop
    inhibit_on_failure
    sorry_server 10.0.0.99 443
    made_up 7                           # told
    real_server 10.0.0.11 443 {
        weight 3
        uthreshold 100                  # told
        notify_up /bin/up               # told
        HTTP_GET {
            url {
                path /healthz
                digest 9b3a0c85a887a256d6939da88aabd8cd  # told
                status_code 200 204
            }
            url {
                path /other
            }
            connect_port 8080
            connect_timeout 2.5
            retry 2
            delay_before_retry 5
            bindto 10.0.0.1             # told
        }
        PING_CHECK {
        }
    }
    real_server 10.0.0.12 443 {         # told: it has one of the checks
        weight 1
        lvs_method TUN type gue port 6080
        HTTP_GET {
            url {
                path /healthz
                status_code 200 204
            }
            connect_port 8080
            connect_timeout 2.5
            retry 2
            delay_before_retry 5
        }
    }
}
"""


def made(tmp_path: Path, text: str, *, config_id: str = "main") -> tuple[list[Any], list[Note]]:
    """Return the VIPs of a keepalived.conf and what is told of it."""
    file = tmp_path / "keepalived.conf"
    file.write_text(text)
    written, notes = convert(Source.KEEPALIVED, str(file), config_id)
    for note in notes:
        assert f"# {note.comment()}\n" in written, "what is told is in the file too"
    return tomllib.loads(written).get("vips", []), notes


def lines(notes: list[Note]) -> set[int]:
    return {note.where.line for note in notes}


def service(inner: str, *, head: str = "203.0.113.10 80", real: str = "") -> str:
    """Return a virtual_server with a real server in it."""
    return f"""virtual_server {head} {{
    lb_kind DR
    {inner}
    real_server 10.0.0.11 80 {{
        {real}
    }}
}}
"""


def test_what_has_a_counterpart_is_there(tmp_path: Path) -> None:
    (vip,), _ = made(tmp_path, EVERYTHING)
    times = {"interval_seconds": 5.0, "rise": 1}
    asked = {"type": "http", "port": 8080, "host": "www.example.net", **times, "timeout_seconds": 2.5, "fall": 3}
    assert vip == {
        "address": "203.0.113.10",
        "port": 443,
        "protocol": "tcp",
        "name": "shop",
        "forward": "dr",
        "scheduler": "sh",
        "on_unhealthy": "keep",
        "all_unhealthy": "fail-closed",
        "min_serving": 2,
        "idle_timeout_seconds": 1200,
        "checks": [
            {**asked, "path": "/healthz", "expect_status": [200, 204]},
            {**asked, "path": "/other", "expect_status": ["200-299"]},
            {"type": "icmp", **times, "timeout_seconds": 5.0, "fall": 2, "fast_interval_seconds": 1.0},
        ],
        "backends": [
            {"address": "10.0.0.11", "weight": 3},
            {"address": "10.0.0.12", "weight": 1, "forward": "gue"},
            {"address": "10.0.0.99", "weight": 1, "role": "backup", "checked": False},
        ],
    }


def test_every_other_line_is_told_once_and_no_secret_is(tmp_path: Path) -> None:
    _, notes = made(tmp_path, EVERYTHING)
    wanted = {number for number, line in enumerate(EVERYTHING.splitlines(), 1) if "told" in line}
    assert lines(notes) == wanted
    assert len(notes) == len(wanted)
    assert "s3cret" not in "".join(map(str, notes))


@pytest.mark.parametrize(
    ("inner", "fields", "told"),
    [
        ("lb_algo rr", {"scheduler": "rr"}, 0),
        ("lb_algo wlc", {"scheduler": "wlc"}, 0),
        ("lvs_sched sed", {"scheduler": "wlc"}, 0),
        ("lvs_sched twos", {"scheduler": "p2c"}, 0),
        ("", {"scheduler": "wlc"}, 0),
        ("lb_algo mh", {"scheduler": "maglev", "hash": "source"}, 0),
        ("lb_algo mh\nmh-port", {"scheduler": "maglev", "hash": "5-tuple"}, 0),
        ("lb_algo mh\nflag-2\nflag-1", {"scheduler": "maglev", "hash": "5-tuple"}, 0),
        ("lb_algo sh\nsh-port", {"scheduler": "maglev", "hash": "5-tuple"}, 0),
        ("lb_algo nq", {"scheduler": "wlc"}, 1),
        ("lb_algo dh", {"scheduler": "maglev"}, 1),
        ("lb_algo moon", {"scheduler": "maglev"}, 1),
        ("lb_algo rr\npersistence_timeout", {"scheduler": "sh"}, 1),
        ("protocol UDP", {"protocol": "udp"}, 0),
        ("inhibit_on_failure no", {}, 0),
        ("snmp_name Shop 1", {}, 1),
        ("weight 7", {}, 0),
    ],
)
def test_a_line_of_a_service(tmp_path: Path, inner: str, fields: dict[str, object], told: int) -> None:
    (vip,), notes = made(tmp_path, service(inner))
    assert vip.items() >= fields.items()
    assert len(notes) == told, list(map(str, notes))


@pytest.mark.parametrize(
    ("method", "forward", "told"),
    [
        ("lb_kind DR", "dr", None),
        ("lb_kind TUN", "ipip", None),
        ("lvs_method TUN type ipip nocsum", "ipip", None),
        ("lvs_method TUN type gue port 6080", "gue", None),
        ("lvs_method TUN type gue port 5555", "gue", "listen there"),
        ("lvs_method TUN type gre", "ipip", "no gre tunnels"),
        ("lvs_method TUN type ipip csum", "ipip", "no checksums"),
        ("lb_kind NAT", "nat", None),
        ("lvs_method NAT", "nat", None),
        ("", "nat", None),
    ],
)
def test_how_packets_reach_backends(tmp_path: Path, method: str, forward: str, told: str | None) -> None:
    (vip,), notes = made(tmp_path, service("").replace("lb_kind DR", method))
    assert vip["forward"] == forward
    assert [told] == [told for note in notes if told in str(note)] if told else notes == []


NAT = """
virtual_server 203.0.113.10 80 {
    lb_kind NAT
    sorry_server 10.0.0.9 8089
    real_server 10.0.0.1 8080 {
        TCP_CHECK {
        }
    }
    real_server 10.0.0.2 8081 {
        TCP_CHECK {
        }
    }
    real_server 10.0.0.3 8080 {
        lvs_method DR
        TCP_CHECK {
            connect_port 9000
        }
    }
}
"""


def test_nat_keeps_the_ports_and_checks_them(tmp_path: Path) -> None:
    (vip,), notes = made(tmp_path, NAT)
    assert [(each.get("forward"), each.get("port"), each.get("check_port")) for each in vip["backends"]] == [
        (None, 8080, None),
        (None, 8081, None),
        ("dr", None, 9000),
        (None, 8089, None),
    ]
    assert "port" not in vip["health_check"]
    (note,) = notes
    assert "it must serve port 80 itself" in str(note)


def test_a_prefix_cannot_be_nat_and_says_so(tmp_path: Path) -> None:
    (vip,), notes = made(
        tmp_path,
        NAT.replace("203.0.113.10 80", "203.0.113.8/29 80").replace("203.0.113.8/29", "group g")
        + "virtual_server_group g {\n 203.0.113.8/29 80\n}\n",
    )
    assert vip["forward"] == "dr"
    assert sum("it cannot be nat: 203.0.113.8/29:80/tcp has many addresses" in str(note) for note in notes) == 3


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        ("203.0.113.10 80", ["203.0.113.10"]),
        ("2001:db8::10 80", ["2001:db8::10"]),
        ("group web", ["203.0.113.1", "203.0.113.3", "203.0.113.4/30", "203.0.113.128/25"]),
    ],
)
def test_a_service_may_be_several_vips(tmp_path: Path, head: str, keys: list[str]) -> None:
    group = "virtual_server_group web {\n 203.0.113.1 80\n 203.0.113.3-7 80\n 203.0.113.128/25 80\n}\n"
    vips, notes = made(tmp_path, (group if "group" in head else "") + service("protocol TCP", head=head))
    assert [vip["address"] for vip in vips] == keys
    assert [note for note in notes if ":" not in head] == []


def test_ipv6_ranges_are_in_hex_and_others_may_be_whole_addresses(tmp_path: Path) -> None:
    group = "virtual_server_group web {\n 2001:db8::8-b 80\n 2001:db8::20-2001:db8::21 80\n}\n"
    vips, _ = made(tmp_path, group + service("", head="group web").replace("10.0.0.11", "2001:db8:1::1"))
    assert [vip["address"] for vip in vips] == ["2001:db8::8/126", "2001:db8::20/127"]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("fwmark 1", "write one for what the mark stands for"),
        ("group none", "no such virtual_server_group"),
        ("203.0.113.10 http", "its port is none"),
        ("www.example.net 80", "is not an IP address"),
        ("224.0.0.1 80", "224.0.0.1"),
        ("203.0.113.9-3 80", "neither an address nor a range"),
    ],
)
def test_what_is_no_vip_is_told_with_its_backends(tmp_path: Path, head: str, why: str) -> None:
    vips, notes = made(tmp_path, service("", head=head))
    assert vips == []
    assert why in str(notes[0])
    assert "its backends are left out too: 10.0.0.11" in str(notes[-1])


def test_sctp_is_left_out(tmp_path: Path) -> None:
    vips, (note,) = made(tmp_path, service("protocol SCTP"))
    assert vips == []
    assert "TCP and UDP" in str(note)


def test_the_second_of_two_equal_vips_or_backends_is_left_out(tmp_path: Path) -> None:
    twice = service("real_server 10.0.0.11 8080 {\n}")
    vips, notes = made(tmp_path, twice + service(""))
    assert [len(vip["backends"]) for vip in vips] == [1]
    told = "\n".join(map(str, notes))
    assert "has the same address, and so is the same backend" in told
    assert "keepalived.conf:1 has the same VIP" in told


SSL_GET = """SSL_GET {
 enable_sni
 virtualhost a.example
 url {
 path /a
 status_code 200-204 404
 regex up|ok
 }
}"""
PLAIN = {"interval_seconds": 1, "timeout_seconds": 5, "rise": 1}
NINE = {"timeout_seconds": 9}


@pytest.mark.parametrize(
    ("checker", "check"),
    [
        ("TCP_CHECK {\n}", {"type": "tcp", "fall": 2}),
        ("TCP_CHECK {\n connect_port 81\n}", {"type": "tcp", "port": 81, "fall": 2}),
        (
            "HTTP_GET {\n url {\n path /a\n }\n}",
            {"type": "http", "path": "/a", "expect_status": ["200-299"], "fall": 2},
        ),
        (
            SSL_GET,
            {
                "type": "https", "path": "/a", "expect_status": ["200-204", 404], "fall": 2, "host": "a.example",
                "sni": "a.example", "expect_body_regex": "up|ok",
            },
        ),
        ("SMTP_CHECK {\n}", {"type": "tcp", "expect": "220", "fall": 2}),
        (
            "DNS_CHECK {\n type A\n name a.example\n}",
            {"type": "dns", "port": 80, "query_type": "A", "query_name": "a.example", "fall": 4},
        ),
        (
            'MISC_CHECK {\n misc_path "/bin/x -h \'a b\' 10.0.0.11"\n misc_timeout 9\n user me\n misc_dynamic\n}',
            {"type": "exec", "command": ["/bin/x", "-h", "a b", "{address}"], "user": "me", **NINE, "fall": 1},
        ),
        ("PING_CHECK {\n}", {"type": "icmp", "fall": 2}),
        (
            "UDP_CHECK {\n payload 50 ff0A\n require_reply\n}",
            {"type": "udp", "port": 80, "send": "P\xff\n", "expect": "", "fall": 2},
        ),
        ("BFD_CHECK {\n name x\n}", {"type": "tcp", "fall": 2}),
        ("FILE_CHECK {\n track_file x\n}", {"type": "tcp", "fall": 2}),
    ],
)  # fmt: skip
def test_each_checker_has_the_check_that_comes_nearest(tmp_path: Path, checker: str, check: dict[str, object]) -> None:
    (vip,), notes = made(tmp_path, service("delay_loop 1", real=checker))
    assert vip["health_check"] == {**PLAIN, **check}
    name = checker.split(maxsplit=1)[0]
    assert any(name in note.said for note in notes) is (name in {"SMTP_CHECK", "BFD_CHECK", "FILE_CHECK"})


def test_what_a_check_by_a_program_does_otherwise_is_told(tmp_path: Path) -> None:
    _, notes = made(tmp_path, service("", real="MISC_CHECK {\n misc_path /bin/x\n}"))
    told = "\n".join(map(str, notes))
    assert "is run by nobody" in told
    assert "exit status 2 to 255 is a weight here" in told
    (vip,), (note,) = made(tmp_path, service("", real="MISC_CHECK {\n misc_path x\n}"))
    assert "health_check" not in vip
    assert "does not begin with an absolute path" in str(note)


@pytest.mark.parametrize(("checker", "kind"), [("PING_CHECK", "icmp"), ("BFD_CHECK", ""), ("DNS_CHECK", "dns")])
def test_a_udp_service_has_the_checks_that_need_no_tcp(tmp_path: Path, checker: str, kind: str) -> None:
    text = service("protocol UDP", head="203.0.113.10 53", real=f"{checker} {{\n}}").replace("11 80", "11 53")
    (vip,), notes = made(tmp_path, text)
    assert vip.get("health_check", {}).get("type", "") == kind
    assert ("there is no BFD check" in "\n".join(map(str, notes))) is (not kind)


def test_all_checkers_of_a_real_server_and_all_their_urls_become_checks(tmp_path: Path) -> None:
    real = "PING_CHECK {\n}\nHTTP_GET {\n url {\n path /a\n}\n url {\n path /b\n}\n}"
    (vip,), notes = made(tmp_path, service("", real=real))
    assert [(check["type"], check.get("path")) for check in vip["checks"]] == [
        ("icmp", None), ("http", "/a"), ("http", "/b"),
    ]  # fmt: skip
    assert notes == []


def test_a_backend_has_its_own_port_and_path_or_no_check_and_what_differs_more_is_told(tmp_path: Path) -> None:
    others = (
        "real_server 10.0.0.12 80 {\n HTTP_GET {\n connect_port 82\n url {\n path /mine\n}\n}\n}\n"
        "real_server 10.0.0.13 80 {\n}\nreal_server 10.0.0.14 80 {\n TCP_CHECK {\n}\n}"
    )
    (vip,), (note,) = made(tmp_path, service(others, real="HTTP_GET {\n url {\n path /\n}\n}"))
    backends = {backend["address"]: backend for backend in vip["backends"]}
    assert (vip["health_check"]["port"], vip["health_check"]["path"]) == (82, "/mine")
    assert backends["10.0.0.11"].items() >= {"check_port": 80, "check_path": "/"}.items()
    assert backends["10.0.0.13"]["checked"] is False
    assert "checked" not in backends["10.0.0.11"]
    assert "10.0.0.14 80: its checks are other ones there" in str(note)


def test_times_are_kept(tmp_path: Path) -> None:
    checker = "TCP_CHECK {\n connect_timeout 2\n retry 3\n delay_before_retry 1\n}"
    (vip,), notes = made(tmp_path, service("delay_loop 10", real=checker))
    check = vip["health_check"]
    assert (check["interval_seconds"], check["timeout_seconds"], check["fall"], check["rise"]) == (10, 2, 4, 1)
    assert check["fast_interval_seconds"] == 1, "a failed check is repeated after that, as there"
    assert notes == []


def test_times_out_of_range_are_told(tmp_path: Path) -> None:
    (vip,), notes = made(tmp_path, service("delay_loop 7200\nretry 0\nconnect_timeout soon", real="TCP_CHECK {\n}"))
    assert vip["health_check"]["interval_seconds"] == 2
    assert {note.said for note in notes} == {"interval_seconds 7200", "connect_timeout soon"}


def test_a_port_of_a_real_server_is_told_and_the_vips_is_checked(tmp_path: Path) -> None:
    (vip,), (note,) = made(tmp_path, service("retry 0", real="TCP_CHECK {\n}").replace("11 80", "11 8080"))
    assert "it must serve port 80 itself" in str(note)
    assert "port" not in vip["health_check"]


def test_a_backend_with_the_address_of_a_vip_is_left_out(tmp_path: Path) -> None:
    vips, (note,) = made(
        tmp_path, service("") + service("", head="10.0.0.11 80").replace("10.0.0.11 80 {\n        ", "10.0.0.12 80 {\n")
    )
    assert [len(vip.get("backends", [])) for vip in vips] == [0, 1]
    assert "it is an address of the VIP 10.0.0.11:80/tcp" in str(note)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    group = "virtual_server_group g {\n 203.0.113.1 80\n 203.0.113.2 80\n}\n"
    vips, notes = made(tmp_path, group + service("snmp_name web", head="group g") + service("snmp_name web"))
    assert [vip.get("name") for vip in vips] == ["web", None, None]
    assert len(notes) == 2


def test_a_backend_of_the_other_family_needs_a_tunnel(tmp_path: Path) -> None:
    text = service("").replace("10.0.0.11", "2001:db8::1")
    (vip,), (note,) = made(tmp_path, text)
    assert "backends" not in vip or vip["backends"] == []
    assert "family" in str(note)
    (vip,), notes = made(tmp_path, text.replace("lb_kind DR", "lb_kind TUN"))
    assert (len(vip["backends"]), notes) == (1, [])


def test_conditions_go_by_the_config_id(tmp_path: Path) -> None:
    text = service("@main lb_algo rr\n@^main lb_algo lc\n@backup lb_algo wrr")
    (vip,), notes = made(tmp_path, text)
    assert vip["scheduler"] == "rr"
    assert [note.where.line for note in notes] == [4, 5]
    assert "config id main" in str(notes[0])
    (vip,), _ = made(tmp_path, text, config_id="backup")
    assert vip["scheduler"] == "wrr"


def test_parameters_are_replaced(tmp_path: Path) -> None:
    text = """$NET=10.0.${N}
$ALGO=wrr
$RS= \\
real_server ${NET}.${M} 80 { \\
    weight ${M} \\
}
virtual_server 203.0.113.10 80 {
    lb_kind DR
    lb_algo $ALGO
    $N=1
    $M=11
    $RS
    ~SEQ(M, 12, 13) $RS
    ~LST({N, M}, {2, 5}, {3, 6}) $RS
    @other $RS
}
"""
    (vip,), (note,) = made(tmp_path, text)
    assert vip["scheduler"] == "wrr"
    assert {backend["address"]: backend["weight"] for backend in vip["backends"]} == {
        "10.0.1.11": 11, "10.0.1.12": 12, "10.0.1.13": 13, "10.0.2.5": 5, "10.0.3.6": 6,
    }  # fmt: skip
    assert note.where.line == 15


def test_files_are_included_from_their_folders(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "b.conf").write_text(service("made_up 1", head="203.0.113.2 80"))
    (folder / "a.conf").write_text("include more/*.inc\ninclude more/none\n")
    (folder / "more").mkdir()
    (folder / "more/x.inc").write_text(service("", head="203.0.113.1 80"))
    vips, notes = made(tmp_path, "include conf.d/*.conf\nincludea conf.d/{none,nothing}\n")
    assert [vip["address"] for vip in vips] == ["203.0.113.1", "203.0.113.2"]
    told = [str(note).removeprefix(f"{tmp_path}/") for note in notes]
    assert [line.partition(": ")[0] for line in told] == ["keepalived.conf:2", "conf.d/a.conf:2", "conf.d/b.conf:3"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("virtual_server 203.0.113.10 80 {\n", "not closed"),
        ("}\n", "closes no block"),
        ("{\n}\n", "opens no block"),
        ('a "b\n', "has no end"),
        ("$A=${A}${A}\n$A\n", "make too much of it"),
        ("~SEQ(N, 1, 999999999) a\n", "too many steps"),
        ("~SEQ(N) a\n", "one to three numbers"),
        ("~LST({A,B}, 1) a\n", "as many parts"),
        ("include keepalived.conf\n", "more than 16 deep"),
        ("a {\n" * 40, "opens no block"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConvertError, match=why) as told:
        made(tmp_path, text)
    assert f"{tmp_path}/keepalived.conf:" in told.value.detail


def test_words_may_be_quoted_and_have_escapes(tmp_path: Path) -> None:
    text = service('quorum_up "/bin/a  b#c" \'d e\'\nquorum_down /bin/x\\ y\\"z # comment')
    _, notes = made(tmp_path, text)
    assert [note.said for note in notes] == ["quorum_up /bin/a  b#c d e", 'quorum_down /bin/x y"z']


def test_a_line_cannot_forge_another_in_what_is_written(tmp_path: Path) -> None:
    vips, notes = made(tmp_path, service('made_up "\\n[[vips]]\\n\\x1b[31m"'))
    assert len(vips) == 1
    assert all(str(note).isprintable() for note in notes)


def test_bytes_that_are_no_utf_8_are_no_error(tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_bytes(b"# von J\xfcrgen\n" + service("").encode())
    written, notes = convert(Source.KEEPALIVED, str(file), "main")
    assert "[[vips]]" in written
    assert notes == []


def test_a_sorry_server_is_a_backup_that_is_used_below_the_quorum(tmp_path: Path) -> None:
    inner = "quorum 1\nsorry_server 10.0.0.99 8080\nsorry_server_lvs_method TUN\nsorry_server_inhibit"
    (vip,), notes = made(tmp_path, service(inner))
    assert vip["min_serving"] == 1
    assert vip["backends"][1:] == [
        {"address": "10.0.0.99", "weight": 1, "forward": "ipip", "role": "backup", "checked": False}
    ]
    told = [note.comment() for note in notes]
    assert any("sorry_server 10.0.0.99 8080" in line and "no port of its own" in line for line in told), told
    assert not any("quorum 1" in line for line in told)
    (vip,), notes = made(tmp_path, service("quorum 0"))
    assert "min_serving" not in vip
    assert any("quorum 0" in note.comment() for note in notes)
