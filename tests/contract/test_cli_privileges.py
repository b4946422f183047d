# SPDX-License-Identifier: Apache-2.0
"""A daemon that has started has few capabilities, can get no others, and can still do all its work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.private_host import add_nic, remove_nic
from tests.waiting import until
from xdplb.capabilities import NET_ADMIN, NET_RAW, SYS_ADMIN, Capabilities
from xdplb.net.links import link

from .test_cli_up_down import Host, host

__all__ = ["host"]  # the fixture

NEEDED = frozenset({NET_ADMIN, NET_RAW, SYS_ADMIN})


def threads_of(daemon: subprocess.Popen[str]) -> Iterator[Capabilities]:
    for task in Path(f"/proc/{daemon.pid}/task").iterdir():
        yield Capabilities.of(task / "status")


@pytest.mark.root
def test_it_gives_up_what_it_does_not_need_and_does_all_its_work(host: Host) -> None:
    with host.up("eth0", "eth1") as daemon:
        assert {(each.effective, each.permitted, each.bounding) for each in threads_of(daemon)} == {(NEEDED,) * 3}
        assert all(each.no_new_privileges and not each.ambient for each in threads_of(daemon))

        def ok(*arguments: str) -> str:
            # Three programs are compiled: on a busy machine that takes longer than other commands may.
            command = [str(Path(sys.executable).with_name("xdplb")), "--socket", str(host.socket), *arguments]
            told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
            assert told.returncode == 0, told.stderr
            return told.stdout

        ok("vip", "add", "203.0.113.10:80/tcp", "--check", "tcp")
        ok("backend", "add", "203.0.113.10:80/tcp", "10.0.0.1")
        ok("vip", "add", "[2001:db8::10]:80/tcp")  # the program is compiled again, for IPv6
        file = host.folder / "all.pcapng"
        ok("capture", "-w", str(file), "--seconds", "1")  # and again
        assert file.stat().st_size > 0
        ok("explain", "198.51.100.7:40000", "203.0.113.10:80/tcp")  # it exits with 1 if program and model differ
        ok("backend", "rm", "203.0.113.10:80/tcp", "10.0.0.1")  # with no route to any backend it is never ready
        remove_nic("eth1")
        until(lambda: "eth1 (not attached)" in host.run("status").stdout)
        add_nic("eth1")
        until(lambda: link("eth1").xdp is not None)

        (found,) = (
            each
            for each in json.loads(host.run("doctor", "-o", "json").stdout)["findings"]
            if each["check"] == "daemon's privileges"
        )
        assert found["level"] == "ok"
        assert found["detail"] == (
            f"pid {daemon.pid} has CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; it can get no other capabilities"
        )
        daemon.terminate()
        _, log = daemon.communicate(timeout=30)
        assert daemon.returncode == 0, log
        assert "Traceback" not in log
        assert "keep" not in log.replace("keeps forwarding", "")
    with host.up("eth0", "eth1") as daemon:
        assert "2001:db8::10" in host.run("vip", "ls").stdout
        assert host.down("--all").returncode == 0
    assert host.is_clean()
