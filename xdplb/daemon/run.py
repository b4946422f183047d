# SPDX-License-Identifier: Apache-2.0
"""The daemon that `xdplb up` runs: it puts the parts of a balancer together, serves the API, and stops in order."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import xdplb
from xdplb.balance.compiled import IS_COMPILED
from xdplb.cluster.repository import Repository
from xdplb.cluster.thread import RepositoryThread
from xdplb.control.among import Among, Names, SharedStore
from xdplb.control.answers.views import NicView, PlaceView
from xdplb.control.clock import SteadyClock, boot_id
from xdplb.control.events import DaemonStarted, DaemonStopped, Events, TookOver
from xdplb.control.health.checks import Checker
from xdplb.control.health.commands import Commands
from xdplb.control.health.health_source import HealthSource
from xdplb.control.history.history import History
from xdplb.control.manager import Manager
from xdplb.control.plan.eligibility import Observed
from xdplb.control.plan.needs import features_needed_at_start
from xdplb.control.state.sqlite import SqliteStore
from xdplb.dataplane.features import Feature, Features
from xdplb.dataplane.loader import LoadOptions, load
from xdplb.dataplane.pinned_reader import maps_in_use
from xdplb.dataplane.plane import Attachment, DataPlane, Reading
from xdplb.model.announcing import OnDaemonLoss
from xdplb.model.errors import XdplbError
from xdplb.net.icmp_errors import IcmpErrors, IcmpErrorSource
from xdplb.net.links import vlan_devices
from xdplb.net.next_hops import NextHops, NextHopSource
from xdplb.net.route_table import KernelTable, RouteTable
from xdplb.peers.peering import Peering
from xdplb.upgrade.guard import Guard
from xdplb_api.app import create_app
from xdplb_api.metrics_app import METRICS_LIMITS, create_metrics_app
from xdplb_api.server import Service, Stop, serve_in_thread

from .announced import used_table
from .budget import Budget, budget, raise_limit
from .commands import command_runner
from .config_owner import ConfigOwner
from .doors import Doors, open_doors
from .garbage import Garbage
from .holder import RUN_DIR, Detaching, Holder, hold, told_to_detach
from .joining import open_repository, require_empty_to_restore, require_joinable
from .log import log_beside, log_to_stderr
from .loop import ControlLoop, longest_pause
from .notifier import Notifier, notifying
from .notify_file import read_notify_file
from .options import DaemonOptions, require_host
from .own_tunnels import notes_on_tunnels
from .peering import open_peering
from .privileges import give_up_privileges
from .process import Process
from .reloads import Reloads
from .sharing_options import StoreOptions
from .signals import Signals
from .start import state_at_start
from .state_dir import shut_state_dir
from .swap_watching import watched
from .systemd import asking_for_time, notify
from .watchdog import watchdog

__all__ = ["Parts", "farewell", "run"]

_log = logging.getLogger("xdplb")

_SWITCH_SECONDS = 0.0001
"""For how long a thread may keep the interpreter while another wants it. With Python's 5 ms, each system call of the
control loop takes that long while the API or the planning is at work.
"""


def _load(options: DaemonOptions, features: Features) -> DataPlane:
    if vlan_devices(options.interfaces):
        features |= {Feature.VLAN}
    return load(
        LoadOptions(
            interfaces=options.interfaces,
            mode=options.mode,
            pin_dir=options.pin_dir,
            capacity=options.capacity,
            features=features,
            decap=options.decap,
            guard=Guard(options.interfaces, accept_differences=options.accept_differences),
        )
    )


def _maps_in_use(options: DaemonOptions) -> Reading | None:
    return maps_in_use(options.pin_dir)


@dataclass(frozen=True, slots=True)
class Parts:
    """The functions that make the parts which touch the host. Tests pass others."""

    require_host: Callable[[DaemonOptions], None] = require_host
    maps_in_use: Callable[[DaemonOptions], Reading | None] = _maps_in_use
    load: Callable[[DaemonOptions, Features], DataPlane] = _load
    next_hops: Callable[[], NextHopSource] = NextHops
    checker: Callable[[int, Commands | None], HealthSource] = Checker
    icmp_errors: Callable[[], IcmpErrorSource] = IcmpErrors
    routes: Callable[[int, int], RouteTable] = KernelTable
    give_up_privileges: Callable[[], None] = give_up_privileges
    repository: Callable[[StoreOptions, str], Repository] = open_repository
    run_dir: Path = field(default=RUN_DIR)


def run(options: DaemonOptions, parts: Parts | None = None) -> None:
    """Balance until a signal ends it, such as SIGTERM or SIGINT. What is attached stays attached.

    Everything that can be refused is checked before the NIC is touched: the host, the config file, the locks, the
    listening socket, the state and whether the maps belong to it. Raises ConfigError for a bad config file,
    ConflictError where another process holds one of them or they do not belong together, and PlatformError for what
    the host refuses.
    """
    signals = Signals()
    with signals.handled():  # before the file is read: what changes in it from then on is read after the start
        _run(options.with_real_names(), parts or Parts(), signals, ConfigOwner(options.config))


def _run(options: DaemonOptions, parts: Parts, signals: Signals, owner: ConfigOwner) -> None:
    parts.require_host(options)
    owner.read()
    targets = () if options.notify is None else read_notify_file(options.notify)
    log_to_stderr()
    os.umask(0o077)  # whatever is made without a mode of its own is for root only
    shut_state_dir(options.state_dir)
    holder = Holder(Process.of(os.getpid()), options.interfaces, str(options.pin_dir), str(options.state_dir))
    store = SqliteStore(options.state_dir)
    with (
        hold(holder, parts.run_dir),
        closing(store),
        command_runner(wanted=options.exec_checks) as commands,  # while there are the privileges for it
        command_runner(wanted=options.notify is not None, allows_root=True) as notify_commands,
    ):
        doors = open_doors(options.api, options.state_dir)
        peering: Peering | None = None
        try:
            peering = open_peering(options.peers)
            with asking_for_time():
                require_empty_to_restore(options, parts.repository)
                reading = parts.maps_in_use(options)
                state = state_at_start(options, store, reading)
                require_joinable(options, parts.repository, state, store.past())
                taken_over = _taken_over(options, reading)
                # The program is compiled only once, with what the state needs now, and with what the file makes of it.
                states = state, owner.foresee(state, options.capacity_after(reading))
                needed = [features_needed_at_start(each, Observed()) for each in states]
                if peering is not None:
                    needed.append(frozenset({Feature.SYNC}))
                if options.counts_by_nic:
                    needed.append(frozenset({Feature.NICS}))
                plane = parts.load(options, frozenset[Feature]().union(*needed))
            parts.give_up_privileges()  # before there are other threads: each has its own
            owner.look_again()
            with (
                log_beside(),
                _history(options, store) as history,
                notifying(
                    options.notify, targets, node=options.node, commands=notify_commands, say=history.events.say
                ) as notifier,
            ):
                if notifier is not None:
                    history.events.listen(notifier.take)
                if taken_over is not None:
                    history.events.say(taken_over)
                with watched(plane, history.events.say), asyncio.Runner(loop_factory=ControlLoop) as runner:
                    balancing = _balance(
                        options,
                        parts,
                        plane,
                        store,
                        doors,
                        peering=peering,
                        commands=commands,
                        history=history,
                        signals=signals,
                        owner=owner,
                        notifier=notifier,
                    )
                    runner.run(balancing)
                word = told_to_detach(options.pin_dir, holder.pid, parts.run_dir)
                attached = [one.interface for one in _still_attached(plane)]
                history.events.say(DaemonStopped(farewell(attached, word)))
        finally:
            doors.close()
            if peering is not None:
                peering.sockets.close()


@contextmanager
def _history(options: DaemonOptions, store: SqliteStore) -> Iterator[History]:
    """Yield the history of events, which is kept for as long as the block runs."""
    history = History(options.state_dir / "events.db", Events(), options.retention, now=SteadyClock().now)
    history.start(store.told())
    try:
        yield history
    finally:
        history.stop()


def _taken_over(options: DaemonOptions, reading: Reading | None) -> TookOver | None:
    """Return the event that the maps that carry traffic are taken over, None if there are none."""
    vips = {} if reading is None else reading.read_vips()
    mark = None if reading is None else reading.read_mark()
    return TookOver(None if mark is None else mark.generation, len(vips), str(options.pin_dir)) if vips else None


def farewell(attached: Sequence[str], word: Detaching | None) -> str:
    """Return the last line of the log: what becomes of the program on these NICs. `word` is of an `xdplb down`."""
    going = [name for name in attached if word is not None and (not word.interfaces or name in word.interfaces)]
    staying = [name for name in attached if name not in going]
    names = " ".join(staying)
    stays = f"the program stays on {names} and keeps forwarding: xdplb down {names} detaches it"
    if word is not None:
        which = f" the program from {' '.join(going)}" if going else " what is left"
        return f"stopped by xdplb down, which detaches{which}" + (f"; {stays}" if staying else "")
    return f"stopped; {stays}" if staying else "stopped; the program is on no NIC"


def _still_attached(plane: DataPlane) -> Sequence[Attachment]:
    try:
        return plane.attachments()
    except XdplbError:  # its pins are gone: nothing can be attached any more
        return ()


async def _balance(
    options: DaemonOptions,
    parts: Parts,
    plane: DataPlane,
    store: SqliteStore,
    doors: Doors,
    *,
    peering: Peering | None,
    commands: Commands | None,
    history: History,
    signals: Signals,
    owner: ConfigOwner,
    notifier: Notifier | None,
) -> None:
    shares = budget(raise_limit(), options.api.limits, len(doors.metrics))
    told = replace(shares.api)
    own_tunnels = notes_on_tunnels(options.decap)
    async with _sharing(options, parts) as repository:
        manager = Manager(
            plane,
            store,
            parts.next_hops(),
            parts.checker(shares.probes, commands),
            icmp_errors=parts.icmp_errors(),
            among=_among(options, parts, repository, peering),
            nics=options.nics,
            tunnel_sources=options.tunnel_sources,
            place=_place(options),
            decap=options.decap,
            notes=lambda: [*([shares.note] if shares.note else []), *doors.notes(), *own_tunnels],
            longest_pause=longest_pause(asyncio.get_running_loop()),
            on_settings=lambda settings: shares.api.become(told.under(settings.api, shares.most_connections)),
            history=history,
        )
        if notifier is not None:
            manager.answers.notified = notifier.view
        reloads = Reloads(manager, owner, doors, notifier)
        await _serve(manager, shares, doors, repository=repository, signals=signals, reloads=reloads, owner=owner)


async def _serve(
    manager: Manager,
    shares: Budget,
    doors: Doors,
    *,
    repository: RepositoryThread | None,
    signals: Signals,
    reloads: Reloads,
    owner: ConfigOwner,
) -> None:
    """Start the manager, and serve the API until a signal ends that."""
    history = manager.history

    def started() -> None:
        status = manager.answers.status()
        nics = ", ".join(_described(view) for view in status.nics)
        pid, generation = os.getpid(), status.generation
        history.events.say(DaemonStarted(xdplb.__version__, pid, nics, str(doors), generation, history.last_run))
        if shares.note:
            _log.warning("%s", shares.note)
        if not IS_COMPILED:
            _log.warning(
                "tables are computed in Python, which takes about 50 ms each: xdplb was installed on a host without a C"
                " compiler; install gcc, then install xdplb again"
            )
        notify(f"READY=1\nSTATUS=balancing on {nics}")

    def watch_api(loop: asyncio.AbstractEventLoop) -> None:
        if repository is not None:
            meaning = "changes are refused, and what other balancers are asked for is not done here"
            manager.pulses.watch("store thread", repository.ask, meaning, vital=False)
        manager.pulses.watch("API thread", loop.call_soon_threadsafe, "nobody can ask or change anything")

    stop = Stop()

    def stopping() -> None:
        notify("STOPPING=1")
        manager.capturer.end()
        history.end_readers()
        stop()

    sys.setswitchinterval(_SWITCH_SECONDS)
    rights = doors.rights
    app = create_app(manager, version=xdplb.__version__, rights=rights, limits=shares.api)
    services = [Service(app, doors.listeners, shares.api, app.state.refusals)]
    if doors.metrics:
        metrics = create_metrics_app(manager, version=xdplb.__version__, figures=app.state.figures)
        services.append(Service(metrics, doors.metrics, METRICS_LIMITS))
    with asking_for_time():
        await manager.start()
    try:
        with asking_for_time():
            await owner.start(manager)
        with signals.calling(stopping, reloads.begin), Garbage() as garbage:
            watching = asyncio.create_task(garbage.watch())
            try:
                with watchdog(manager.pulses, manager.events):
                    await serve_in_thread(services, stop=stop, on_started=started, on_loop=watch_api)
            finally:
                watching.cancel()
                await reloads.stop()
    finally:
        await manager.stop()


@asynccontextmanager
async def _sharing(options: DaemonOptions, parts: Parts) -> AsyncIterator[RepositoryThread | None]:
    """Yield the way to the store that balancers share, None if this one is alone."""
    if (shared := options.store) is None:
        yield None
        return
    repository = RepositoryThread(lambda: parts.repository(shared, options.node))
    try:
        yield repository
    finally:
        await repository.close()


def _among(options: DaemonOptions, parts: Parts, repository: RepositoryThread | None, peering: Peering | None) -> Among:
    """Return what this balancer is among others."""

    def leaves_dns() -> bool:
        is_down = told_to_detach(options.pin_dir, os.getpid(), parts.run_dir) is not None
        return is_down or options.announcing.on_daemon_loss is OnDaemonLoss.WITHDRAW

    shared = options.store
    return Among(
        node=options.node,
        url=options.url,
        store=None if shared is None or repository is None else SharedStore(repository, str(shared.address)),
        peering=peering,
        announcing=options.announcing,
        table=used_table(options, parts.routes, parts.run_dir),
        names=Names(options.state_dir / "dns.json", leaves_dns),
    )


def _place(options: DaemonOptions) -> PlaceView:
    return PlaceView(
        os.getpid(),
        boot_id(),
        Path("/proc/thread-self/ns/net").stat().st_ino,
        str(options.pin_dir.absolute()),
        str(options.state_dir.absolute()),
    )


def _described(nic: NicView) -> str:
    return f"{nic.interface} ({nic.mode if nic.attached else 'not attached'})"
