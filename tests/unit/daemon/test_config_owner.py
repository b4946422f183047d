# SPDX-License-Identifier: Apache-2.0
"""A config file that is taken while the data plane fails: it is saved, and retried as any change is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, run_in, with_backends
from xdplb.config.faults import ConfigError
from xdplb.control.events import ConfigRefused, ConfigTaken, Event
from xdplb.control.state.snapshot import Snapshot
from xdplb.daemon.config_owner import ConfigOwner
from xdplb.dataplane.plane import Capacity
from xdplb.model.errors import CapacityError, PendingError, PlatformError

TEXT = """
[[vips]]
address = "203.0.113.10"
port = 443
protocol = "tcp"
name = "web"
{more}
[[vips.backends]]
address = "10.0.0.1"

[[vips.backends]]
address = "10.0.0.{last}"
"""


def test_a_start_goes_on_though_the_data_plane_does_not_have_it_yet(tmp_path: Path) -> None:
    world, file = World(tmp_path), tmp_path / "xdplb.toml"
    file.write_text(TEXT.format(more="", last=3))
    owner = ConfigOwner(file)
    owner.read()

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        events: list[Event] = []
        door.manager.events.listen(events.append)
        assert owner.foresee(Snapshot(), Capacity()).vips.keys() == {WEB.key}
        with pytest.raises(
            CapacityError, match="this needs 2 backends, and there is room for 1"
        ):  # before anything is attached
            owner.foresee(Snapshot(), Capacity(backends=1))
        world.plane.fail("write_table", PlatformError("no memory"), times=1)
        await owner.start(door.manager)
        [taken] = [event for event in events if isinstance(event, ConfigTaken)]
        assert (taken.changed, taken.removed, taken.actor.file) == (1, (), str(file))
        assert [str(one.backend.address) for one in door.backends("web")] == ["10.0.0.1", "10.0.0.3"]
        await until(lambda: door.status().observed_generation == door.status().generation)

    run_in(world, scenario)


def test_a_reload_that_is_saved_is_not_called_refused(tmp_path: Path) -> None:
    world, file = World(tmp_path), tmp_path / "xdplb.toml"

    async def scenario(door: Door) -> None:
        await with_backends(door, 1, 2)
        events: list[Event] = []
        door.manager.events.listen(events.append)
        owner = ConfigOwner(file)
        world.plane.fail("write_table", PlatformError("no memory"), times=1)
        file.write_text(TEXT.format(more="", last=3))
        with pytest.raises(PendingError):
            await owner.reload(door.manager)
        assert door.status().config.error == ""
        file.write_text(TEXT.format(more="quic = 5", last=4))
        with pytest.raises(ConfigError, match=r"xdplb\.toml:7:8: quic should be an object"):
            await owner.reload(door.manager)
        assert [type(event) for event in events if isinstance(event, ConfigTaken | ConfigRefused)] == [
            ConfigTaken,
            ConfigRefused,
        ]
        assert "quic should be an object" in door.status().config.error

    run_in(world, scenario)


def test_what_only_the_daemon_can_see_is_refused_with_its_line(tmp_path: Path) -> None:
    world, file = World(tmp_path, Capacity(vips=8, backends=64)), tmp_path / "xdplb.toml"
    vips = "".join(
        TEXT.format(more="", last=2).replace("443", str(port)).replace('name = "web"', "") for port in range(1, 20)
    )
    file.write_text(vips)

    async def scenario(door: Door) -> None:
        generation = door.status().generation
        with pytest.raises(CapacityError, match="room"):
            await ConfigOwner(file).reload(door.manager)
        assert door.status().generation == generation
        assert "room" in door.status().config.error

    run_in(world, scenario)
