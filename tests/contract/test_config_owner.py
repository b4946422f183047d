# SPDX-License-Identifier: Apache-2.0
"""A config file that owns the state: at a start, at SIGHUP, after kill -9, and when a start comes without it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.asking import ApiConnection
from xdplb.capabilities import keep_only
from xdplb.config.faults import ConfigError
from xdplb.daemon.config_owner import ConfigOwner
from xdplb.daemon.privileges import KEPT
from xdplb.daemon.run import run

from .cli_daemon import options_in, parts_in
from .cli_harness import WEB, Daemon, running_daemon

FILE = """
[[vips]]
name = "web"
address = "203.0.113.10"
port = 443
protocol = "tcp"

[[vips.backends]]
address = "10.0.0.11"
weight = 2

[[vips.backends]]
address = "10.0.0.12"
"""
DNS = """
[[vips]]
name = "dns"
address = "203.0.113.10"
port = 53
protocol = "udp"
"""


def many(count: int) -> str:
    """Return a file with so many VIPs."""
    return "".join(DNS.replace("53", str(port)).replace('name = "dns"', "") for port in range(1, count + 1))


def asked(daemon: Daemon, path: str) -> Any:
    return json.loads(daemon.get(path))


def status(daemon: Daemon) -> Any:
    return asked(daemon, "/v1/status")


def names(daemon: Daemon) -> list[str]:
    return [vip["name"] for vip in status(daemon)["vips"]]


def hung_up(daemon: Daemon, is_done: Callable[[], bool]) -> None:
    """Send SIGHUP, as systemctl reload does, and wait for what it does."""
    daemon.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < end, "it was not reloaded"
        assert daemon.process.poll() is None
        time.sleep(0.02)


def reloaded(daemon: Daemon) -> Any:
    """Have the file read again by the API, and return the answer."""
    with closing(ApiConnection(daemon.socket, timeout=10)) as connection:
        connection.request("POST", "/v1/config/reload", headers={"Xdplb-Client": "tests"})
        return json.loads(connection.getresponse().read())


def sent(daemon: Daemon, size: int) -> int:
    """Send a body of this size, and return the status of the answer."""
    with closing(ApiConnection(daemon.socket, timeout=10)) as connection:
        body = json.dumps({"deny": "x" * size})
        connection.request("PUT", "/v1/vips/web/access", body, {"Content-Type": "application/json"})
        return connection.getresponse().status


def overlay_is_shown(daemon: Daemon, file: Path) -> None:
    listed = daemon.ok("backend", "ls", WEB).stdout
    assert "drain (file: ready)" in listed
    assert "9 (file: 1)" in listed
    assert b"\nxdplb_config_overlay_backends 2\n" in daemon.get("/metrics")
    assert f"{file}, with an overlay on 2 backends" in daemon.ok("status").stdout


def settings_follow(daemon: Daemon, file: Path) -> None:
    file.write_text(many(5))
    assert "room for 4" in reloaded(daemon)["detail"]
    assert sent(daemon, 2 << 20) == 422, "it is no change, but it is not too long"
    file.write_text("[settings.api]\nmax_body_mib = 1\n" + FILE)
    assert reloaded(daemon)["changes"] == ["setting api.max_body_mib becomes 1"]
    assert sent(daemon, 2 << 20) == 413
    file.write_text(FILE)
    assert reloaded(daemon)["changes"] == ["setting api.max_body_mib becomes what xdplb up was told"]
    assert sent(daemon, 2 << 20) == 422


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FILE.replace("weight = 2", "weight = 70000"), ":10:10: weight should be at most 65535, not 70000"),
        (FILE.replace("weight = 2", "wieght = 2"), ":10:1: wieght is not a field"),
        (FILE.replace("10.0.0.12", "203.0.113.10"), ":13:11: backend 203.0.113.10 is the VIP itself"),
        (FILE + "[[vips", ":14:"),
        ("", "vips is missing"),
    ],
)
def test_a_bad_file_refuses_the_start_with_its_line_and_changes_nothing(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "xdplb.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        run(replace(options_in(tmp_path), config=file), parts_in(tmp_path))
    assert str(file) in str(raised.value)
    assert told in str(raised.value)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give something up")
def test_a_file_that_only_the_start_may_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "xdplb.toml"
    (tmp_path / "blocked.txt").write_text("192.0.2.0/24\n")
    file.write_text(FILE.replace('"tcp"', '"tcp"\naccess = {deny_file = "blocked.txt"}'))
    tmp_path.chmod(0o755)
    for path in tmp_path.iterdir():
        os.chown(path, 1000, 1000)
        path.chmod(0o640)

    def look() -> None:
        owner = ConfigOwner(file)
        owner.read()
        keep_only(KEPT)  # of this thread
        owner.look_again()
        with pytest.raises(ConfigError, match="has no right to read files of others"):
            owner.read()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(look).result()
    assert f"chown root {file}" in caplog.text
    assert f"chown root {tmp_path / 'blocked.txt'}" in caplog.text


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "xdplb.toml"
    os.mkfifo(pipe)
    for path, told in ((pipe, "it is no regular file"), (tmp_path, "it is no regular file"), (tmp_path / "no", "read")):
        with pytest.raises(ConfigError, match=told):
            ConfigOwner(path).read()
    for number, (listed, told) in enumerate((("xdplb.toml", "it is no regular file"), ("x" * 5000, "xxx"))):
        file = tmp_path / f"{number}.toml"
        file.write_text(f'{DNS}access = {{allow_file = "{listed}"}}\n')
        with pytest.raises(ConfigError, match=told):
            ConfigOwner(file).read()


def test_the_file_is_the_truth_until_the_daemon_is_started_without_it(tmp_path: Path) -> None:
    file = tmp_path / "xdplb.toml"
    with running_daemon(tmp_path) as daemon:
        daemon.ok("vip", "add", "198.51.100.7:80/tcp", "--name", "old")
        daemon.stop()
    file.write_text(FILE)
    with running_daemon(tmp_path, config=file) as daemon:
        assert names(daemon) == ["web"], "as soon as it is ready"
        assert status(daemon)["config"] == {"owner": str(file), "overlay": 0, "error": ""}
        refused = daemon.run("vip", "rm", "web")
        assert refused.returncode == 4
        assert str(file) in refused.stderr
        assert "systemctl reload" in refused.stderr
        daemon.ok("backend", "drain", WEB, "10.0.0.11")
        daemon.ok("backend", "set", WEB, "10.0.0.12", "--weight", "9")
        daemon.process.kill()
        _, log = daemon.process.communicate()
    assert "removed: 198.51.100.7:80/tcp" in log
    with running_daemon(tmp_path, config=file) as daemon:
        overlay = asked(daemon, "/v1/config/overlay")["overlay"]
        assert [(one["weight"], one["admin_state"]) for one in overlay] == [(2, "drain"), (9, "ready")]
        assert reloaded(daemon)["changed"] is False, "a file that says the same changes nothing"
        file.write_text(FILE + DNS)
        hung_up(daemon, lambda: names(daemon) == ["dns", "web"])
        assert status(daemon)["config"]["overlay"] == 2
        file.write_text(FILE.replace("tcp", "tpc"))
        hung_up(daemon, lambda: status(daemon)["config"]["error"] != "")
        assert reloaded(daemon)["errors"][0]["pointer"] == "/vips/0/protocol"
        assert f"{file}:6:12" in status(daemon)["config"]["error"]
        assert f"the config file is refused, and what runs goes on: {file}:6:12" in daemon.run("status").stderr
        assert names(daemon) == ["dns", "web"], "what runs goes on"
        assert b"\nxdplb_config_last_reload_ok 0\n" in daemon.get("/metrics")
        file.write_text(FILE)
        hung_up(daemon, lambda: status(daemon)["config"]["error"] == "")
        assert names(daemon) == ["web"]
        overlay_is_shown(daemon, file)
        daemon.ok("backend", "undrain", WEB, "10.0.0.11")
        assert status(daemon)["config"]["overlay"] == 1
        settings_follow(daemon, file)
        log = daemon.stop()
    assert f"config refused, and what runs goes on: actor=file(file={file})" in log, "nobody else is known of a signal"
    assert "removed: 203.0.113.10:53/udp" in log
    assert any(word.startswith("RELOADING=1\nMONOTONIC_USEC=") for word in daemon.notified)
    assert daemon.notified.count("READY=1") >= 3
    with running_daemon(tmp_path) as daemon:
        backends = asked(daemon, "/v1/backends")["backends"]
        assert [(one["weight"], one["declared"]) for one in backends] == [(2, None), (9, None)]
        assert status(daemon)["config"]["owner"] is None
        daemon.ok("vip", "rm", "web")
        log = daemon.stop()
    assert f"config released: without --config the API owns what the file has declared: file={file} vips=1" in log
