# SPDX-License-Identifier: Apache-2.0
"""`xdplb config`: a file is checked, compared, applied and dumped."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from .cli_harness import Daemon, in_process, running_daemon

AMBIGUOUS = "match the same packets, and neither is more specific"
WEB = """\
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tcp"
name = "web"
[vips.health_check]
type = "http"
path = "/healthz"
[vips.access]
deny = ["192.0.2.7"]
deny_file = "blocked.txt"
[[vips.backends]]
address = "10.0.0.11"
weight = 2
[[vips.backends]]
address = "10.0.0.12"

[[vips]]
address = "2001:db8::10"
port = 0
protocol = "tcp+udp"
forward = "gue"
scheduler = "wlc"
limits = { source_packets = 1000 }
"""


@pytest.fixture
def web(tmp_path: Path) -> Path:
    (tmp_path / "blocked.txt").write_text("# from abroad\n198.51.100.0/24\n")
    file = tmp_path / "web.toml"
    file.write_text(WEB)
    return file


def checked(text: str, folder: Path, name: str = "c.toml") -> list[str]:
    """Return what check says of a text, without the hints."""
    (folder / name).write_text(text)
    told = in_process("config", "check", "-f", str(folder / name))
    assert told.returncode == 2, told
    assert told.stdout == ""
    return [line.removeprefix(f"{folder}/") for line in told.stderr.splitlines() if not line.startswith(" ")]


def generation(daemon: Daemon) -> int:
    return json.loads(daemon.get("/v1/config"))["generation"]


def test_a_right_file_is_right_without_a_daemon(web: Path):
    told = in_process("--socket", "/nonexistent", "config", "check", "-f", str(web))
    assert (told.returncode, told.stdout, told.stderr) == (0, "", f"{web} is right: 2 VIPs, 2 backends\n")
    told = in_process("config", "check", "-f", str(web), "-o", "json")
    assert json.loads(told.stdout) == {"file": str(web), "valid": True, "faults": []}


def test_all_that_is_wrong_is_told_with_its_place(tmp_path: Path):
    assert checked(
        """\
[[vips]]
address = "203.0.113.10"
port = "80"
protocol = "tpc"
forwrd = "ipip"
[[vips.backends]]
weight = 70000
[[vips]]
address = "203.0.113.10"
port = 80
protocol = "tcp"
scheduler = "rr"
tracking = "auto"
quic = { server_id_bytes = 2 }
[[vips]]
address = "203.0.113.10"
port = 80
protocol = "tcp+udp"
[[vips]]
address = "203.0.113.10"
port = 80
protocol = "tcp"
backends = [{address = "10.0.0.1"}, {address = "10.0.0.1"}, {address = "203.0.113.10"}]
[settings]
colour = "red"
""",
        tmp_path,
    ) == [
        'c.toml:3:8: port should be a whole number, not "80"',
        "c.toml:4:12: protocol \"tpc\" is not supported; this version has 'tcp', 'udp' or 'tcp+udp'",
        "c.toml:5:1: forwrd is not a field of vips",
        "c.toml:6:1: address is missing",
        "c.toml:7:10: weight should be at most 65535, not 70000",
        "c.toml:13:12: rr chooses per connection, so every flow must be recorded",
        "c.toml:14:8: QUIC runs over UDP",
        f"c.toml:18:12: VIP 203.0.113.10:80/tcp+udp and VIP 203.0.113.10:80/tcp {AMBIGUOUS} (the other one: line 9)",
        "c.toml:20:11: VIP 203.0.113.10:80/tcp is given twice (the other one: line 9)",
        "c.toml:25:1: colour is not a field of settings",
    ]


def test_conflicts_of_vips_and_backends_are_told(tmp_path: Path):
    head = '[[vips]]\naddress = "203.0.113.10"\nprotocol = "tcp"\n'
    assert checked(
        f"""\
{head}port = 1
last_port = 10
{head}port = 5
last_port = 14
backends = [{{address = "10.0.0.1"}}, {{address = "10.0.0.1"}}, {{address = "203.0.113.10"}}]
{head}port = 0
health_check = {{ type = "tcp" }}
""",
        tmp_path,
    ) == [
        f"c.toml:9:8: VIP 203.0.113.10:5-14/tcp and VIP 203.0.113.10:1-10/tcp {AMBIGUOUS} (the other one: line 2)",
        "c.toml:11:48: backend 10.0.0.1 is given twice (the other one: line 11)",
        "c.toml:11:72: backend 203.0.113.10 is the VIP itself",
        "c.toml:16:16: VIP 203.0.113.10:0/tcp has all ports, so its check needs a port",
    ]


def test_prefixes_in_files_are_told_with_the_line_of_their_file(tmp_path: Path, web: Path):
    (tmp_path / "blocked.txt").write_text("192.0.2.0/24\n  bad # is it?\n2001:db8::/32\n")
    assert checked(WEB, tmp_path) == [
        "blocked.txt:2:3: 'bad' is not an IP prefix",
        "blocked.txt:3:1: no packet to this VIP can come from 2001:db8::/32: the VIP is IPv4",
    ]
    (tmp_path / "blocked.txt").unlink()
    assert checked(WEB, tmp_path) == [
        f"c.toml:11:13: {tmp_path}/blocked.txt: it cannot be read: No such file or directory"
    ]


def test_a_misspelt_field_gets_the_nearest_right_one(tmp_path: Path):
    (tmp_path / "c.toml").write_text("vips = []\n[settings.api]\nconections = 5\n")
    told = in_process("config", "check", "-f", str(tmp_path / "c.toml"), "-o", "json")
    assert told.returncode == 2
    (fault,) = json.loads(told.stdout)["faults"]
    assert (fault["line"], fault["column"], fault["pointer"]) == (3, 1, "/settings/api/conections")
    assert fault["hint"].startswith("did you mean connections?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[vips]\nport = 80\n", "c.toml:1:1: vips should be an array, not"),
        ("", "c.toml:1:1: vips is missing"),
        ("vips = []\nsettings = 2026-01-01\n", 'c.toml:2:12: settings should be an object, not "2026-01-01"'),
        (
            "vips = []\n[settings.api]\nidle_timeout_seconds = nan\n",
            "c.toml:3:24: idle_timeout_seconds should be a number",
        ),
        ("vips = [1]\n", "c.toml:1:9: item 0 should be an object"),
    ],
)
def test_data_of_another_form_is_told(text: str, told: str, tmp_path: Path):
    (line,) = checked(text, tmp_path)
    assert line.startswith(told)


def test_each_check_that_is_wrong_is_told_with_its_place(tmp_path: Path):
    vip = '[[vips]]\naddress = "203.0.113.{}"\nport = 443\nprotocol = "tcp"\n'
    told = checked(
        vip.format(1)
        + """\
checks = [{type = "http", headers = {Host = "x"}}, {type = "agent"}, {type = "tcp"}, {type = "exec", command = ["a"]}]
"""
        + vip.format(2)
        + """\
[vips.health_check]
type = "tcp"
path = "/"
"""
        + vip.format(3)
        + """\
[[vips.checks]]
type = "icmp"
[[vips.checks]]
type = "icmp"
""",
        tmp_path,
    )
    assert [line.split(": ", 1) for line in told] == [
        ["c.toml:5:37", "Host cannot be given as a header"],
        ["c.toml:5:52", "an agent listens on a port of its own, so this check needs a port"],
        ["c.toml:5:112", "command does not begin with an absolute path"],
        ["c.toml:12:8", "a check of type tcp has no path"],
        ["c.toml:19:1", "the same check is given twice"],
    ]


def test_of_many_vips_all_are_looked_at(tmp_path: Path):
    vips = [f'[[vips]]\naddress = "203.0.113.{n % 250}"\nport = {n + 1}\nprotocol = "tcp"\n' for n in range(1200)]
    for wrong in (3, 700, 1199):
        vips[wrong] = vips[wrong].replace('"tcp"', '"tpc"')
    vips[900] += 'tracking = "auto"\nscheduler = "rr"\n'
    told = checked("".join(vips), tmp_path)
    assert [line.split(": ")[0] for line in told] == [f"c.toml:{n}:{12}" for n in (16, 2804, 3605, 4802)]


def test_a_list_that_is_called_like_stdin_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("bad\n")
    Path("c.toml").write_text(WEB.replace("blocked.txt", "-"))
    told = in_process("config", "check", "-f", "c.toml")
    assert told.stderr.startswith("-:1:1: 'bad' is not an IP prefix")


def test_yaml_is_checked_by_the_same_schema(tmp_path: Path):
    text = "vips:\n- address: 203.0.113.10\n  port: 080\n  prot: tcp\n  health_check: {type: http, reset: no}\n"
    assert checked(text, tmp_path, "c.yaml") == [
        "c.yaml:2:3: protocol is missing",
        'c.yaml:3:9: port should be a whole number, not "080"',
        "c.yaml:4:3: prot is not a field of vips",
        'c.yaml:5:37: reset should be true or false, not "no"',
    ]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path):
    for file, told in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        found = in_process("config", "check", "-f", str(file))
        assert (found.returncode, found.stderr.splitlines()[0]) == (2, f"{file}: it cannot be read: {told}")


def test_a_file_is_applied_whole_and_again_changes_nothing(daemon: Daemon, web: Path):
    diff = daemon.run("config", "diff", "-f", str(web))
    assert diff.returncode == 1
    assert "would change: VIP 203.0.113.10:443/tcp is added" in diff.stdout
    before = generation(daemon)
    assert daemon.ok("config", "apply", "-f", str(web), "--dry-run").stdout == diff.stdout
    assert generation(daemon) == before
    daemon.ok("config", "apply", "-f", str(web))
    assert generation(daemon) == before + 1
    again = daemon.ok("config", "apply", "-f", str(web))
    assert (again.stdout, again.stderr) == ("", f"nothing to change: all is as {web} says\n")
    assert generation(daemon) == before + 1
    assert daemon.ok("config", "diff", "-f", str(web)).stdout == "nothing would change\n"
    denied = json.loads(daemon.get("/v1/vips/web/access"))["deny"]
    assert denied == ["192.0.2.7/32", "198.51.100.0/24"]
    daemon.ok("config", "apply", "-f", str(web), "--if-generation", str(before + 1))
    assert daemon.run("config", "apply", "-f", str(web), "--if-generation", "0").returncode == 4


@pytest.mark.parametrize("written", ["toml", "yaml", "json"])
def test_what_is_dumped_changes_nothing_when_it_is_applied(daemon: Daemon, web: Path, tmp_path: Path, written: str):
    daemon.ok("config", "apply", "-f", str(web))
    daemon.ok("backend", "set", "web", "10.0.0.12", "--admin-state", "maint")
    before = generation(daemon)
    dumped = tmp_path / f"dumped.{written}"
    if written == "json":
        dumped.write_text(daemon.ok("config", "dump", "-o", "json").stdout)
    else:
        daemon.ok("config", "dump", "-f", str(dumped))
        assert dumped.read_text() == daemon.ok("config", "dump", "--format", written).stdout
        assert "idle_timeout_seconds" not in dumped.read_text()
    assert daemon.run("config", "diff", "-f", str(dumped)).returncode == 0
    daemon.ok("config", "apply", "-f", str(dumped))
    assert generation(daemon) == before


def test_a_dump_replaces_a_file_as_a_whole_and_keeps_its_mode(daemon: Daemon, tmp_path: Path):
    real, link = tmp_path / "real.toml", tmp_path / "link.toml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    daemon.ok("config", "dump", "-f", str(link))
    assert link.is_symlink()
    assert real.read_text() == daemon.ok("config", "dump").stdout
    assert (real.stat().st_mode & 0o777, sorted(each.name for each in tmp_path.iterdir())) == (
        0o640,
        ["link.toml", "real.toml"],
    )
    refused = daemon.run("config", "dump", "-f", str(tmp_path / "none" / "c.toml"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "cannot be written: No such file or directory" in refused.stderr


def test_what_only_the_daemon_can_refuse_is_told_with_its_place(daemon: Daemon, tmp_path: Path):
    file = tmp_path / "c.toml"
    file.write_text("".join(f'[[vips]]\naddress = "203.0.113.{n}"\nport = 80\nprotocol = "tcp"\n' for n in range(1, 9)))
    assert in_process("config", "check", "-f", str(file)).returncode == 0
    told = daemon.run("config", "apply", "-f", str(file))
    assert told.returncode == 4
    assert "this needs 8 VIPs" in told.stderr


def test_nothing_is_applied_if_anything_is_wrong(daemon: Daemon, web: Path):
    web.write_text(WEB.replace('"10.0.0.12"', '"203.0.113.10"'))
    before = daemon.get("/v1/config")
    told = daemon.run("config", "apply", "-f", str(web))
    assert told.returncode == 2
    assert told.stderr.startswith(f"{web}:16:11: backend 203.0.113.10 is the VIP itself\n")
    assert daemon.get("/v1/config") == before
    web.write_text(WEB + "[settings.api]\nidle_timeout_seconds = nan\n")
    assert daemon.run("config", "diff", "-f", str(web)).returncode == 2


def test_a_file_that_owns_the_state_is_compared_and_applied_as_by_a_reload(web: Path, tmp_path: Path):
    (tmp_path / "daemon").mkdir()
    with running_daemon(tmp_path / "daemon", config=web) as daemon:
        daemon.ok("backend", "set", "web", "10.0.0.11", "--weight", "0")
        daemon.ok("backend", "drain", "web", "10.0.0.12")
        diff = daemon.ok("config", "diff", "-f", str(web))
        assert diff.stderr.splitlines() == [
            "overlay: backend 10.0.0.11 of VIP 203.0.113.10:443/tcp has weight 0 instead of 2",
            "overlay: backend 10.0.0.12 of VIP 203.0.113.10:443/tcp has admin_state drain instead of ready",
        ]
        assert "weight = 2" in daemon.ok("config", "dump").stdout, "what is laid over the file is not of the file"
        web.write_text(WEB.replace('"wlc"', '"rr"'))
        assert daemon.run("config", "diff", "-f", str(web)).returncode == 1
        other = tmp_path / "other.toml"
        other.write_text(web.read_text())
        refused = daemon.run("config", "apply", "-f", str(other))
        assert refused.returncode == 4
        assert f"the config file {web} owns" in refused.stderr
        assert "overlay" not in daemon.ok("config", "apply", "-f", str(web)).stderr
        assert '"rr"' in daemon.ok("config", "dump").stdout
        dry = daemon.ok("config", "apply", "-f", str(web), "--clear-overlay", "--dry-run")
        assert "would change: backend 10.0.0.11 of 203.0.113.10:443/tcp changes to weight 2 (was 0)" in dry.stdout
        before = json.loads(daemon.get("/v1/config"))["generation"]
        web.write_text(WEB.replace('"wlc"', '"maglev"'))
        daemon.ok("config", "apply", "-f", str(web), "--clear-overlay")
        assert daemon.ok("config", "diff", "-f", str(web)).stderr == ""
        assert json.loads(daemon.get("/v1/config"))["generation"] == before + 1, "file and overlay are one step"
        daemon.ok("backend", "set", "web", "10.0.0.11", "--weight", "0")
        daemon.ok("config", "apply", "-f", str(web), "--clear-overlay")
        assert json.loads(daemon.get("/v1/config/overlay")) == {"overlay": []}
        web.write_text("vips = 1\n")
        assert daemon.run("config", "apply", "-f", str(web)).returncode == 2


@pytest.mark.parametrize(
    ("text", "told"), [("vips = []\n", "<stdin> is right"), ('{"vips": [1]}', "<stdin>:1:11: item 0 should")]
)
def test_a_file_may_come_by_stdin(monkeypatch: pytest.MonkeyPatch, text: str, told: str):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert in_process("config", "check", "-f", "-").stderr.startswith(told)


def test_commands_that_need_the_daemon_say_that_it_is_down(web: Path, tmp_path: Path):
    for words in (["diff", "-f", str(web)], ["apply", "-f", str(web)], ["dump"]):
        assert in_process("--socket", str(tmp_path / "none.sock"), "config", *words).returncode == 3
    assert json.loads(in_process("config", "schema").stdout)["properties"].keys() >= {"vips", "settings"}
