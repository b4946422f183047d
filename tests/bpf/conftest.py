# SPDX-License-Identifier: Apache-2.0
"""The programs, compiled and loaded by bcc once a run, in a pin dir of this run's own that goes with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bpf.balancer import Balancer
from tests.bpf.decapsulator import Decapsulator
from xdplb.dataplane.bcc_plane import BccPlane
from xdplb.dataplane.compile import compile_program
from xdplb.dataplane.features import Feature
from xdplb.dataplane.pinned_maps import Maps
from xdplb.dataplane.plane import Capacity
from xdplb.dataplane.source import compile_flags, flatten, source_dir

FEATURES = frozenset(Feature) - {Feature.CAPTURE}
CAPACITY = Capacity(vips=64, backends=256, flows=4096)


@pytest.fixture(scope="session")
def pin_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bpffs of this run's own, with all that is pinned in it gone afterwards."""
    path = tmp_path_factory.mktemp("bpffs")
    subprocess.run(["mount", "-t", "bpf", "bpf", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture(scope="session")
def loaded_balancer(pin_dir: Path) -> Balancer:
    """The balancer's program for all there is to do, with maps of its own, on no NIC."""
    plane = BccPlane(Maps.create(pin_dir, CAPACITY, FEATURES))
    return Balancer(plane, plane.compile_for(FEATURES))


@pytest.fixture
def balancer(loaded_balancer: Balancer) -> Balancer:
    """The balancer without VIPs, backends, flows and counts."""
    loaded_balancer.clear()
    return loaded_balancer


@pytest.fixture(scope="session")
def loaded_decapsulator(pin_dir: Path) -> Decapsulator:
    """The backends' program with maps of its own, on no NIC."""
    folder = pin_dir / "decap"
    folder.mkdir()
    compile_program(flatten(source_dir() / "decap.c"), compile_flags(folder), {"decap": folder / "decap_program"})
    return Decapsulator(folder)


@pytest.fixture
def decapsulator(loaded_decapsulator: Decapsulator) -> Decapsulator:
    """The backends' program with counters at zero."""
    loaded_decapsulator.clear()
    return loaded_decapsulator
