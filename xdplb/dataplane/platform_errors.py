# SPDX-License-Identifier: Apache-2.0
"""Turns an errno of the kernel into an error with a hint."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from xdplb.model.errors import PlatformError

__all__ = ["kernel_errors", "kernel_errors_in"]

P = ParamSpec("P")
R = TypeVar("R")

REMEDIES = {
    errno.EPERM: ("this process may not", "run it as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"),
    errno.EACCES: ("this process may not", "run it as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"),
    errno.ENOMEM: ("there is not enough memory to", "lower --max-flows, --max-backends or --max-vips"),
    errno.ENOSYS: ("this kernel lacks the BPF features needed to", "run kernel 5.15 or newer, with CONFIG_BPF_SYSCALL"),
    errno.EROFS: ("the bpffs is mounted read-only, so it is not possible to", "mount -o remount,rw /sys/fs/bpf"),
    errno.ENOENT: ("a pin is gone that is needed to", "run `xdplb up` again to restore it"),
}


@contextmanager
def kernel_errors_in(task: str) -> Iterator[None]:
    """Turn an OSError of the kernel into a PlatformError: `task` is what was tried, such as `load the program`."""
    try:
        yield
    except OSError as error:
        sentence, hint = REMEDIES.get(error.errno or 0, ("the kernel refused to", "see `xdplb doctor` and `dmesg`"))
        raise PlatformError(f"{sentence} {task}: {error.strerror}", hint=hint) from error


def kernel_errors(task: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function with `kernel_errors_in`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def inner(*args: P.args, **kwargs: P.kwargs) -> R:
            with kernel_errors_in(task):
                return function(*args, **kwargs)

        return inner

    return decorate
