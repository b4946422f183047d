# SPDX-License-Identifier: Apache-2.0
"""Data planes of both kinds, the API, and a daemon to run commands against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.dataplane.plane import Capacity, DataPlane

from .api_harness import BACKENDS, Api, running_api
from .api_harness import WEB as VIP
from .cli_harness import WEB, Daemon, running_daemon
from .planes import ALL_FEATURES, KINDS, Kit, make_kit

WIDE = Capacity(vips=300, backends=8, flows=64)


@pytest.fixture(params=KINDS)
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A plane with all features."""
    with make_kit(request.param, ALL_FEATURES) as made:
        yield made


@pytest.fixture(params=KINDS)
def plain(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane without any feature."""
    with make_kit(request.param, frozenset()) as made:
        yield made.plane


@pytest.fixture
def plane(kit: Kit) -> DataPlane:
    return kit.plane


@pytest.fixture(params=KINDS)
def wide(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane with all features, and with more VIPs than some features support."""
    with make_kit(request.param, ALL_FEATURES, WIDE) as made:
        yield made.plane


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """The API with a VIP and a backend, for the tests of a file. Files that need another one have a fixture for it."""
    with running_api() as api:
        api.add("/v1/vips", VIP)
        api.add(BACKENDS, {"address": "10.0.0.11"})
        yield api


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for the tests of a file."""
    with running_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """A daemon without VIPs."""
    yield shared
    for line in shared.ok("vip", "ls").stdout.splitlines()[1:]:
        shared.ok("vip", "rm", line.split()[0])


@pytest.fixture
def web(daemon: Daemon) -> Daemon:
    """A daemon with a VIP called web and two backends."""
    daemon.ok("vip", "add", WEB, "--name", "web")
    daemon.ok("backend", "add", "web", "10.0.0.1", "--weight", "3")
    daemon.ok("backend", "add", "web", "10.0.0.2")
    return daemon
