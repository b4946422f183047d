# SPDX-License-Identifier: Apache-2.0
"""The commands, against a daemon."""

from __future__ import annotations

import json
import re
import time

import pytest

from .cli_harness import WEB, Daemon, shown


def generation(daemon: Daemon) -> int:
    return int(json.loads(daemon.get("/v1/status"))["generation"])


def rows(told: str) -> list[list[str]]:
    """Return the cells of a table."""
    return [re.split(r" {2,}", line.strip()) for line in told.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["vip", "ls"], "/v1/vips"),
        (["vip", "show", "web"], "/v1/vips/web"),
        (["backend", "ls", WEB], "/v1/vips/web/backends"),
        (["backend", "show", "web", "10.0.0.1"], "/v1/vips/web/backends/10.0.0.1"),
        (["health", "show", "web"], "/v1/vips/web/checks"),
        (["health", "ls", "web"], "/v1/vips/web/checks"),
        (["health", "ls"], "/v1/checks"),
        (["vip", "access", "show", "web"], "/v1/vips/web/access"),
        (["stats"], "/v1/stats"),
        (["stats", "web"], "/v1/vips/web/stats"),
        (["status"], "/v1/status"),
    ],
)
def test_json_is_the_body_of_the_api_unchanged(web: Daemon, words: list[str], path: str):
    web.ok("health", "set", "web", "--type", "tcp")
    assert web.run(*words, "-o", "json").stdout.encode() == web.get(path) + b"\n"


@pytest.mark.parametrize("spelling", [WEB, "203.0.113.10:443:tcp", "web"])
def test_a_vip_goes_by_every_spelling(web: Daemon, spelling: str):
    assert shown(web, "vip", "show", spelling)["vip"] == WEB


def test_a_vip_is_added_as_asked(daemon: Daemon):
    told = daemon.ok(
        "vip", "add", WEB, "--name", "web", "--forward", "ipip", "--tracking", "always", "--hash", "source",
        "--on-unhealthy", "keep", "--all-unhealthy", "fail-closed", "--idle-timeout", "2m",
    )  # fmt: skip
    assert (told.stdout, told.stderr) == ("", f"VIP {WEB} added\n")
    fields = shown(daemon, "vip", "show", "web")
    asked = ("forward", "tracking", "hash", "on-unhealthy", "all-unhealthy", "idle-timeout")
    assert [fields[name] for name in asked] == ["ipip", "always", "source", "keep", "fail-closed", "2m"]


def test_adding_what_is_there_is_no_error_and_no_change(web: Daemon):
    before = generation(web)
    assert web.ok("vip", "add", WEB, "--name", "web").stderr == f"VIP {WEB} already exists\n"
    assert web.ok("backend", "add", "web", "10.0.0.2").stderr == "backend 10.0.0.2 of web already exists\n"
    assert generation(web) == before


def test_adding_what_is_there_and_differs_is_a_conflict_that_says_in_what(web: Daemon):
    vip = web.run("vip", "add", WEB, "--forward", "ipip", "--name", "web")
    backend = web.run("backend", "add", "web", "10.0.0.2", "--weight", "7")
    assert (vip.returncode, backend.returncode) == (4, 4)
    assert "forward" in vip.stderr
    assert "weight" in backend.stderr


def test_a_check_comes_with_its_vip_in_one_command(daemon: Daemon):
    daemon.ok("vip", "add", WEB, "--check", "http", "--check-path", "/healthz", "--check-interval", "500ms")
    fields = shown(daemon, "health", "show", WEB)
    assert (fields["type"], fields["path"], fields["interval"]) == ("http", "/healthz", "500ms")


def test_the_options_of_a_check_need_its_type_and_nothing_is_added_without(daemon: Daemon):
    told = daemon.run("vip", "add", WEB, "--check-path", "/healthz")
    assert told.returncode == 2
    assert "need --check with its type: http, https" in told.stderr
    assert json.loads(daemon.get("/v1/vips")) == {"vips": []}


def test_nothing_is_added_with_a_check_that_cannot_be_right(daemon: Daemon):
    told = daemon.run("vip", "add", WEB, "--check", "http", "--check-path", "healthz")
    assert told.returncode == 2
    assert "a path starts with /" in told.stderr
    assert json.loads(daemon.get("/v1/vips")) == {"vips": []}


def test_a_vip_shows_its_check(web: Daemon):
    assert shown(web, "vip", "show", "web")["health-check"].startswith("none")
    web.ok("health", "set", "web", "--type", "tcp", "--port", "8080", "--interval", "5s")
    assert shown(web, "vip", "show", "web")["health-check"] == "tcp port 8080 every 5s"
    assert not {"path", "expect-status"} & set(shown(web, "health", "show", "web"))


def test_a_vip_says_which_of_its_backends_do_not_serve_and_why(web: Daemon):
    assert shown(web, "vip", "show", "web")["reasons"] == "-"
    web.ok("health", "set", "web", "--type", "tcp")
    for last in range(3, 7):
        web.ok("backend", "add", "web", f"10.0.0.{last}")
    waiting = "; ".join(f"10.0.0.{last}: its check has not passed yet" for last in (3, 4, 5))
    assert shown(web, "vip", "show", "web")["reasons"] == f"{waiting}; 1 more: see xdplb backend ls"


def test_a_check_is_set_whole_seen_and_removed(web: Daemon):
    set_check = ["health", "set", "web", "--type", "http", "--port", "8080", "--path", "/up"]
    set_check += [
        "--expect-status",
        "200",
        "--expect-status",
        "204",
        "--rise",
        "1",
        "--fall",
        "5",
        "--timeout",
        "2s",
        "--reset",
    ]
    assert web.ok(*set_check).stderr == "health check of web set\n"
    assert web.ok(*set_check).stderr == "health check of web is unchanged\n"
    fields = shown(web, "health", "show", "web")
    assert {name: fields[name] for name in ("port", "expect-status", "rise", "fall", "timeout", "reset")} == {
        "port": "8080",
        "expect-status": "200, 204",
        "rise": "1",
        "fall": "5",
        "timeout": "2s",
        "reset": "yes",
    }
    assert [row[1] for row in rows(web.ok("health", "ls", "web").stdout)[1:]] == ["10.0.0.1", "10.0.0.2"]
    assert web.ok("health", "rm", "web").stderr == "health checks of web removed\n"
    assert "nothing to remove" in web.ok("health", "rm", "web").stderr
    assert web.run("health", "show", "web").returncode == 1


def test_a_vip_has_several_checks(web: Daemon):
    web.ok("health", "set", "web", "--type", "http", "--path", "/up", "--port", "8080")
    words = ["--type", "tcp", "--name", "redis", "--send", "PING\\r\\n\\xff", "--expect", "+PONG"]
    assert web.ok("health", "add", "web", *words).stderr == "health check of web added\n"
    assert web.ok("health", "add", "web", "--type", "icmp", "--dry-run").stdout.startswith("would change: ")
    told = json.loads(web.get("/v1/vips/web/checks"))["checks"]
    assert [check["label"] for check in told] == ["http:8080", "redis"]
    assert told[1]["send"] == "PING\r\n\xff"
    assert shown(web, "vip", "show", "web")["health-check"] == "http /up port 8080 every 2s and tcp every 2s"
    listed = [row[:3] for row in rows(web.ok("health", "ls").stdout)[1:]]
    assert listed == [[WEB, check, f"10.0.0.{last}"] for check in ("http:8080", "redis") for last in (1, 2)]
    refused = web.run("health", "set", "web", "--type", "tcp")
    assert refused.returncode == 4
    assert "has 2 health checks" in refused.stderr
    assert "xdplb health add and rm" in refused.stderr
    gone = web.run("health", "rm", "web", "nosuch")
    assert gone.returncode == 1
    assert "it has http:8080, redis" in gone.stderr
    assert web.ok("health", "rm", "web", "1").stderr == "health check 1 of web removed\n"
    assert web.ok("health", "rm", "web", "redis").stderr == "health check redis of web removed\n"
    assert json.loads(web.get("/v1/vips/web/checks")) == {"checks": []}


def test_a_vip_is_changed_and_told_when_it_is_so_already(web: Daemon):
    assert web.ok("vip", "set", "web", "--idle-timeout", "90s").stderr == "VIP web changed\n"
    assert web.ok("vip", "set", "web", "--idle-timeout", "90s").stderr == "VIP web is unchanged\n"
    assert shown(web, "vip", "show", "web")["idle-timeout"] == "1m30s"
    web.ok("vip", "set", "web", "--name", "")
    assert shown(web, "vip", "show", WEB)["name"] == "-"


def test_a_backend_is_changed(web: Daemon):
    web.ok("backend", "set", "web", "10.0.0.1", "--weight", "1", "--forward", "ipip")
    fields = shown(web, "backend", "show", "web", "10.0.0.1")
    assert (fields["weight"], fields["forward"], fields["share"]) == ("1", "ipip", "50.0 %")
    web.ok("backend", "set", "web", "10.0.0.1", "--forward", "vip")
    assert shown(web, "backend", "show", "web", "10.0.0.1")["forward"] == "dr"


def test_maint_takes_a_backend_out_and_ready_takes_it_back(web: Daemon):
    web.ok("backend", "set", "web", "10.0.0.1", "--admin-state", "maint")
    assert shown(web, "backend", "show", "web", "10.0.0.1")["share"] == "0.0 %"
    web.ok("backend", "set", "web", "10.0.0.1", "--admin-state", "ready")
    assert shown(web, "backend", "show", "web", "10.0.0.1")["share"] == "75.0 %"


@pytest.mark.parametrize("words", [["vip", "set", "web"], ["backend", "set", "web", "10.0.0.1"]])
def test_a_change_of_nothing_is_a_usage_error(web: Daemon, words: list[str]):
    told = web.run(*words)
    assert told.returncode == 2
    assert "nothing to change" in told.stderr


def test_a_stale_generation_is_exit_4_and_changes_nothing(web: Daemon):
    current = int(shown(web, "vip", "show", "web")["generation"].split()[0])
    stale = web.run("vip", "set", "web", "--forward", "ipip", "--if-generation", str(current - 1))
    assert stale.returncode == 4
    assert shown(web, "vip", "show", "web")["forward"] == "dr"
    web.ok("vip", "set", "web", "--forward", "ipip", "--if-generation", str(current))
    assert web.run("backend", "rm", "web", "10.0.0.1", "--if-generation", "1").returncode == 4
    assert web.run("vip", "rm", "web", "--if-generation", "1").returncode == 4


def test_a_drain_is_waited_for_and_called_off(web: Daemon):
    told = web.ok("backend", "drain", "web", "10.0.0.1", "--wait", "--quiet", "0s", "--timeout", "30s")
    assert told.stderr == "backend 10.0.0.1 of web is drained: no connection is left\n"
    fields = shown(web, "backend", "show", "web", "10.0.0.1")
    assert (fields["admin-state"], fields["share"]) == ("drain", "0.0 %")
    assert fields["drain"].startswith("drained, 0 seen open")
    assert fields["reason"] == "drained"
    assert rows(web.ok("backend", "ls", "web").stdout)[1][-1] == "drained"
    assert web.ok("backend", "undrain", "web", "10.0.0.1").stderr == "backend 10.0.0.1 of web is no longer draining\n"
    assert web.ok("backend", "undrain", "web", "10.0.0.1").stderr.endswith("is not draining\n")
    assert shown(web, "backend", "show", "web", "10.0.0.1")["share"] == "75.0 %"


def test_a_short_timeout_needs_no_word_about_quiet(web: Daemon):
    assert web.ok("backend", "drain", "web", "10.0.0.1", "--timeout", "2s", "--dry-run").stdout
    told = web.run("backend", "drain", "web", "10.0.0.1", "--quiet", "1m", "--timeout", "2s")
    assert told.returncode == 2
    assert "quiet" in told.stderr


def test_what_is_removed_is_gone_and_removing_it_again_is_no_error(web: Daemon):
    assert web.ok("backend", "rm", "web", "10.0.0.1").stderr == "backend 10.0.0.1 of web removed\n"
    assert [row[0] for row in rows(web.ok("backend", "ls", "web").stdout)] == ["BACKEND", "10.0.0.2"]
    assert web.ok("vip", "rm", "web").stderr == "VIP web removed\n"
    for words in (["backend", "rm", "web", "10.0.0.1"], ["vip", "rm", "web"], ["vip", "rm", WEB]):
        assert "nothing to remove" in web.ok(*words).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["vip", "add", "203.0.113.99:80/tcp", "--check", "tcp"],
        ["vip", "set", "web", "--forward", "ipip"],
        ["vip", "rm", "web"],
        ["backend", "add", "web", "10.0.0.9"],
        ["backend", "set", "web", "10.0.0.1", "--weight", "9"],
        ["backend", "drain", "web", "10.0.0.1", "--wait"],
        ["backend", "rm", "web", "10.0.0.1"],
        ["health", "set", "web", "--type", "tcp"],
    ],
)
def test_a_dry_run_says_what_would_change_and_changes_nothing(web: Daemon, words: list[str]):
    before = web.get("/v1/vips"), web.get("/v1/vips/web/backends")
    told = web.ok(*words, "--dry-run")
    assert told.stdout.startswith("would change: ")
    outcome = json.loads(web.ok(*words, "--dry-run", "-o", "json").stdout)
    assert outcome["would_change"] is True
    sentences = told.stdout.partition("\n\n")[0]
    assert [f"would change: {sentence}" for sentence in outcome["changes"]] == sentences.splitlines()
    assert (web.get("/v1/vips"), web.get("/v1/vips/web/backends")) == before


def test_a_dry_run_of_what_is_so_already_says_so(web: Daemon):
    assert web.ok("backend", "set", "web", "10.0.0.1", "--weight", "3", "--dry-run").stdout == "nothing would change\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["vip", "add", "203.0.113.10/tcp"], 2, "write it like 203.0.113.10:443/tcp"),
        (["vip", "add", "203.0.113.10:443/sctp"], 2, "use tcp, udp or tcp+udp"),
        (["vip", "add", "203.0.113.10:70000/tcp"], 2, "not a port"),
        (["vip", "add", "2001:db8::1:443/tcp"], 2, "[2001:db8::1]:443/tcp"),
        (["vip", "add", "203.0.113.9/24:443/tcp"], 2, "the prefix is 203.0.113.0/24"),
        (["vip", "add", "203.0.113.10:443/tcp+udp"], 4, "VIP 203.0.113.10:443/tcp"),
        (["vip", "add", "203.0.113.20:0/tcp", "--check", "tcp"], 2, "give --check-port"),
        (["vip", "add", "203.0.113.20:443/udp", "--check", "http"], 2, "is UDP, and http checks use TCP"),
        (["vip", "add", "203.0.113.20:443/tcp", "--check", "smtp"], 2, "use tcp, which expects 220"),
        (["health", "set", "web", "--type", "ping"], 2, "it is called icmp"),
        (["health", "set", "web", "--type", "SSL_GET"], 2, "it is called https"),
        (["health", "set", "web"], 2, "Choose from: http, https, tcp,"),
        (["health", "set", "web", "--type", "https", "--verify"], 2, "--verify needs --sni"),
        (["vip", "add", "203.0.113.20:1/tcp", "--check", "icmp", "--check-target", "vip"], 2, "--check-target backend"),
        (["health", "set", "web", "--type", "tcp", "--path", "/"], 2, "a check of type tcp has no --path"),
        (["vip", "add", "203.0.113.20:1/tcp", "--check", "dns", "--check-user", "me"], 2, "dns has no --check-user"),
        (["vip", "add", "203.0.113.20:443/tcp", "--quic-server-id-bytes", "2"], 2, "QUIC runs over UDP"),
        (["vip", "add", "203.0.113.20:443/tcp", "--limit-packets", "-1"], 2, "--limit-packets"),
        (["vip", "add", "203.0.113.20:443/udp", "--limit-source-new-flows", "9"], 2, "limit source_packets instead"),
        (["backend", "add", "web", "2001:db8::11"], 2, "ipip or gue"),
        (["backend", "add", "web", "10.0.0.19", "--quic-server-id", "00a7"], 2, "no quic"),
        (["vip", "access", "set", "web"], 2, "xdplb vip access clear"),
        (["vip", "access", "set", "web", "--deny", "192.0.2.7/24"], 2, "the prefix is 192.0.2.0/24"),
        (["vip", "access", "set", "web", "--deny", "2001:db8::/32"], 2, "IPv4 prefixes"),
        (["vip", "access", "set", "web", "--deny-file", "/nowhere/at/all"], 2, "cannot be read"),
        (["vip", "access", "set", "web", "--deny-file", "/dev/zero"], 2, "has more than 64 MiB"),
        (["vip", "add", WEB, "--name", "No Name"], 2, "name"),
        (["vip", "show", "nosuch"], 1, "nosuch"),
        (["backend", "add", "nosuch", "10.0.0.1"], 1, "nosuch"),
        (["backend", "add", "web", "10.0.0.9", "--weight", "70000"], 2, "weight"),
        (["backend", "add", "web", "10.0.0.9", "--weight", "-1"], 2, "weight"),
        (["backend", "add", "web", "300.0.0.1"], 2, "300.0.0.1"),
        (["backend", "add", "web", "203.0.113.10"], 2, "203.0.113.10"),
        (["backend", "show", "web", "10.9.9.9"], 1, "10.9.9.9"),
        (["backend", "drain", "web", "10.9.9.9"], 1, "10.9.9.9"),
        (["health", "set", "web", "--type", "http", "--path", "nopath"], 2, "path"),
        (["stats", "nosuch"], 1, "nosuch"),
    ],
)
def test_bad_input_gets_a_sentence_and_the_right_exit_code(web: Daemon, words: list[str], code: int, said: str):
    before = generation(web)
    told = web.run(*words)
    assert (told.returncode, told.stdout) == (code, "")
    assert told.stderr.startswith("xdplb: error: ")
    assert said in told.stderr
    assert generation(web) == before


def test_no_room_names_the_option_to_raise(daemon: Daemon):
    for port in range(1, 5):
        daemon.ok("vip", "add", f"203.0.113.10:{port}/udp")
    told = daemon.run("vip", "add", "203.0.113.10:5/udp")
    assert told.returncode == 4
    assert "--max-vips" in told.stderr


def test_tables_show_what_there_is(web: Daemon):
    assert rows(web.ok("vip", "ls").stdout)[1][:6] == [WEB, "web", "dr", "ONLINE", "2/2", "-"]
    listed = rows(web.ok("backend", "ls", "web").stdout)
    assert [row[:5] for row in listed[1:]] == [
        ["10.0.0.1", "3", "ready", "up", "75.0 %"],
        ["10.0.0.2", "1", "ready", "up", "25.0 %"],
    ]
    assert [row[:2] for row in rows(web.ok("stats").stdout)[1:4]] == [
        [WEB, "all"],
        [WEB, "10.0.0.1"],
        [WEB, "10.0.0.2"],
    ]


def test_the_wide_table_shows_who_is_a_backup_and_what_a_backend_takes(web: Daemon):
    web.ok("backend", "set", "web", "10.0.0.2", "--role", "backup", "--max-new-flows", "200")
    titles, *listed = rows(web.ok("backend", "ls", "web", "-o", "wide").stdout)
    role = titles.index("ROLE")
    assert titles[role + 1] == "MAX-NEW/s"
    assert [row[role : role + 2] for row in listed] == [["primary", "-"], ["backup", "200"]]


def test_the_backends_of_all_vips_are_in_one_table(web: Daemon):
    web.ok("vip", "add", "203.0.113.9:53/udp")
    web.ok("backend", "add", "203.0.113.9:53/udp", "10.0.0.3")
    assert [row[:3] for row in rows(web.ok("backend", "ls").stdout)[1:]] == [
        ["203.0.113.9:53/udp", "10.0.0.3", "1"],
        [WEB, "10.0.0.1", "3"],
        [WEB, "10.0.0.2", "1"],
    ]
    every = json.loads(web.ok("backend", "ls", "-o", "json").stdout)["backends"]
    assert [(each["vip"], each["address"]) for each in every] == [
        ("203.0.113.9:53/udp", "10.0.0.3"),
        (WEB, "10.0.0.1"),
        (WEB, "10.0.0.2"),
    ]
    [first] = json.loads(web.ok("backend", "ls", "203.0.113.9:53/udp", "-o", "json").stdout)["backends"]
    assert every[0].keys() == {*first.keys(), "vip"}


def test_rates_are_per_second_of_the_time_given(web: Daemon):
    began = time.monotonic()
    listed = rows(web.ok("stats", "--rate", "200ms", "-o", "wide").stdout)
    assert time.monotonic() - began >= 0.2
    assert listed[0] == ["VIP", "BACKEND", "PACKETS/S", "BYTES/S", "NEW FLOWS/S", "AT RISK/S", "RECORDS/S"]
    assert listed[1] == [WEB, "all", "0.0", "0.0", "0.0", "0.0", "0.0"]
    rates = json.loads(web.ok("stats", "--rate", "100ms", "-o", "json").stdout)
    totals = json.loads(web.ok("stats", "-o", "json").stdout)
    assert rates.pop("seconds") >= 0.1
    assert rates.keys() == totals.keys()
    assert rates["vips"][0] == {
        **dict.fromkeys(totals["vips"][0], 0.0),
        "vip": WEB,
        "backends": [
            {**dict.fromkeys(totals["vips"][0]["backends"][0], 0.0), "backend": address}
            for address in ("10.0.0.1", "10.0.0.2")
        ],
    }
    assert json.loads(web.ok("stats", "web", "--rate", "100ms", "-o", "json").stdout)["vip"] == WEB


def test_status_is_one_page_and_waits(web: Daemon):
    told = web.ok("status", "--wait", "--timeout", "10s").stdout
    assert "interfaces  eth0 (native)" in told
    assert WEB in told
    assert "ready       yes" in told


def test_a_packet_is_explained(web: Daemon):
    fields = web.ok("explain", "192.0.2.7:40000", "web", "--established").stdout.partition("\n\n")[0]
    told = dict(re.findall(r"^(\S.*?) {2,}(.*)$", fields, re.MULTILINE))
    assert told["packet"] == "tcp established 192.0.2.7:40000 > 203.0.113.10:443, in by eth0"
    assert (told["vip"], told["action"], told["record"], told["program"]) == (WEB, "send", "-", "not asked")
    assert told["backend"] in {"10.0.0.1", "10.0.0.2"}
    ran = web.ok("explain", "192.0.2.7:40000", "web", "--if-down", told["backend"], "-o", "json")
    body = json.loads(ran.stdout)
    assert body["backend"] not in {None, told["backend"]}
    assert (body["if_down"], body["agree"]) == (told["backend"], None)
    assert body["why"]


def test_explaining_says_why_the_program_was_not_asked_and_what_stops_a_packet(web: Daemon):
    ran = web.ok("explain", "[2001:db8::9]:4000", "[2001:db8::10]:443/udp")
    assert "action   pass: " in ran.stdout
    assert "- no VIP accepts packets for [2001:db8::10]:443/udp" in ran.stdout
    assert "no program to ask" in ran.stderr
    refused = web.run("explain", "192.0.2.7", "web")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "hint: write it like 192.0.2.7:40000" in refused.stderr


def test_a_probe_shows_its_steps_and_its_exit_code_says_whether_it_passed(daemon: Daemon):
    vip = "203.0.113.10:80/tcp"
    daemon.ok("vip", "add", vip, "--check", "tcp")
    daemon.ok("backend", "add", vip, "10.0.0.11")
    told = daemon.run("health", "probe", vip, "10.0.0.11")
    assert (told.returncode, "STEP" in told.stdout) == (0, True), told.stderr
    assert json.loads(daemon.ok("health", "probe", vip, "-o", "json").stdout)["backends"][0]["backend"] == "10.0.0.11"


def test_what_checks_use_for_one_backend_is_taken_away_with_none(web: Daemon):
    web.ok("backend", "set", "web", "10.0.0.1", "--check-port", "8081", "--check-path", "/mine")
    assert json.loads(web.ok("backend", "show", "web", "10.0.0.1", "-o", "json").stdout)["check_port"] == 8081
    web.ok("backend", "set", "web", "10.0.0.1", "--check-port", "none", "--check-path", "none", "--not-checked")
    shown = json.loads(web.ok("backend", "show", "web", "10.0.0.1", "-o", "json").stdout)
    assert (shown["check_port"], shown["check_path"], shown["checked"]) == (None, None, False)
