# SPDX-License-Identifier: Apache-2.0
"""Telling systemd."""

from __future__ import annotations

import errno
import socket
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stopwatch import Stopwatch
from xdplb.daemon import systemd
from xdplb.daemon.systemd import asking_for_time, notify


@pytest.mark.parametrize("abstract", [False, True])
def test_the_state_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool):
    address = f"@xdplb-{uuid.uuid4()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(2)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


def test_a_service_manager_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("STOPPING=1")


def test_without_a_free_descriptor_it_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def none_is_free(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr("socket.socket", none_is_free)
    notify("WATCHDOG=1")


def test_a_long_start_asks_for_more_time_until_it_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(systemd, "_ASK_SECONDS", 0.02)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        with asking_for_time():
            assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=60000"
            assert manager.recv(100) == b"EXTEND_TIMEOUT_USEC=60000"
        manager.settimeout(0.2)
        with pytest.raises(TimeoutError):
            _read_on(manager)


def test_its_thread_has_ended_for_the_kernel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Until then it has the capabilities that the process has given up, and is told of as one that keeps them."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    for _ in range(300):
        with asking_for_time():
            (asking,) = (thread for thread in threading.enumerate() if thread.name == "asking-for-time")
        assert not Path(f"/proc/self/task/{asking.native_id}").exists()


def test_a_start_that_hangs_asks_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(systemd, "_ASK_SECONDS", 0.01)
    monkeypatch.setattr(systemd, "_MOST_SECONDS", 0.1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, asking_for_time():
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            _read_on(manager)


def _read_on(manager: socket.socket) -> None:
    while manager.recv(100):
        pass


def test_a_service_manager_that_does_not_listen_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
            other.settimeout(0)
            while True:
                other.sendto(b"WATCHDOG=1", str(tmp_path / "notify"))
        watch = Stopwatch()
        notify("READY=1")
        assert watch.unhindered < 2
