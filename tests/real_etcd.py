# SPDX-License-Identifier: Apache-2.0
"""Real etcd for tests: one member or several, in a network namespace of its own, with data in a temporary folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from xdplb.model.store_address import StoreAddress
from xdplb.net import netns

__all__ = ["Etcd", "Member", "running_etcd"]

T = TypeVar("T")

_START_SECONDS = 20.0
_NAME = "xdplb-etcd-"
_ENVIRONMENT = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3", "GOMAXPROCS": "1", "HOME": "/nonexistent"}


class Member:
    """A member of a cluster, by its number."""

    def __init__(self, etcd: Etcd, number: int) -> None:
        self._etcd, self._number = etcd, number
        self.name = f"m{number}"
        self.client = f"127.0.0.1:{2379 + 10 * number}"
        self.peer = f"127.0.0.1:{2380 + 10 * number}"
        self.folder = etcd.folder / self.name
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, and do not wait."""
        scheme = self._etcd.scheme
        cluster = ",".join(f"{one.name}=http://{one.peer}" for one in self._etcd.members)
        argv = [
            "etcd",
            *("--name", self.name, "--data-dir", str(self.folder), "--log-level", "error"),
            *(
                "--listen-client-urls",
                f"{scheme}://{self.client}",
                "--advertise-client-urls",
                f"{scheme}://{self.client}",
            ),
            *("--listen-peer-urls", f"http://{self.peer}", "--initial-advertise-peer-urls", f"http://{self.peer}"),
            *("--initial-cluster", cluster, "--initial-cluster-token", self._etcd.token),
            *("--heartbeat-interval", "20", "--election-timeout", "200"),
            *self._etcd.options,
            *options,
        ]
        self._etcd.log.write(b"---- " + " ".join(argv).encode() + b"\n")
        self.process = self._etcd.spawn(argv)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Have it stand still: it neither answers nor closes anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def lose_data(self) -> None:
        """Remove all that it has stored. It must not run."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Etcd:
    """A cluster. `run` runs a coroutine where it can be reached."""

    def __init__(self, namespace: str, folder: Path, members: range, options: Sequence[str], scheme: str) -> None:
        self.namespace, self.folder, self.options, self.scheme = namespace, folder, options, scheme
        self.token = uuid.uuid4().hex
        self.client: tuple[Path, Path] | None = None
        self.log = (folder / "log").open("wb", buffering=0)
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="etcd")
        """What a thread has started dies with it."""
        self.members = [Member(self, number) for number in members]

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a process in the namespace, which ends with this one, whichever thread asks for it."""
        line = netns.command(self.namespace, argv, dies_with_parent=True)
        return self._starter.submit(
            lambda: subprocess.Popen(line, stdout=self.log, stderr=self.log, env=_ENVIRONMENT)
        ).result()

    def start(self) -> None:
        """Start all members, and wait until they have a leader."""
        for member in self.members:
            member.start()
        self.wait()

    def wait(self) -> None:
        """Wait until each member that runs answers, and has a leader."""
        deadline = time.monotonic() + _START_SECONDS
        for member in self.members:
            while member.process is not None and not self._is_healthy(member):
                if time.monotonic() > deadline:
                    raise TimeoutError((self.folder / "log").read_text()[-3000:])
                time.sleep(0.02)

    def _is_healthy(self, member: Member) -> bool:
        argv = ["curl", "-sk", "--max-time", "1", *self._curl_options(), f"{self.scheme}://{member.client}/health"]
        told = subprocess.run(
            netns.command(self.namespace, argv, dies_with_parent=True), capture_output=True, check=False
        )
        return b'"true"' in told.stdout

    def _curl_options(self) -> list[str]:
        return [] if self.client is None else ["--cert", str(self.client[0]), "--key", str(self.client[1])]

    def restart(self) -> None:
        """Kill all members and start them again, with what they have stored."""
        for member in self.members:
            member.kill()
        self.start()

    def make_anew(self) -> None:
        """Kill all members and start them again with nothing in them, and as another cluster."""
        for member in self.members:
            member.kill()
            member.lose_data()
        self.token = uuid.uuid4().hex
        self.start()

    def address(self, prefix: str = "/xdplb", members: Sequence[Member] | None = None) -> StoreAddress:
        """Return the address of the store in it."""
        named = self.members if members is None else members
        return StoreAddress(tuple(one.client for one in named), prefix, self.scheme == "https")

    def leader(self) -> Member:
        """Return the member that leads."""
        told = self.etcdctl("endpoint", "status", "-w", "fields", endpoints=self.members)
        fields = [line.split(" : ") for line in told.splitlines() if " : " in line]
        values = {name: [value for known, value in fields if known == f'"{name}"'] for name in ("MemberID", "Leader")}
        return self.members[values["MemberID"].index(values["Leader"][0])]

    def etcdctl(self, *arguments: str, endpoints: Sequence[Member] = ()) -> str:
        """Run etcdctl and return what it says."""
        named = ",".join(f"{self.scheme}://{one.client}" for one in endpoints or self.members)
        argv = ["etcdctl", "--endpoints", named, "--command-timeout", "10s", *arguments]
        told = subprocess.run(
            netns.command(self.namespace, argv, dies_with_parent=True),
            capture_output=True,
            text=True,
            check=True,
            env=_ENVIRONMENT,
        )
        return told.stdout

    def save(self) -> Path:
        """Return a backup."""
        path = self.folder / f"backup-{uuid.uuid4().hex}"
        self.etcdctl("snapshot", "save", str(path), endpoints=self.members[:1])
        return path

    def restore(self, backup: Path) -> None:
        """Have all members hold what a backup has."""
        for member in self.members:
            member.kill()
            member.lose_data()
            cluster = ",".join(f"{one.name}=http://{one.peer}" for one in self.members)
            self.etcdctl(
                *("snapshot", "restore", str(backup), "--name", member.name, "--data-dir", str(member.folder)),
                *("--initial-cluster", cluster, "--initial-cluster-token", self.token),
                *("--initial-advertise-peer-urls", f"http://{member.peer}"),
            )
        self.start()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the namespace, in a thread and an event loop of its own."""
        return netns.inside(self.namespace, lambda: asyncio.run(work()))

    def close(self) -> None:
        """Kill all members."""
        for member in self.members:
            member.kill()
        self._starter.shutdown()
        self.log.close()


def _reap() -> None:
    """Remove the namespaces of test runs that were killed."""
    for name in netns.names():
        if name.startswith(_NAME) and not Path(f"/proc/{name.removeprefix(_NAME).partition('-')[0]}").exists():
            netns.remove(name)


@contextmanager
def _namespace() -> Iterator[str]:
    _reap()
    name = f"{_NAME}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    netns.create(name)
    try:
        yield name
    finally:
        netns.remove(name)


@contextmanager
def running_etcd(
    members: int = 1,
    *options: str,
    scheme: str = "http",
    client: tuple[Path, Path] | None = None,
    beside: Etcd | None = None,
) -> Iterator[Etcd]:
    """Yield a cluster of so many members, which has started: where another one is, `beside`, or by itself.

    `client` has a certificate and its key, which https may need.
    """
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(_namespace()) if beside is None else beside.namespace
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xdplb-etcd-")))
        first = 0 if beside is None else len(beside.members)
        etcd = Etcd(namespace, folder, range(first, first + members), options, scheme)
        etcd.client = client
        stack.callback(etcd.close)
        etcd.start()
        yield etcd
