# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for what the control plane talks to: next hops, checks, and a data plane that fails on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from selectors import DefaultSelector, SelectorKey
from typing import Any, TypeVar

from xdplb.control.clock import SteadyClock
from xdplb.control.events import Events
from xdplb.control.health.alarms import Alarms
from xdplb.control.health.health_source import (
    CheckTarget,
    CheckTargets,
    OnDoubt,
    OnFlip,
    OnSaid,
    OnSilence,
    SourceOf,
)
from xdplb.control.health.prober import OnBroken
from xdplb.control.health.probes.aim import Aim, Step, Steps
from xdplb.control.health.probes.result import NOT_RUN, AgentWord, OnResult, ProbeResult
from xdplb.control.health.standing import NO_CHECKS, Standing
from xdplb.control.health.tally import CheckTally
from xdplb.control.plan.sources import Source
from xdplb.control.writing.drifts import Drifts
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.check_type import CheckType
from xdplb.model.durations import Durations, Taken
from xdplb.model.health import HealthCheck
from xdplb.model.host import NO_HOST, Host, OwnSocket
from xdplb.model.next_hop import ClientWay, NeighbourEdit, NextHop, Resolution
from xdplb.model.nic import NicLink
from xdplb.net.icmp_errors import OnError
from xdplb.net.icmp_message import IcmpError
from xdplb.net.next_hops import OnChange, OnEdits

__all__ = [
    "FakeClock",
    "FakeHealth",
    "FakeIcmpErrors",
    "FakeNextHops",
    "TaskProber",
    "new_drifts",
    "next_hop",
    "run_in_simulated_time",
    "until",
]

T = TypeVar("T")


def next_hop(address: IPAddress, *, gateway: str | None = None) -> NextHop:
    """Return a next hop whose MAC follows from the address."""
    return NextHop(
        destination_mac=b"\x02\x00" + address.packed[-4:],
        source_mac=b"\x02\x01\x00\x00\x00\x01",
        interface="eth0",
        ifindex=2,
        mtu=1500,
        source=ip_address("192.0.2.254" if address.version == 4 else "2001:db8:ffff::254"),
        gateway=None if gateway is None else ip_address(gateway),
    )


def new_drifts() -> Drifts:
    """Return a book of drift that nobody reads."""
    return Drifts(Events(), time.monotonic, SteadyClock().now)


class FakeNextHops:
    """Every address is on the segment unless a test says otherwise."""

    def __init__(self) -> None:
        self.watched: frozenset[IPAddress] = frozenset()
        self.with_vlans: frozenset[str] = frozenset()
        self.ways: dict[int, ClientWay] = {}
        self.watches_clients = False
        self.own = NO_HOST
        self.own_sockets: list[OwnSocket] = []
        self.avoided: frozenset[IPAddress] = frozenset()
        self.interfaces = {"eth0": NicLink("eth0", 2, 1500, up=True, carrier=True, ethernet=True)}
        self.doubted: list[tuple[str, bool]] = []
        self._answers: dict[IPAddress, Resolution] = {}
        self._on_change: OnChange | None = None
        self._on_edits: OnEdits | None = None

    async def start(self, on_change: OnChange, on_edits: OnEdits) -> None:
        self._on_change, self._on_edits = on_change, on_edits

    async def stop(self) -> None:
        self._on_change = None

    def ask(self, answer: Callable[[], None]) -> None:
        answer()

    def watch(self, addresses: frozenset[IPAddress]) -> None:
        self.watched = addresses

    def watch_clients(self, *, wanted: bool) -> None:
        self.watches_clients = wanted

    def client_ways(self) -> Mapping[int, ClientWay] | None:
        return self.ways if self.watches_clients else None

    def lead_clients(self, ways: Mapping[int, ClientWay]) -> None:
        """Let these be the ways to nearly all clients, and tell whoever listens."""
        self.ways = dict(ways)
        self._tell()

    def vlan_nics(self) -> frozenset[str]:
        return self.with_vlans

    def links(self) -> Mapping[str, NicLink]:
        return dict(self.interfaces)

    def set_link(self, name: str, **changes: Any) -> None:
        """Make an interface, up and with a carrier, or change what there is of it, and tell whoever listens."""
        known = self.interfaces.get(name) or NicLink(name, 2, 1500, up=True, carrier=True, ethernet=True)
        self.interfaces[name] = replace(known, **changes)
        self._tell()

    def doubt(self, address: IPAddress, first: bool) -> None:
        self.doubted.append((str(address), first))

    def carry_vlans(self, *nics: str) -> None:
        """Let VLAN devices stand on these NICs."""
        self.with_vlans = frozenset(nics)
        self._tell()

    def avoid(self, addresses: frozenset[IPAddress]) -> None:
        self.avoided = addresses

    def host(self) -> Host:
        return self.own

    def sockets(self) -> Sequence[OwnSocket]:
        return self.own_sockets

    def own_addresses(self, host: Host) -> None:
        """Let the host have these addresses from now on."""
        self.own = host
        self._tell()

    def lookup(self, address: IPAddress) -> Resolution:
        return self._answers.get(address) or Resolution(next_hop(address))

    def known(self) -> Mapping[IPAddress, Resolution]:
        return LookedUp(self)

    def edit(self, *edits: NeighbourEdit) -> None:
        """Let another process have done this to neighbour entries."""
        assert self._on_edits is not None, "not started"
        self._on_edits(edits)

    def set(self, address: str, resolution: Resolution | None) -> None:
        """Make `address` resolve to this from now on (None: on the segment), and tell whoever listens."""
        key = ip_address(address)
        self._answers[key] = resolution or Resolution(next_hop(key))
        self._tell(key)

    def lose(self, *addresses: str) -> None:
        """Make these unresolvable, all at once."""
        keys = [ip_address(address) for address in addresses]
        self._answers |= {key: Resolution(None, f"{key} does not answer ARP on eth0") for key in keys}
        self._tell(*keys)

    def _tell(self, *keys: IPAddress) -> None:
        if self._on_change is not None:
            self._on_change(frozenset(keys))


class LookedUp(dict[IPAddress, Resolution]):
    """What fake next hops answer, each once."""

    def __init__(self, hops: FakeNextHops) -> None:
        super().__init__()
        self._hops = hops

    def __missing__(self, address: IPAddress) -> Resolution:
        return self.setdefault(address, self._hops.lookup(address))

    def get(self, address: IPAddress, default: object = None) -> Any:
        return self[address]


class ProbingTask:
    """A probe of a `TaskProber`."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cut(self) -> None:
        self._task.cancel()


class TaskProber:
    """Runs a coroutine of a test for each probe."""

    is_behind = False

    def __init__(self, probe: Callable[[HealthCheck, str, int], Coroutine[Any, Any, ProbeResult]]) -> None:
        self._probe = probe
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, alarms: Alarms, on_broken: OnBroken) -> None:
        self._on_broken = on_broken

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def begin(self, aim: Aim, source: Source, on_result: OnResult) -> ProbingTask:
        async def run() -> None:
            try:
                result = await self._probe(aim.check, aim.host, aim.port)
            except Exception as error:
                self._on_broken(aim, error)
                result = ProbeResult(None, f"{NOT_RUN}: {error!r}", 0.0, starved=True)
            on_result(result)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ProbingTask(task)


class FakeHealth:
    """A health source in which a test decides what the checks find."""

    runs_commands = True

    def __init__(self) -> None:
        self.targets: dict[int, tuple[CheckTarget, ...]] = {}
        self._tallies: dict[int, tuple[CheckTally, ...]] = {}
        self.rechecked: list[str] = []
        self.hurried: list[str] = []
        self._on_flip: OnFlip | None = None
        self._on_silence: OnSilence | None = None
        self._on_doubt: OnDoubt | None = None
        self._on_said: OnSaid | None = None
        self.source_of: SourceOf | None = None
        self.stands = NO_CHECKS
        """How the checks stand, for a test to set."""
        self.latency = Durations()
        """How long TCP checks took, for a test to note."""

    async def start(
        self,
        on_flip: OnFlip,
        events: Events,
        on_silence: OnSilence | None = None,
        source_of: SourceOf | None = None,
        on_doubt: OnDoubt | None = None,
        *,
        on_said: OnSaid | None = None,
    ) -> None:
        self._on_flip, self._on_silence, self.source_of = on_flip, on_silence, source_of
        self._on_doubt, self._on_said = on_doubt, on_said

    async def stop(self) -> None:
        self._on_flip = None

    def watch(self, targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        self.change(self.targets.keys() - targets.keys(), targets, known)

    def change(self, gone: Iterable[int], targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        for backend_id in gone:
            del self.targets[backend_id]
        for backend_id, target in targets.items():
            before = self.targets.get(backend_id)
            if before is None or before[0].epoch != target[0].epoch or len(before) != len(target):
                self._tallies[backend_id] = (CheckTally(),) * len(target)
            self.targets[backend_id] = target

    def recheck(self, backend_ids: Iterable[int]) -> None:
        self.rechecked += self._addresses(backend_ids)

    def hurry(self, backend_ids: Iterable[int]) -> None:
        self.hurried += self._addresses(backend_ids)

    def tallies_of(self, backend_id: int) -> tuple[CheckTally, ...]:
        return self._tallies[backend_id] if backend_id in self.targets else ()

    def tallies(self) -> Mapping[int, tuple[CheckTally, ...]]:
        return {backend_id: self._tallies[backend_id] for backend_id in list(self.targets)}

    def latencies(self) -> Mapping[CheckType, Taken]:
        return {CheckType.TCP: self.latency.taken}

    def targets_of(self, backend_id: int) -> tuple[CheckTarget, ...]:
        return self.targets.get(backend_id, ())

    def probe(self, backend_id: int, target: CheckTarget, steps: Steps, on_result: OnResult) -> None:
        """Answer with the last result of the backend's checks, in two steps."""
        last = self._tallies[backend_id][0].last
        steps.done += [Step("connect", 0.001, "to the fake"), Step("answer", 0.002, "")]
        on_result(last or ProbeResult(passed=True, reason="so says the fake", seconds=0.002))

    def standing(self) -> Standing:
        return self.stands

    def silence(self, address: str, *, first: bool = True) -> None:
        """Let a check of this address fail without anything that came back."""
        assert self._on_silence is not None, "not started"
        self._on_silence(ip_address(address), first)

    def result(self, address: str, *, passed: bool | None, reason: str) -> None:
        """Let the checks of this address have this result, which does not change its health."""
        for backend_id in self._at(address):
            result = ProbeResult(passed, reason, 0.001)
            tally = CheckTally(datetime.now(UTC), result, streak=-1 if passed is False else int(passed or 0))
            self._tallies[backend_id] = (tally,) * len(self.targets[backend_id])
            if self._on_doubt is not None:
                self._on_doubt([backend_id])

    def found(self, address: str, *tallies: CheckTally) -> None:
        """Let the checks of this address have found this, which changes no health."""
        self._tallies.update(dict.fromkeys(self._at(address), tallies))

    def flip(self, address: str, health: Health, reason: str = "so says the test") -> None:
        """Change the health of every checked backend with this address."""
        found = self._at(address)
        result = ProbeResult(health is Health.UP, reason, 0.001)
        for number in found:
            self._tallies[number] = (CheckTally(datetime.now(UTC), result),) * len(self.targets[number])
        assert not found or self._on_flip is not None, "not started"
        if found and self._on_flip is not None:
            self._on_flip(found, health, reason)

    def say(self, address: str, word: AgentWord) -> None:
        """Let the agents at this address say this."""
        assert self._on_said is not None, "not started"
        self._on_said(self._at(address), word)

    def _at(self, address: str) -> list[int]:
        """Return the ids of the checked backends with this address."""
        return [number for number, target in self.targets.items() if str(target[0].address) == address]

    def _addresses(self, backend_ids: Iterable[int]) -> list[str]:
        """Return the addresses of those of these backends that are checked."""
        return [str(self.targets[number][0].address) for number in backend_ids if number in self.targets]


class FakeIcmpErrors:
    """An ICMP error comes when a test says so."""

    def __init__(self) -> None:
        self._on_error: OnError | None = None

    async def start(self, on_error: OnError) -> None:
        self._on_error = on_error

    async def stop(self) -> None:
        self._on_error = None

    def hear(self, error: IcmpError | None) -> None:
        """Let this error come, None for a message that cannot be read."""
        assert self._on_error is not None, "not started"
        self._on_error(error)


class FakeClock:
    """The clocks the manager reads, moved by hand: `utc` is the wall clock's time, `boot` the id of the boot."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0
        self.utc = datetime(2030, 1, 1, tzinfo=UTC)
        self.boot = "first"

    def monotonic(self) -> float:
        return self.seconds

    def steady(self) -> SteadyClock:
        """Return the clock of a process that starts now."""
        return SteadyClock(
            since_boot=lambda: round(self.seconds * 1e6) * 1000,
            wall=lambda: (self.utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000,
            boot=lambda: self.boot,
        )

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.seconds += seconds
        self.utc += timedelta(seconds=seconds)

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock ahead by so much, or back."""
        self.utc += timedelta(seconds=seconds)

    def reboot(self, seconds: float) -> None:
        """Let the host be off for so long by the wall clock, and start again."""
        self.utc += timedelta(seconds=seconds)
        self.seconds, self.boot = 30.0, f"after {self.boot}"


class _SkippingSelector(DefaultSelector):
    """Where there is nothing to do but wait, the time is over at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        events = super().select(0)
        assert events or timeout is not None, "everything waits for something that never comes"
        if not events and timeout:
            self.now += timeout
        return events


class _SimulatedTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


def run_in_simulated_time(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a loop whose clock goes on only while all sleep, so that a busy machine cannot be late."""
    with asyncio.Runner(loop_factory=_SimulatedTime) as runner:
        return runner.run(main)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when `condition` holds; TimeoutError when it does not within `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event to wait on)
            await asyncio.sleep(0.005)
