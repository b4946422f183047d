# SPDX-License-Identifier: Apache-2.0
"""What the guard does with differences: refuses, lists, and lets those pass that are meant."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from xdplb.dataplane.libbpf import XDP_DROP, XDP_TX
from xdplb.dataplane.program_code import ProgramCode
from xdplb.dataplane.reasons import REASONS
from xdplb.dataplane.shadow import PacketResult, Side
from xdplb.model.errors import ConflictError
from xdplb.upgrade import guard as guards
from xdplb.upgrade import intended
from xdplb.upgrade.comparing import Difference, Tried
from xdplb.upgrade.frames import Sample
from xdplb.upgrade.guard import Guard
from xdplb.upgrade.intended import Intended
from xdplb.upgrade.sampling import Samples

NUMBERS = {reason.name: reason.number for reason in REASONS}
SENT = PacketResult(XDP_TX, b"abcdef", 0)
OTHERWISE = PacketResult(XDP_TX, b"abXdef", 0)
TRUNCATED = PacketResult(XDP_DROP, b"abcdef", NUMBERS["drop_bad_length"])
INTERNAL = PacketResult(XDP_DROP, b"abcdef", NUMBERS["drop_internal"])
SIDE = Side(ProgramCode(1, 2, b"", ()), Path("/nowhere"), {})


def compare(
    monkeypatch: pytest.MonkeyPatch,
    *pairs: tuple[PacketResult, PacketResult],
    accept: bool = False,
    meant: tuple[Intended, ...] = (),
) -> None:
    """Let the guard find these differences."""
    found = [Difference(Sample(b"frame", f"packet {number}"), *pair) for number, pair in enumerate(pairs)]
    monkeypatch.setattr(guards, "differences", lambda *_: Tried(100, found))
    monkeypatch.setattr(guards, "samples", lambda *_: Samples([], []))
    monkeypatch.setattr(guards, "recorded_keys", lambda _: {})
    monkeypatch.setattr(guards, "PinnedReader", lambda _: None)
    monkeypatch.setattr(intended, "INTENDED", meant)
    Guard(["lo"], accept_differences=accept).compare("xdplb", SIDE, SIDE, frozenset())


def test_equal_programs_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch)


def test_a_difference_is_listed_and_refused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConflictError, match="1 of 100 packets") as raised:
        compare(monkeypatch, (SENT, INTERNAL))
    assert "--accept-differences" in raised.value.hint
    assert "packet 0: old sent back by the NIC it came in by, 6 bytes; new drop (drop_internal), 6 bytes" in caplog.text


def test_a_changed_byte_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConflictError):
        compare(monkeypatch, (SENT, OTHERWISE))
    assert "byte 2 is 0x58 and was 0x63" in caplog.text


def test_many_of_a_kind_are_counted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConflictError, match="40 of 100"):
        compare(monkeypatch, *[(SENT, INTERNAL)] * 40)
    assert caplog.text.count("the new program differs:") == 5
    assert "35 more from sent to drop_internal" in caplog.text


def test_what_is_accepted_is_listed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compare(monkeypatch, (SENT, INTERNAL), accept=True)
    assert "packet 0" in caplog.text


def test_what_is_meant_is_told_and_passes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    meant = Intended("drop_bad_length", "drop_internal", "they have a reason of their own")
    compare(monkeypatch, (TRUNCATED, INTERNAL), meant=(meant,))
    assert "an intended difference (they have a reason of their own): packet 0" in caplog.text
    with pytest.raises(ConflictError, match="1 of 100"):
        compare(monkeypatch, (TRUNCATED, INTERNAL), (SENT, INTERNAL), meant=(meant,))
    narrower = Intended("drop_bad_length", "drop_internal", "some of them", only=lambda frame: frame == b"another")
    with pytest.raises(ConflictError):
        compare(monkeypatch, (TRUNCATED, INTERNAL), meant=(narrower,))
    compare(monkeypatch, (SENT, OTHERWISE), meant=(Intended("sent", "sent", "another TTL"),))


def test_too_little_memory_compares_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(guards, "bytes_of_copies", lambda _: 1 << 60)
    compare(monkeypatch, (SENT, INTERNAL))
    assert "is not compared" in caplog.text
