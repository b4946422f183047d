"""Tell systemd when the daemon is ready and when it stops (sd_notify(3)): one datagram, which needs no library."""

from __future__ import annotations

import os
import socket

__all__ = ["notify"]


def notify(message: str) -> None:
    """Send `message`, such as READY=1, to the service manager; do nothing if there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket: the kernel wants a NUL where the environment has an @
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(message.encode(), address)
        except OSError:
            return  # the service manager is gone; that is no reason to stop balancing
