# SPDX-License-Identifier: Apache-2.0
"""One probe with a real socket, for tests."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from xdplb.control.health.alarms import Alarms
from xdplb.control.health.prober import Sockets
from xdplb.control.health.probes.aim import Aim
from xdplb.control.health.probes.result import ProbeResult
from xdplb.control.plan.sources import ANY_SOURCE, Source
from xdplb.model.health import HealthCheck

__all__ = ["probe"]


_PROBERS: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Sockets, asyncio.Task[None]]] = WeakKeyDictionary()


async def probe(check: HealthCheck, host: str, port: int, source: Source = ANY_SOURCE) -> ProbeResult:
    """Probe once. What is left of the connection is ended as long as the loop runs. If cancelled, it is cut."""
    loop = asyncio.get_running_loop()
    if loop not in _PROBERS:
        _PROBERS[loop] = _start()
    prober = _PROBERS[loop][0]
    found: asyncio.Future[ProbeResult] = loop.create_future()
    probing = prober.begin(Aim(check, host, port), source, found.set_result)
    try:
        return await found
    except asyncio.CancelledError:
        if probing is not None:
            probing.cut()
        raise


def _start() -> tuple[Sockets, asyncio.Task[None]]:
    prober = Sockets(1000)
    alarms = Alarms(_fail)
    prober.start(alarms, lambda _, error: _fail(error))

    async def stop_with_the_loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            prober.stop()
            alarms.stop()

    return prober, asyncio.create_task(stop_with_the_loop())


def _fail(error: Exception) -> None:
    raise error
