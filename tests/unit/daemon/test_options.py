"""What `xdplb up` was asked for."""

from __future__ import annotations

import pytest

from xdplb.daemon import options
from xdplb.daemon.options import DaemonOptions, capacity, require_host
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import PlatformError


def test_without_any_capacity_the_pinned_one_stays():
    assert capacity(vips=None, backends=None, flows=None) is None


def test_what_is_not_given_of_a_capacity_has_its_default():
    assert capacity(vips=7, backends=None, flows=None) == Capacity(vips=7)


def asked(tmp_path, *interfaces: str) -> DaemonOptions:
    return DaemonOptions(interfaces, "auto", "unix:/run/x", tmp_path / "state", tmp_path / "pins")


def test_the_host_is_refused_for_a_nic_without_ethernet_frames(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(options, "require_privileges", lambda _doing: None)
    with pytest.raises(PlatformError, match="lo is not an Ethernet interface"):
        require_host(asked(tmp_path, "lo"))


def test_a_nic_that_does_not_exist_is_left_to_the_loader(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(options, "require_privileges", lambda _doing: None)
    require_host(asked(tmp_path, "nosuch0"))


def test_privileges_are_checked_first(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xdplb.daemon.privileges.missing_capabilities", lambda: ["CAP_BPF"])
    with pytest.raises(PlatformError, match="attaching to a NIC needs root"):
        require_host(asked(tmp_path, "lo"))
