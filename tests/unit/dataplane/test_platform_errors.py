# SPDX-License-Identifier: Apache-2.0
"""Errnos of the kernel as sentences, and a host without libbpf."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest

from xdplb.dataplane import libbpf
from xdplb.dataplane.platform_errors import kernel_errors, kernel_errors_in
from xdplb.model.errors import ConflictError, PlatformError


@pytest.mark.parametrize(
    ("number", "sentence", "remedy"),
    [
        (errno.EPERM, "this process may not create the maps", "as root"),
        (errno.ENOMEM, "there is not enough memory to create the maps", "--max-flows"),
        (errno.ENOENT, "a pin is gone", "xdplb up"),
        (errno.EIO, "the kernel refused to create the maps", "doctor"),
    ],
)
def test_an_errno_is_a_sentence_with_a_remedy(number: int, sentence: str, remedy: str) -> None:
    with pytest.raises(PlatformError, match=sentence) as refused, kernel_errors_in("create the maps"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in refused.value.detail
    assert remedy in refused.value.hint


def test_what_is_a_sentence_already_stays() -> None:
    @kernel_errors("do it")
    def refuse() -> None:
        raise ConflictError("it is there")

    with pytest.raises(ConflictError, match="it is there"):
        refuse()


def test_without_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("libbpf.so.1: cannot open shared object file")

    libbpf.library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(PlatformError, match="libbpf is missing") as refused:
        libbpf.call("libbpf_num_possible_cpus")
    assert refused.value.hint == "apt-get install libbpf1"
