# SPDX-License-Identifier: Apache-2.0
"""Requests through the VIP, by curl in the client's namespace; each request is a new connection."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["TIMEOUT_SECONDS", "Request", "Spawn", "Traffic", "burst", "chi_squared", "failures", "spread"]

Spawn = Callable[..., "subprocess.Popen[str]"]
"""Starts a command in the client's namespace; takes the keywords of subprocess.Popen."""

REPORT = "%{stderr}%{exitcode} %{http_code} %{time_total} %header{x-backend}|%{errormsg}\\n"
"""What curl prints for each request, on stderr because stderr is not buffered."""

CURLS = 2
TIMEOUT_SECONDS = 5
ENDLESS = 10_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """A finished request: when it began (time.monotonic), which backend answered, and the error, if any."""

    began: float
    backend: str
    error: str

    @classmethod
    def parse(cls, line: str) -> Request:
        """Read a line of REPORT; it must have arrived just now."""
        figures, _, message = line.strip().partition("|")
        code, status, seconds, *backend = figures.split()
        error = "" if (code, status) == ("0", "200") else f"curl {code}, HTTP {status} {message}".strip()
        return cls(time.monotonic() - float(seconds), backend[0] if backend else "", error)


class Traffic:
    """Sends requests while the block runs, at `per_second`, or as fast as possible."""

    def __init__(self, spawn: Spawn, url: str, *, count: int = ENDLESS, per_second: int | None = None) -> None:
        rate = ["--rate", f"{per_second // CURLS}/s"] if per_second else []
        report = ["--output", "/dev/null", "--write-out", REPORT]
        self._command = ["curl", "--silent", "--max-time", str(TIMEOUT_SECONDS), *rate, *report]
        self._command.append(f"{url}?[1-{count // CURLS}]")
        self._spawn = spawn
        self._curls: list[subprocess.Popen[str]] = []
        self._readers: list[threading.Thread] = []
        self.requests: list[Request] = []

    def __enter__(self) -> Self:
        for _ in range(CURLS):
            curl = self._spawn(self._command, stderr=subprocess.PIPE, text=True)
            reader = threading.Thread(target=self._read, args=(curl,), daemon=True)
            reader.start()
            self._curls.append(curl)
            self._readers.append(reader)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for curl in self._curls:
            curl.terminate()
        self.wait()

    def wait(self) -> None:
        """Wait until all requests have been made."""
        for curl, reader in zip(self._curls, self._readers, strict=True):
            reader.join()
            curl.wait()

    def since(self, moment: float) -> list[Request]:
        """Return the requests that began at `moment` (time.monotonic) or later and have ended."""
        return [request for request in list(self.requests) if request.began >= moment]

    def _read(self, curl: subprocess.Popen[str]) -> None:
        assert curl.stderr is not None
        for line in curl.stderr:
            self.requests.append(Request.parse(line))  # at once, so that `since` sees it


def burst(spawn: Spawn, url: str, count: int) -> list[Request]:
    """Make `count` requests as fast as possible, and return them when all have ended."""
    with Traffic(spawn, url, count=count) as traffic:
        traffic.wait()
    return traffic.requests


def failures(requests: Iterable[Request]) -> list[Request]:
    """Return the requests that failed."""
    return [request for request in requests if request.error]


def spread(requests: Iterable[Request]) -> Counter[str]:
    """Return how many requests each backend answered."""
    return Counter(request.backend for request in requests if not request.error)


def chi_squared(counts: Counter[str], weights: Mapping[str, int]) -> float:
    """Return how far `counts` are from the shares given by the weights (chi-squared)."""
    one = sum(counts.values()) / sum(weights.values())
    return sum((counts[name] - one * weight) ** 2 / (one * weight) for name, weight in weights.items())
