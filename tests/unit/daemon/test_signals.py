# SPDX-License-Identifier: Apache-2.0
"""SIGHUP reloads, whenever it comes, and never ends the daemon."""

from __future__ import annotations

import asyncio
import os
import signal

from xdplb.daemon.signals import Signals


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_signal_that_comes_during_the_start_reloads_after_it() -> None:
    signals, called = Signals(), list[str]()

    async def run() -> None:
        with signals.calling(lambda: called.append("stop"), lambda: called.append("reload")):
            await asyncio.sleep(0)
            assert called == ["reload"]
            hang_up()
            await asyncio.sleep(0.01)
            assert called == ["reload", "reload"]
        hang_up()  # while it stops

    with signals.handled():
        hang_up()
        asyncio.run(run())
    assert called == ["reload", "reload"]
