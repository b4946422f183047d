"""Namespaces of this process's own, with a bpffs and veths in them. They end with the process, even by kill -9."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["add_nic", "ip", "private_host", "remove_nic"]

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_host(folder: Path) -> Iterator[Path]:
    """Put this thread into network and mount namespaces of its own; yield a bpffs, mounted at `folder`."""
    before = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt")]
    home = Path.cwd()
    try:
        _check(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS))
        _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
        _check(_libc.mount(b"bpf", os.fsencode(folder), b"bpf", 0, None))
        yield folder
    finally:
        for namespace in before:
            _check(_libc.setns(namespace, 0))
            os.close(namespace)
        os.chdir(home)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(command: str) -> None:
    """Run `ip COMMAND` here."""
    subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)


def add_nic(name: str) -> None:
    """Make a veth called `name`, up, whose other end is `peer-NAME`; no frames but a test's own pass through it."""
    ip(f"link add {name} type veth peer name peer-{name}")
    for end in (name, f"peer-{name}"):
        # A link-local address would be looked for and announced with frames of its own, at a time of its own.
        ip(f"link set {end} addrgenmode none")
        ip(f"link set {end} up")


def remove_nic(name: str) -> None:
    """Remove the veth, both ends of it."""
    ip(f"link del {name}")
