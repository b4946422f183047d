# SPDX-License-Identifier: Apache-2.0
"""Two commands that set this host up at once, as units do at boot, do not lose what the other has noted."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import pytest

from xdplb.model.errors import PlatformError
from xdplb.model.vip import Forward
from xdplb.net import backend_host, host_lock
from xdplb.net.backend_needs import Need, Way
from xdplb.net.setup_log import HostSetup, SetupLog
from xdplb.net.tunnel_settings import Decap
from xdplb.net.undo_log import UndoLog

ONE, TWO = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11")
NO_DECAP = cast("Decap", None)  # DR needs none


@dataclass
class Fake:
    """A setting of the host; `during` is called while it is written."""

    key: str
    during: Callable[[], None] = lambda: None
    value: str = field(default="0")

    def read(self) -> str:
        return self.value

    def write(self, value: str) -> None:
        self.during()
        self.value = value

    def sentence(self, value: str) -> str:
        return f"{self.key} is {value}"


def setup(vip: IPv4Address, folder: Path) -> None:
    backend_host.setup(vip, HostSetup(Forward.DR, "lo"), decap=NO_DECAP, state_dir=folder)


def test_two_setups_at_once_lose_nothing_that_is_to_be_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = threading.Thread(target=setup, args=(TWO, tmp_path))

    def meanwhile() -> None:
        other.start()
        other.join(0.3)  # without the lock it ends here, and the second note for ONE writes over its own

    settings = {ONE: [Fake("a", meanwhile), Fake("b")], TWO: [Fake("c")]}

    def needs(way: Way, decap: Decap) -> list[Need]:
        assert isinstance(way.vip, IPv4Address)
        return [Need(setting, lambda value: value == "1", "1", "why") for setting in settings[way.vip]]

    monkeypatch.setattr(backend_host, "needs", needs)
    setup(ONE, tmp_path)
    other.join()
    noted = {vip: [entry.key for entry in UndoLog(tmp_path).of(vip)] for vip in (ONE, TWO)}
    assert noted == {ONE: ["b", "a"], TWO: ["c"]}
    assert all(SetupLog(tmp_path).of(vip) for vip in (ONE, TWO))


def undo(vip: IPv4Address, folder: Path) -> None:
    backend_host.undo(vip, decap=NO_DECAP, state_dir=folder)


@pytest.mark.parametrize("command", [setup, undo])
def test_one_that_hangs_is_named_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[[IPv4Address, Path], None]
) -> None:
    monkeypatch.setattr(host_lock, "PATIENCE_SECONDS", 0.1)
    with (tmp_path / "backend-host.lock").open("w") as held:
        (tmp_path / "backend-host.lock").chmod(0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PlatformError, match="another xdplb backend-host") as told:
            command(ONE, tmp_path)
    assert "fuser" in (told.value.hint or "")
