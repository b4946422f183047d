# SPDX-License-Identifier: Apache-2.0
"""What `xdplb up` was asked for."""

from __future__ import annotations

import pytest

from xdplb.daemon import options
from xdplb.daemon.options import ApiOptions, DaemonOptions, require_host
from xdplb.model.errors import PlatformError


def asked(tmp_path, *interfaces: str) -> DaemonOptions:
    return DaemonOptions(interfaces, "auto", ApiOptions(("unix:/run/x",)), tmp_path / "state", tmp_path / "pins")


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
