# SPDX-License-Identifier: Apache-2.0
"""`xdplb config apply` of a large file: by the clock, and in CPU of the command and of the daemon, apart."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.scale_host import Cost, Daemon, Spent
from tests.bench.scale_state import Load
from xdplb.model.vip import VipKey

__all__ = ["Applied", "apply_config", "config_text"]


class Applied:
    """What an apply took, and what the command said."""

    def __init__(self, daemon: Spent, client_cpu: float, said: str) -> None:
        self.daemon, self.client_cpu, self.said = daemon, client_cpu, said

    @property
    def counts(self) -> str:
        """The CPU of both, apart, and how much was said to have changed."""
        return (
            f"client {self.client_cpu:.2f} s of CPU, daemon {self.daemon.cpu:.2f}; {len(self.said.splitlines())} lines"
        )

    @property
    def spent(self) -> Spent:
        """By the clock, and the CPU of both together."""
        return Spent(self.daemon.wall, self.daemon.cpu + self.client_cpu)


def config_text(load: Load, weights: dict[tuple[int, int], int] | None = None) -> str:
    """Return a file that declares this load; `weights` by the numbers of VIP and backend, where it is not 1."""
    return "".join(_lines(load, weights or {}))


def _lines(load: Load, weights: dict[tuple[int, int], int]) -> Iterator[str]:
    addresses = load.addresses
    for number, key in enumerate(load.vip_keys()):
        yield from _vip(key, load.forward)
        for place, address in enumerate(addresses):
            weight = weights.get((number, place), 1)
            yield f'[[vips.backends]]\naddress = "{address}"\nweight = {weight}\n'


def _vip(key: VipKey, forward: str) -> Iterator[str]:
    yield f'\n[[vips]]\naddress = "{key.addresses_text}"\nport = {key.port}\nprotocol = "{key.protocol}"\n'
    yield f'forward = "{forward}"\n'


def apply_config(daemon: Daemon, file: Path) -> Applied:
    """Run `xdplb config apply` as a process of its own, until it ends."""
    argv = daemon.command("config", "apply", "-f", str(file))
    with Cost(daemon) as cost:
        began = time.monotonic()
        command = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=daemon.environment)
        assert command.stdout is not None
        said = command.stdout.read().decode()
        _, status, used = os.wait4(command.pid, 0)
        wall = time.monotonic() - began
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode:
        raise SystemExit(f"scripts/bench: config apply ended with {command.returncode}: {said[-3000:]}")
    return Applied(Spent(wall, cost.spent.cpu), used.ru_utime + used.ru_stime, said)
