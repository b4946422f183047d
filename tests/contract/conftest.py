"""Data planes of both kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.dataplane.plane import Capacity, DataPlane

from .planes import ALL_FEATURES, KINDS, Kit, make_kit

WIDE = Capacity(vips=300, backends=8, flows=64)


@pytest.fixture(params=KINDS)
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """A plane with all features."""
    with make_kit(request.param, ALL_FEATURES) as made:
        yield made


@pytest.fixture(params=KINDS)
def plain(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane with no feature yet."""
    with make_kit(request.param, frozenset()) as made:
        yield made.plane


@pytest.fixture
def plane(kit: Kit) -> DataPlane:
    return kit.plane


@pytest.fixture(params=KINDS)
def wide(request: pytest.FixtureRequest) -> Iterator[DataPlane]:
    """A plane with all features and room for more VIPs than some things take."""
    with make_kit(request.param, ALL_FEATURES, WIDE) as made:
        yield made.plane
