# SPDX-License-Identifier: Apache-2.0
"""What becomes of a host whose requests are refused for a wrong token: it is answered later and later.

A token cannot be guessed; this keeps whoever tries from filling the log, and from taking the API's time. Right tokens
are never slowed, also from the same host, and who waits holds no more than a few connections, which make room for
others.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

__all__ = ["Slowing"]

_FREE = 3
"""So many are answered at once: people mistype a path, and a script starts with an old token."""
_FIRST_SECONDS = 0.25
_MOST_SECONDS = 2.0
_FORGET_SECONDS = 10.0
"""After this time, one failure is forgotten."""
_MOST_HOSTS = 1024
_MOST_WAITING = 32
_MOST_WAITING_OF_HOST = 4


@dataclass(slots=True)
class _Host:
    failures: float
    at: float
    waiting: int = 0


class Slowing:
    """Counts failures by host, an IPv6 host being its /64. In one thread only."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        self._waiting = 0

    def failed(self, address: str) -> float | None:
        """Count a failure of `address`, and return for how many seconds to wait with the answer.

        None: too many wait already, so it is to be answered at once, in few words. After a wait, call `waited`.
        """
        host = self._host(address)
        host.failures += 1
        if host.failures <= _FREE:
            return 0.0
        if self._waiting >= _MOST_WAITING or host.waiting >= _MOST_WAITING_OF_HOST:
            return None
        host.waiting += 1
        self._waiting += 1
        return float(min(_FIRST_SECONDS * 2 ** min(host.failures - _FREE - 1, 10), _MOST_SECONDS))

    def waited(self, address: str) -> None:
        """Note that a wait which `failed` asked for is over."""
        host = self._hosts.get(_network(address))
        if host is not None and host.waiting:
            host.waiting -= 1
        self._waiting -= 1

    def _host(self, address: str) -> _Host:
        now, name = self._now(), _network(address)
        host = self._hosts.setdefault(name, _Host(0.0, now))
        self._hosts.move_to_end(name)
        host.failures = max(0.0, host.failures - (now - host.at) / _FORGET_SECONDS)
        host.at = now
        if len(self._hosts) > _MOST_HOSTS:
            self._hosts.popitem(last=False)
        return host


def _network(address: str) -> str:
    """Return what stands for a host: whoever has an IPv6 address has the whole /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if not isinstance(parsed, IPv6Address) else str(IPv6Address(int(parsed) >> 64 << 64))
