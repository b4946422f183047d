# SPDX-License-Identifier: Apache-2.0
"""Health checks: when each is due, and whether they are run in time.

Equal checks of the same address and port, as VIPs with the same backends have them, are one check: it probes once, and
all of its backends have the result at the same moment.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

from xdplb.control.events import CheckBroke, ChecksNotRun, ChecksRunAgain, Events
from xdplb.control.health.alarms import Alarm, Alarms
from xdplb.control.health.beside import Beside
from xdplb.control.health.commands import Commands
from xdplb.control.health.health_source import (
    CheckTarget,
    CheckTargets,
    OnDoubt,
    OnFlip,
    OnSaid,
    OnSilence,
    Probing,
    SourceOf,
    VipWay,
)
from xdplb.control.health.prober import Prober, Sockets
from xdplb.control.health.probes.aim import Aim, Steps
from xdplb.control.health.probes.result import NOT_RUN, OnResult, ProbeResult
from xdplb.control.health.standing import NO_CHECKS, Standing, not_run_sentence
from xdplb.control.health.tally import CheckTally, health_of, health_of_all, is_between, tallied
from xdplb.control.health.vip_way import by_vip, words
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.address import IPAddress
from xdplb.model.backend import Health, KnownHealth
from xdplb.model.check_type import CheckType
from xdplb.model.durations import Durations, Taken
from xdplb.model.health import HealthCheck, labels_of

__all__ = ["Checker"]

_FIRST_WITHIN_SECONDS = 1.0
_SOON_SECONDS = 0.1
_QUICK_SECONDS = 0.25
_AGAIN_SECONDS = 1.0
_LATE_SECONDS = 0.1
_FEW = 128
_MOST_SOCKETS = 4096
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 1.0
_MOST_SILENT_SECONDS = 3.0
_BUSY = "this host is too busy"

_Key = tuple[IPAddress, int, HealthCheck, VipWay | None]


def _key_of(target: CheckTarget) -> _Key:
    """Return what is the same for equal checks."""
    return target.address, target.port, _without_place(target.check), target.way


@lru_cache(maxsize=4096)
def _without_place(check: HealthCheck) -> HealthCheck:
    """Return the check without what it is called, and where it goes: the target has that, given or the VIP's."""
    return replace(check, name=None, port=None, target=None)


class _Check:
    """One check, of all the backends in `members` (their ids): of `alone` it is the only one."""

    __slots__ = (
        "address",
        "aim",
        "alarm",
        "alone",
        "answered",
        "beside",
        "by_vip",
        "due",
        "is_quick",
        "is_waiting",
        "members",
        "patience",
        "probing",
        "rechecked",
        "tally",
        "target",
    )

    def __init__(self, target: CheckTarget, now: float) -> None:
        check = target.check
        self.target = target
        self.address = target.address
        self.aim = _own_aim(target)
        self.members: set[int] = set()
        self.alone: set[int] = set()
        self.tally = CheckTally()
        self.due = now
        self.alarm: Alarm | None = None
        self.probing: Probing | None = None
        self.is_waiting = False
        """It is due and waits until fewer probes are under way."""
        self.is_quick = False
        """Passes are followed by the next probe soon, until they are enough to come up."""
        self.rechecked = -math.inf
        self.answered = now
        """When it last had a result that says something, or would have if this host had what it takes."""
        self.beside: Beside | None = None
        """What is found at the backend's own address; None if the check itself goes there."""
        self.by_vip: tuple[int, Aim] | None = None
        """The aim by the VIP's way, and the mark that it is for."""
        self.patience = check.interval_seconds * (1 + check.jitter) + check.timeout_seconds + _GRACE_SECONDS


class Checker:
    """Runs the checks of all backends, in the event loop in which it is started.

    It has no more than `sockets` probes under way at a time, and holds no more sockets than that. `commands` runs those
    of exec checks.
    """

    def __init__(
        self, sockets: int = _MOST_SOCKETS, commands: Commands | None = None, *, prober: Prober | None = None
    ) -> None:
        self._most, self.runs_commands = sockets, commands is not None
        self._prober: Prober = Sockets(sockets, commands) if prober is None else prober
        self._on_flip: OnFlip | None = None
        self._on_silence: OnSilence | None = None
        self._on_doubt: OnDoubt | None = None
        self._source_of: SourceOf | None = None
        self._on_said: OnSaid | None = None
        self._events = Events()
        self._known: Mapping[int, KnownHealth] = {}
        self._targets: dict[int, tuple[CheckTarget, ...]] = {}
        self._checks: dict[_Key, _Check] = {}
        self._checks_of: dict[int, tuple[_Check, ...]] = {}
        self._waiting: deque[_Check] = deque()
        self._is_late = False
        self._under_way = 0
        self._is_beginning = False
        self._latencies: dict[CheckType, Durations] = {kind: Durations() for kind in CheckType}
        self._standing = NO_CHECKS
        self._stuck_since: float | None = None
        self._looked = -math.inf
        self._look_timer: asyncio.TimerHandle | None = None

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
        """Start checking the watched targets; `on_flip` is called at every change of health."""
        self._loop = asyncio.get_running_loop()
        self._alarms = Alarms(self._broke)
        self._prober.start(self._alarms, self._probe_broke)
        self._on_flip, self._on_silence, self._events = on_flip, on_silence, events
        self._source_of, self._on_doubt, self._on_said = source_of, on_doubt, on_said
        self._join(self._targets)
        self._look_on()

    async def stop(self) -> None:
        """End all checks."""
        if self._on_flip is None:
            return
        self._on_flip = self._on_silence = self._on_doubt = None
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._waiting.clear()
        self._alarms.stop()
        self._prober.stop()

    def watch(self, targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        """Replace the set of targets. A target that is new or has changed starts again, or joins an equal check."""
        self.change(self._targets.keys() - targets.keys(), targets, known)

    def change(self, gone: Iterable[int], targets: CheckTargets, known: Mapping[int, KnownHealth]) -> None:
        """Check no more the backends with the ids `gone`, and check `targets`, by backend id, beside all others.

        An unchanged target keeps its tally. One that is new or has changed starts again, or joins an equal check.
        """
        self._known = known
        for backend_id in gone:
            self._leave(backend_id)
        new: dict[int, tuple[CheckTarget, ...]] = {}
        before: list[tuple[tuple[CheckTarget, ...], tuple[_Check, ...]]] = []
        for backend_id, wanted in targets.items():
            held = self._targets.get(backend_id)
            if held is wanted or held == wanted:
                continue
            if held is not None and held[0].epoch != wanted[0].epoch:
                self._leave(backend_id)
            elif held is not None:
                before.append((held, self._part(backend_id)))
            new[backend_id] = wanted
        self._targets.update(new)
        if self._on_flip is not None:
            self._join(new)
        for held, checks in before:  # only now: those that stay keep their tallies
            self._end_unused(held, checks)

    def tallies_of(self, backend_id: int) -> tuple[CheckTally, ...]:
        """Return the tallies of this backend's checks, in their order; none if it is not watched."""
        return tuple([check.tally for check in self._checks_of.get(backend_id, ())])

    def tallies(self) -> Mapping[int, tuple[CheckTally, ...]]:
        """Return the tallies of all checks, by backend id. It may be called in any thread."""
        return {
            backend_id: tuple([check.tally for check in checks]) for backend_id, checks in list(self._checks_of.items())
        }

    def latencies(self) -> Mapping[CheckType, Taken]:
        """Return how long checks of each type took since the start. It may be called in any thread."""
        return {kind: durations.taken for kind, durations in self._latencies.items()}

    def targets_of(self, backend_id: int) -> tuple[CheckTarget, ...]:
        """Return what is checked of this backend, in the order of its checks; nothing if it is not watched."""
        return self._targets.get(backend_id, ())

    def probe(self, backend_id: int, target: CheckTarget, steps: Steps, on_result: OnResult) -> Probing | None:
        """Probe a target of a backend now, beside its checks: their tallies do not change, and `steps` is filled."""
        if target.way is None:
            return self._begin_own(target, on_result, steps)
        source = self._source(target, backend_id)
        aim = by_vip(_own_aim(target, steps), target.way, source.mark)
        return self._prober.begin(aim, source, partial(self._explain, target, on_result))

    def _explain(self, target: CheckTarget, on_result: OnResult, result: ProbeResult) -> None:
        """Give `on_result` the result of a probe by the VIP's way, with the words for what failed."""
        if result.passed is not False:
            on_result(result)
            return
        self._begin_own(target, lambda beside: on_result(replace(result, reason=words(target, result, beside))))

    def _begin_own(self, target: CheckTarget, on_result: OnResult, steps: Steps | None = None) -> Probing | None:
        """Begin a probe at the backend's own address."""
        return self._prober.begin(_own_aim(target, steps), self._source(target, None), on_result)

    def standing(self) -> Standing:
        """Return whether the checks are run in time, as of a second ago. It may be called in any thread."""
        standing = self._standing
        if self._on_flip is None or not standing.checks:
            return standing
        silent = self._loop.time() - self._looked
        if silent < _MOST_SILENT_SECONDS:
            return standing
        return replace(standing, reason=not_run_sentence(standing.checks, standing.checks, silent, _BUSY))

    def recheck(self, backend_ids: Iterable[int]) -> None:
        """Check those of these backends again at once whose last check failed or was not run: the way has changed.

        A check under way is given up, since its packets may have gone the old way. If it passes, the next ones follow
        quickly, so that the backend need not wait for `rise` intervals. While the way changes all the time, as when two
        hosts have the same address, checks still come to an end.
        """
        checks = {check for backend_id in backend_ids for check in self._checks_of.get(backend_id, ())}
        for check in checks:
            last = check.tally.last
            if check.tally.streak >= 0 and (last is None or last.passed is not None):
                continue
            now = self._loop.time()
            if now - check.rechecked >= check.aim.check.timeout_seconds + _FIRST_WITHIN_SECONDS:
                check.rechecked, check.is_quick = now, True
                self._give_up(check)
                self._begin_within(check, _SOON_SECONDS)

    def hurry(self, backend_ids: Iterable[int]) -> None:
        """Begin the checks of these backends now, but for those under way; those without a check have none."""
        for check in {found for backend_id in backend_ids for found in self._checks_of.get(backend_id, ())}:
            if check.probing is None and not check.is_waiting:
                self._give_up(check)
                self._begin_within(check, _SOON_SECONDS)

    def _join(self, targets: CheckTargets) -> None:
        """Begin the checks of these targets, or join those that are equal."""
        found: dict[tuple[int, int, int], _Check] = {}  # by identity: hashing address and check takes much longer
        for backend_id, wanted in targets.items():
            checks: list[_Check] = []
            for target in wanted:
                same = id(target.address), target.port, id(target.check)
                check = found.get(same) if target.way is None else None
                if check is None:
                    check = self._check(target)
                    if target.way is None:
                        found[same] = check
                check.members.add(backend_id)
                if len(wanted) == 1:
                    check.alone.add(backend_id)
                checks.append(check)
            self._checks_of[backend_id] = tuple(checks)

    def _check(self, target: CheckTarget) -> _Check:
        """Return the check of this target, begun now if there is none yet."""
        key = _key_of(target)
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = _Check(target, self._loop.time())
            if target.way is not None:
                check.beside = Beside(target, self._begin_own, partial(self._retell, check))
            self._begin_within(check, _FIRST_WITHIN_SECONDS)
        elif check.tally.streak != 0:  # what is known of the others holds for this one; not before the caller is ready
            self._loop.call_soon(self._judge_if_watched, check)
        return check

    def _leave(self, backend_id: int) -> None:
        checks = self._part(backend_id)
        self._end_unused(self._targets.pop(backend_id), checks)

    def _part(self, backend_id: int) -> tuple[_Check, ...]:
        """Take a backend from its checks, and return them."""
        checks = self._checks_of.pop(backend_id, ())
        for check in checks:
            check.members.discard(backend_id)
            check.alone.discard(backend_id)
        return checks

    def _end_unused(self, targets: tuple[CheckTarget, ...], checks: tuple[_Check, ...]) -> None:
        """End those of these checks that no backend needs any more."""
        for target, check in zip(targets, checks, strict=False):  # before the start, there are none yet
            if not check.members and self._checks.pop(_key_of(target), None) is not None:
                self._give_up(check)

    def _begin_within(self, check: _Check, seconds: float) -> None:
        """Let it be due at a random time within its interval, `seconds` at most."""
        # Spreading load needs no cryptographic randomness.
        delay = random.uniform(0, min(check.aim.check.interval_seconds, seconds))  # noqa: S311
        check.due = self._loop.time() + delay
        check.alarm = self._alarms.at(check.due, partial(self._is_due, check))

    def _give_up(self, check: _Check) -> None:
        """Let the check be neither due nor under way."""
        if check.alarm is not None:
            self._alarms.cancel(check.alarm)
            check.alarm = None
        check.is_waiting = False
        if check.beside is not None:
            check.beside.cut()
        if check.probing is not None:
            probing, check.probing = check.probing, None
            probing.cut()
            self._under_way -= 1
            self._begin_waiting()

    def _is_due(self, check: _Check) -> None:
        """Begin the probe, or let it wait if too many are under way.

        If this host is late, only few may be: if all began whenever they are due, none would end within its timeout on
        a host that is too busy, and the work for them would keep it busy.
        """
        check.alarm = None
        self._is_late = self._loop.time() - check.due >= _LATE_SECONDS
        check.is_waiting = True
        self._waiting.append(check)
        self._begin_waiting()

    def _begin_waiting(self) -> None:
        """Begin those that wait, in their order, as far as there is room, and no more than a few at once."""
        if self._is_beginning:  # a probe that could not begin has its result at once
            return
        self._is_beginning = True
        most = min(self._most, _FEW) if self._is_late or self._prober.is_behind else self._most
        try:
            for _ in range(_FEW):
                if not self._waiting or self._under_way >= most:
                    return
                check = self._waiting.popleft()
                if check.is_waiting:
                    check.is_waiting = False
                    self._begin(check)
            self._alarms.at(self._loop.time(), self._begin_waiting)
        finally:
            self._is_beginning = False

    def _begin(self, check: _Check) -> None:
        try:
            by_vip_of = None if check.target.way is None else next(iter(check.members))
            source = self._source(check.target, by_vip_of)
        except Exception as error:
            self._probe_broke(check.aim, error)
            self._note(check, ProbeResult(None, f"{NOT_RUN}: {error!r}", 0.0, starved=True))
            return
        if source.in_a_moment:  # it is neither late nor overdue: who loads the programs of probes tells if that fails
            check.answered = self._loop.time()
            check.due = check.answered + _SOON_SECONDS
            check.alarm = self._alarms.at(check.due, partial(self._is_due, check))
            return
        self._under_way += 1
        is_over = False

        def on_result(result: ProbeResult) -> None:
            nonlocal is_over
            is_over = True
            check.probing = None
            self._under_way -= 1
            self._note(check, result)

        probing = self._prober.begin(_aim(check, source.mark), source, on_result)
        if not is_over:
            check.probing = probing

    def _source(self, target: CheckTarget, by_vip_of: int | None) -> Source:
        """Return where a probe leaves from: to the backend's own address, or by the VIP's way to this backend."""
        if self._source_of is not None:
            return self._source_of(target.address, by_vip_of)
        return ANY_SOURCE if by_vip_of is None else Source(obstacle="nothing here can send it by the way of a VIP")

    def _note(self, check: _Check, result: ProbeResult) -> None:
        """Take a result: set the time of the next probe, tell of silence and flips, and begin those that wait."""
        before = check.tally
        if result.passed is not None:
            self._latencies[check.aim.check.type].note(result.seconds)
        explained = result if check.beside is None else check.beside.explained(result)
        check.tally = tallied(check.aim.check, before, explained)
        self._set_next(check, result)
        if result.passed is False and not result.heard and self._on_silence is not None:
            self._on_silence(check.address, before.streak >= 0)
        if (before.streak < 0) != (check.tally.streak < 0) and self._on_doubt is not None:
            self._on_doubt(check.members)
        self._tell_said(check, result)
        self._judge(check)
        if check.beside is not None and result.passed is False:
            check.beside.look(result, -check.tally.streak, self._loop.time())
        if self._waiting:
            self._begin_waiting()

    def _retell(self, check: _Check, reason: str) -> None:
        """Put the last failure into other words, also where it was told already."""
        last = check.tally.last
        if last is None or check.tally.streak >= 0 or self._on_flip is None:
            return
        check.tally = replace(check.tally, last=replace(last, reason=reason))
        down = [each for each in check.alone if each in self._known and self._known[each].health is Health.DOWN]
        if down:
            self._on_flip(sorted(down), Health.DOWN, reason)

    def _set_next(self, check: _Check, result: ProbeResult) -> None:
        """Set when it is due next: that follows from the schedule, not from when a probe ended, and does not drift."""
        config, now = check.aim.check, self._loop.time()
        check.is_quick = check.is_quick and 0 < check.tally.streak < config.rise
        pause = config.interval_seconds
        if config.fast_interval_seconds is not None and is_between(config, check.tally):
            pause = config.fast_interval_seconds
        if check.is_quick:
            pause = min(_QUICK_SECONDS, pause)
        elif result.starved:
            pause = min(_AGAIN_SECONDS, pause)
        if not result.starved:
            check.answered = now
        # After a long stall, it does not catch up on the missed checks.
        check.due = max(check.due + pause * (1 + random.uniform(-config.jitter, config.jitter)), now)  # noqa: S311
        check.alarm = self._alarms.at(check.due, partial(self._is_due, check))

    def _tell_said(self, check: _Check, result: ProbeResult) -> None:
        """Tell what was said beside passed and failed: before a flip, so that both are planned together."""
        if result.said is not None and self._on_said is not None:
            self._on_said(check.members, result.said)

    def _judge_if_watched(self, check: _Check) -> None:
        if self._on_flip is not None and check.members:
            if check.tally.last is not None:
                self._tell_said(check, check.tally.last)
            self._judge(check)

    def _judge(self, check: _Check) -> None:
        """Report the flips that follow from the tally."""
        if self._on_flip is None:
            return
        tally, get = check.tally, self._known.get
        after: dict[Health, Health] = {}
        flips: dict[Health, list[int]] = {}
        for backend_id in check.alone:
            known = get(backend_id)
            before = Health.UNKNOWN if known is None else known.health
            health = after.get(before)
            if health is None:
                health = after[before] = health_of(check.aim.check, before, tally)
            if health is not before:
                flips.setdefault(health, []).append(backend_id)
        for health, backend_ids in flips.items():
            self._on_flip(sorted(backend_ids), health, "" if tally.last is None else tally.last.reason)
        if len(check.members) > len(check.alone):
            self._judge_joint(check, check.members - check.alone)

    def _judge_joint(self, check: _Check, backend_ids: Iterable[int]) -> None:
        """Report the flips of backends that have other checks beside this one."""
        assert self._on_flip is not None
        flips: defaultdict[tuple[Health, str], list[int]] = defaultdict(list)
        for backend_id in backend_ids:
            targets, checks = self._targets[backend_id], self._checks_of[backend_id]
            known = self._known.get(backend_id)
            before = Health.UNKNOWN if known is None else known.health
            wanted = tuple([target.check for target in targets])
            health, place = health_of_all(wanted, before, [each.tally for each in checks])
            if health is before:
                continue
            place = checks.index(check) if place is None else place
            last = checks[place].tally.last
            reason = "" if last is None else f"{labels_of(wanted)[place]}: {last.reason}"
            flips[health, reason].append(backend_id)
        for (health, reason), flipped in flips.items():
            self._on_flip(sorted(flipped), health, reason)

    def _look_on(self) -> None:
        """Look every second whether the checks are run in time."""
        self._look_timer = self._loop.call_later(_LOOK_SECONDS, self._look_on)
        self._look()

    def _look(self) -> None:
        now = self._looked = self._loop.time()
        overdue = [check for check in self._checks.values() if now - check.answered > check.patience]
        reason = ""
        if overdue:
            seconds = now - min(check.answered for check in overdue)
            reason = not_run_sentence(len(overdue), len(self._checks), seconds, self._cause(overdue))
        self._standing = Standing(len(self._checks), len(overdue), self._under_way, self._most, reason)
        if reason and self._stuck_since is None:
            self._stuck_since = now
            self._events.say(ChecksNotRun(reason))
        elif not reason and self._stuck_since is not None:
            self._events.say(ChecksRunAgain(round(now - self._stuck_since, 1)))
            self._stuck_since = None

    def _cause(self, overdue: list[_Check]) -> str:
        """Return why these checks have no result."""
        for check in overdue:
            last = check.tally.last
            if last is not None and last.starved:
                return last.reason.removeprefix(f"{NOT_RUN}: ")
        if self._waiting:
            return f"{self._under_way} probes are under way, and there may be no more at a time"
        return _BUSY

    def _probe_broke(self, aim: Aim, error: Exception) -> None:
        self._events.say(CheckBroke(aim.host, aim.port, repr(error)), trace=error)

    def _broke(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "an error in the health checks", "exception": error})


def _own_aim(target: CheckTarget, steps: Steps | None = None) -> Aim:
    """Return the aim of a probe at the backend's own address."""
    return Aim(target.check, str(target.address), target.port, steps=steps)


def _aim(check: _Check, mark: int) -> Aim:
    """Return what the next probe aims at; `mark` is that of the VIP's way, 0 for the backend's own address."""
    if not mark or check.target.way is None:
        return check.aim
    if check.by_vip is None or check.by_vip[0] != mark:
        check.by_vip = mark, by_vip(check.aim, check.target.way, mark)
    return check.by_vip[1]
