# SPDX-License-Identifier: Apache-2.0
"""Private namespaces for this process, with a bpffs and veths. They end with the process, even after kill -9."""

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
    """Put this thread into new network and mount namespaces; yield a bpffs, mounted at `folder`."""
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
    """Run `ip COMMAND` in the current namespace."""
    subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)


def add_nic(name: str) -> None:
    """Make a veth `name` with the other end `peer-NAME`, and set both up; only a test's own frames pass through it."""
    ip(f"link add {name} type veth peer name peer-{name}")
    for end in (name, f"peer-{name}"):
        # With a link-local address, the kernel would send frames of its own (address detection), at any time.
        ip(f"link set {end} addrgenmode none")
        ip(f"link set {end} up")


def remove_nic(name: str) -> None:
    """Remove the veth, both ends of it."""
    ip(f"link del {name}")
