# SPDX-License-Identifier: Apache-2.0
"""Captures over a data plane in memory: one at a time, what they take, what their file says, and how they end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest
from scapy.utils import PcapNgReader

from tests.fakes import until
from tests.unit.control.door import Door
from tests.unit.control.world import WEB, World, backend, run, with_backends
from xdplb.control.capture.capturer import RunningCapture
from xdplb.control.capture.wanted import CaptureRequest
from xdplb.dataplane.decisions import CapturedFrame, CapturedPacket, Chosen, KernelDecision
from xdplb.dataplane.features import Feature
from xdplb.dataplane.layout import SLOT_PINNED
from xdplb.dataplane.plane import Attachment
from xdplb.model.backend import Health
from xdplb.model.errors import ConflictError, InvalidError, NotFoundError, PlatformError
from xdplb.model.health import CheckType, HealthCheck
from xdplb.model.vip import Vip, VipKey

TX, DROP, PASS = 3, 1, 2
ALL = CaptureRequest()
OTHER = Vip(VipKey.parse("203.0.113.11:443/tcp"))


def packet(
    *, reason: str | None = None, left: int | None = None, port: int = 443, source_port: int = 40000, **decided: Any
) -> CapturedPacket:
    """Return a packet that came in by eth0 and, where it is said, left by the NIC `left`."""
    decided.setdefault("verdict", TX if left else DROP)
    came = CapturedFrame(1000, 2, 300, b"\xaa" * 61)
    gone = None if left is None else CapturedFrame(2500, left, 320, b"\xbb" * 81)
    return CapturedPacket(came, gone, source_port, port, KernelDecision(frame=b"", reason=reason, **decided))


def sent(backend_id: int, **decided: Any) -> CapturedPacket:
    return packet(left=2, vip_id=0, backend_id=backend_id, slot=4711, owner=backend_id, previous=0, **decided)


DENIED = packet(reason="drop_denied", vip_id=0)
ECHO = packet(reason="answer_echo", left=2, port=0)
NO_VIP = packet(reason="pass_no_vip", verdict=PASS, port=80)


async def gathered(running: RunningCapture) -> bytes:
    try:
        return b"".join([block async for block in running.blocks()])
    finally:
        await running.close()


async def captured(
    world: World, manager: Door, request: CaptureRequest, *packets: CapturedPacket, lost: int = 0
) -> bytes:
    """Return the file of a capture that saw these packets."""
    running = await manager.capturer.start(request)
    assert world.plane.capture is not None
    world.plane.capture.lost = lost
    world.plane.capture.packets = list(packets)
    reading = asyncio.create_task(gathered(running))
    capture = world.plane.capture
    await until(lambda: not capture.packets)
    running.end()
    return await reading


def read(file: bytes) -> list[Any]:
    return list(PcapNgReader(io.BytesIO(file)))


def comments(file: bytes) -> list[str]:
    return [each.comments[0].decode() for each in read(file)]


def test_a_file_has_each_packet_as_it_came_and_as_it_left_with_the_decision(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        frames = read(await captured(world, manager, ALL, sent(1), DENIED))
        assert [bytes(each) for each in frames] == [b"\xaa" * 61, b"\xbb" * 81, b"\xaa" * 61]
        assert [each.wirelen for each in frames] == [300, 320, 300]
        assert [each.direction for each in frames] == [1, 2, 1]
        assert [each.sniffed_on for each in frames] == ["eth0"] * 3
        assert (frames[1].time - frames[0].time) * 10**9 == 1500
        assert [each.comments[0].decode() for each in frames] == [
            *["sent to 10.0.0.1 by dr, slot 4711 steady, out of eth0, for 203.0.113.10:443/tcp"] * 2,
            "dropped (denied): the VIP's access list denies the source, for 203.0.113.10:443/tcp",
        ]

    run(tmp_path, scenario)


def test_a_capture_without_packets_is_a_file_that_names_the_nics(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        world.plane.attached.append(Attachment("eth1", 3, "native", 1))
        file = await captured(world, manager, ALL)
        assert read(file) == []
        for text in (b"eth0", b"as it came in by eth0", b"as it left by eth0", b"xdplb "):
            assert text in file

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("decided", "said"),
    [
        ({"previous": 2}, "moving from 10.0.0.2 to 10.0.0.1"),
        ({"previous": 2, "chosen": Chosen.PREVIOUS, "backend_id": 2}, "chosen as its slot's previous owner"),
        ({"previous": SLOT_PINNED, "chosen": Chosen.RECORD}, "slot 4711 pinned to 10.0.0.1"),
        ({"chosen": Chosen.RECORD}, "chosen by its flow's record"),
        ({"chosen": Chosen.QUIC}, "QUIC connection ID"),
        ({"chosen": Chosen.FRAGMENT, "slot": None}, "first fragment"),
        ({"is_new": True}, "a new flow"),
        ({"is_at_risk": True}, "at risk"),
        ({"backend_id": 9}, "sent to a backend that is gone"),
        ({"vip_id": 9}, "for a VIP that is gone"),
        ({"reason": "drop_no_backend", "owner": None, "backend_id": None}, "dropped (no_backend)"),
        ({"reason": "answer_echo", "slot": None, "vip_id": None}, "answered (echo)"),
    ],
)
def test_a_decision_is_told(tmp_path: Path, decided: dict[str, Any], said: str) -> None:
    base: dict[str, Any] = {"vip_id": 0, "backend_id": 1, "slot": 4711, "owner": 1, "previous": 0, "left": 2}

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        for told in comments(await captured(world, manager, ALL, packet(**{**base, **decided}))):
            assert said in told

    run(tmp_path, scenario)


@pytest.mark.parametrize("request_", [ALL, CaptureRequest(vip="web")])
def test_a_packet_that_is_read_late_names_the_vip_it_was_for(tmp_path: Path, request_: CaptureRequest) -> None:
    """Its VIP came after the reader began to wait, or went before the packet was read."""

    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        running = await manager.capturer.start(request_)
        capture, is_waiting, is_there = world.plane.capture, Event(), Event()
        assert capture is not None

        def wait_for_it(seconds: float) -> list[CapturedPacket]:
            is_waiting.set()
            assert is_there.wait(5)
            is_there.clear()
            running.end()
            return [packet(reason="drop_no_backend", vip_id=vip_id) for vip_id in (0, 1)]

        with patch.object(capture, "poll", wait_for_it):
            reading = asyncio.create_task(gathered(running))
            await until(is_waiting.is_set)
            await manager.create_vip(OTHER)
            await manager.delete_vip("web")
            is_there.set()
            told = comments(await reading)
        keys = [WEB.key] if request_.vip else [WEB.key, OTHER.key]
        assert [text.partition(", for ")[2] for text in told] == [str(key) for key in keys]

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("request_", "taken"),
    [
        (ALL, "sdo.e"),
        (CaptureRequest(vip="web"), "sd..e"),
        (CaptureRequest(client="192.0.2.0/24"), "sdope"),
        (CaptureRequest(client="192.0.2.7:41000"), "..o.."),
        (CaptureRequest(vip="203.0.113.10:443:tcp", client="192.0.2.7:40000"), "sd..e"),
    ],
)
def test_what_a_capture_takes(tmp_path: Path, request_: CaptureRequest, taken: str) -> None:
    packets = {
        "s": sent(1),
        "d": DENIED,
        "o": packet(reason="drop_denied", vip_id=1, source_port=41000),
        "p": NO_VIP,
        "e": ECHO,
    }

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        file = await captured(world, manager, request_, *packets.values())
        expected = [each for name, each in packets.items() if name in taken]
        assert len(read(file)) == sum(1 + (each.left is not None) for each in expected)

    run(tmp_path, scenario)


def test_what_the_program_is_asked_for(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        running = await manager.capturer.start(
            CaptureRequest(vip="web", client="192.0.2.7:40000", sample=10, snap_bytes=64)
        )
        assert world.plane.capture is not None
        wanted = world.plane.capture.wanted
        assert (str(wanted.source), str(wanted.destination)) == ("192.0.2.7/32", "203.0.113.10/32")
        assert (wanted.one_in, wanted.snap_bytes) == (10, 64)
        await running.close()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("request_", "kind", "told"),
    [
        (CaptureRequest(vip="wbe"), NotFoundError, "did you mean web"),
        (CaptureRequest(client="nobody"), InvalidError, "192.0.2.0/24"),
        (CaptureRequest(client="192.0.2.7/24"), InvalidError, "the prefix is 192.0.2.0/24"),
        (CaptureRequest(client="192.0.2.7:0"), InvalidError, "port 0"),
        (CaptureRequest(client="192.0.2.7:70000"), InvalidError, "70000"),
        (CaptureRequest(client="[2001:db8::9]:x"), InvalidError, "'x' is not a port"),
        (CaptureRequest(vip="web", client="2001:db8::9"), InvalidError, "IPv6"),
        (CaptureRequest(client="203.0.113.10:443"), InvalidError, "name the VIP: 203.0.113.10:443/tcp"),
    ],
)
def test_what_cannot_be_captured_is_refused_with_nothing_begun(
    tmp_path: Path, request_: CaptureRequest, kind: type[Exception], told: str
) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await manager.create_vip(WEB)
        with pytest.raises(kind, match=told):
            await manager.capturer.start(request_)
        assert "start_capture" not in world.plane.calls
        assert read(await captured(world, manager, ALL)) == []

    run(tmp_path, scenario)


def test_there_is_one_at_a_time_and_the_program_goes_back_to_what_it_was(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        before = world.plane.features
        running = await manager.capturer.start(ALL)
        assert manager.dataplane().features == before | {Feature.CAPTURE}
        with pytest.raises(ConflictError, match="only one can run at a time"):
            await manager.capturer.start(ALL)
        await asyncio.gather(running.close(), running.close())
        assert (world.plane.features, manager.dataplane().features) == (before, before)
        again = await manager.capturer.start(ALL)
        await running.close()
        assert world.plane.capture is not None, "the first one's end is not the second one's"
        ending = asyncio.create_task(again.close())
        await asyncio.sleep(0)
        await (await manager.capturer.start(ALL)).close()
        await ending

    run(tmp_path, scenario)


def test_a_capture_ends_after_so_many_packets_or_seconds(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        running = await manager.capturer.start(CaptureRequest(packets=2))
        assert world.plane.capture is not None
        world.plane.capture.packets = [sent(1)] * 5
        assert len(read(await asyncio.wait_for(gathered(running), 10))) == 4
        running = await manager.capturer.start(CaptureRequest(seconds=0.05))
        assert read(await asyncio.wait_for(gathered(running), 10)) == []

    run(tmp_path, scenario)


def test_lost_frames_are_told(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1)
        file = await captured(world, manager, ALL, sent(1), lost=77)
        assert len(read(file)) == 2
        assert file.count((77).to_bytes(8, "little")) == 1

    run(tmp_path, scenario)


def test_changes_go_on_meanwhile_and_a_new_vip_s_packets_have_its_name(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        running = await manager.capturer.start(ALL)
        blocks: AsyncIterator[bytes] = running.blocks()
        file = await anext(blocks)
        await with_backends(manager, 1)
        await manager.patch_backend("web", "10.0.0.1", {"weight": 7})
        assert world.plane.capture is not None
        world.plane.capture.packets = [sent(1)]
        file += await asyncio.wait_for(anext(blocks), 10)
        assert "for 203.0.113.10:443/tcp" in comments(file)[0]
        await running.close()

    run(tmp_path, scenario)


def test_a_capture_ends_with_whoever_asked_and_with_the_daemon(tmp_path: Path) -> None:
    async def cut(world: World, manager: Door) -> None:
        running = await manager.capturer.start(ALL)
        reading = asyncio.create_task(gathered(running))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: world.plane.capture is None)

    async def left_open(world: World, manager: Door) -> None:
        await manager.capturer.start(ALL)

    async def asked_while_it_begins(world: World, manager: Door) -> None:
        assert world.plane.capture is None, "the manager before this one has ended its capture"
        asking = asyncio.create_task(manager.capturer.start(ALL))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: world.plane.capture is None and Feature.CAPTURE not in world.plane.features)
        await (await manager.capturer.start(ALL)).close()

    run(tmp_path, cut, left_open, asked_while_it_begins)


def test_a_program_that_cannot_be_loaded_is_a_refusal_and_one_that_cannot_go_back_does_no_harm(tmp_path: Path) -> None:
    async def scenario(world: World, manager: Door) -> None:
        world.plane.fail("start_capture", PlatformError("the verifier refuses it"))
        with pytest.raises(PlatformError, match="verifier"):
            await manager.capturer.start(ALL)
        world.plane.fail("stop_capture", PlatformError("no memory"))
        await (await manager.capturer.start(ALL)).close()
        assert Feature.CAPTURE in manager.dataplane().features
        await (await manager.capturer.start(ALL)).close()
        assert Feature.CAPTURE not in manager.dataplane().features
        await manager.create_backend(str((await with_backends(manager)).vip.key), backend(1))

    run(tmp_path, scenario)


def test_changes_and_flips_do_not_wait_while_a_capture_starts_or_ends(tmp_path: Path) -> None:
    async def meanwhile(world: World, manager: Door, weight: int, health: Health) -> None:
        """Change a weight and flip a backend, both to be seen in the maps at once."""
        async with asyncio.timeout(5):
            await manager.patch_backend("web", "10.0.0.2", {"weight": weight})
            world.health.flip("10.0.0.1", health)
            usable = health is Health.UP
            await until(lambda: world.plane.read_backends()[1].usable is usable)

    async def scenario(world: World, manager: Door) -> None:
        await with_backends(manager, 1, 2)
        await manager.put_health_check("web", HealthCheck(type=CheckType.TCP))
        for address in ("10.0.0.1", "10.0.0.2"):
            world.health.flip(address, Health.UP)
        starts, ends = world.plane.start_capture, world.plane.stop_capture
        is_compiling, is_compiled = Event(), Event()

        def compiles(then: Callable[..., Any]) -> Callable[..., Any]:
            def work(*arguments: Any) -> Any:
                is_compiling.set()
                assert is_compiled.wait(10)
                return then(*arguments)

            return work

        with (
            patch.object(world.plane, "start_capture", compiles(starts)),
            patch.object(world.plane, "stop_capture", compiles(ends)),
        ):
            starting = asyncio.create_task(manager.capturer.start(ALL))
            await until(is_compiling.is_set)
            await meanwhile(world, manager, 5, Health.DOWN)
            assert not starting.done()
            is_compiled.set()
            running = await starting
            is_compiling.clear()
            is_compiled.clear()
            ending = asyncio.create_task(running.close())
            await until(is_compiling.is_set)
            await meanwhile(world, manager, 6, Health.UP)
            assert not ending.done()
            is_compiled.set()
            await ending

    run(tmp_path, scenario)
