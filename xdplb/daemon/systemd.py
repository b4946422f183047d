# SPDX-License-Identifier: Apache-2.0
"""Tell systemd when the daemon is ready and when it stops (sd_notify(3)): one datagram, which needs no library.

A start with thousands of VIPs and nothing pinned takes longer than a service manager may allow. It asks for more time
while it goes on, so that it is not killed and started again for ever; but not without end, since a start may hang.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["asking_for_time", "notify", "reloading"]

_ASK_SECONDS = 10.0
_MOST_SECONDS = 900.0
_LOOK_SECONDS = 0.002
_SEND_SECONDS = 0.1
"""How long to wait for a service manager whose queue is full: it is told from the control loop, which must go on."""


def notify(message: str) -> None:
    """Send `message`, such as READY=1, to the service manager; do nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket: the kernel wants a NUL where the environment has an @
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SEND_SECONDS)
            channel.sendto(message.encode(), address)
    except OSError:
        return  # the service manager is gone or does not listen, or no descriptor is free: no reason to stop balancing


@contextmanager
def reloading() -> Iterator[None]:
    """Tell the service manager that the daemon reloads while in the block, and is ready again after it.

    That is how `Type=notify-reload` works (systemd.service(5)); with `Type=notify` it does no harm.
    """
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
    try:
        yield
    finally:
        notify("READY=1")


@contextmanager
def asking_for_time() -> Iterator[None]:
    """Keep the service manager from giving up the start while in the block. Its thread has ended when the block has."""
    if not os.environ.get("NOTIFY_SOCKET"):
        yield
        return
    done = threading.Event()
    end = time.monotonic() + _MOST_SECONDS

    def ask() -> None:
        while not done.is_set() and time.monotonic() < end:
            notify(f"EXTEND_TIMEOUT_USEC={round(3e6 * _ASK_SECONDS)}")
            done.wait(_ASK_SECONDS)

    thread = threading.Thread(target=ask, name="asking-for-time")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        while Path(f"/proc/self/task/{thread.native_id}").exists():  # the kernel ends it later than Python, by a moment
            time.sleep(_LOOK_SECONDS)
