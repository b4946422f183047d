# SPDX-License-Identifier: Apache-2.0
"""Who has which role, how tokens are kept, and how those who are refused are slowed and told of."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xdplb.control.events import Actor, ActorKind, AuthenticationFailed, Event, RequestForbidden
from xdplb.model.errors import ConflictError, InvalidError, NotFoundError, StateError
from xdplb.model.role import Role
from xdplb_api.rights.certificates import CertificateRoles, subject_of
from xdplb_api.rights.refusals import Refusals
from xdplb_api.rights.slowing import Slowing
from xdplb_api.rights.socket_roles import SocketRoles
from xdplb_api.rights.token_file import FILE_NAME, TokenFile
from xdplb_api.rights.tokens import LONGEST_SECRET, Tokens, digest_of


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


CERTIFICATE = {
    "subject": ((("organizationName", "ops, inc"),), (("commonName", "anna"),)),
    "subjectAltName": (("DNS", "anna.example"), ("URI", "spiffe://example/anna")),
}


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("*", True),
        ("CN=anna", True),
        ("cn=anna", True),
        (r"O=ops\, inc,CN=anna", True),
        ("DNS=anna.example,CN=anna", True),
        ("URI=spiffe://example/anna", True),
        ("CN=Anna", False),
        ("CN=ann", False),
        ("O=anna", False),
        ("CN=anna,O=other", False),
        ("DNS=anna", False),
    ],
)
def test_a_certificate_has_a_role_if_it_has_all_parts(subject: str, fits: bool) -> None:
    roles = CertificateRoles.of([(Role.OPERATE, subject)])
    assert (roles.role_of(CERTIFICATE) is Role.OPERATE) is fits


def test_the_highest_role_that_fits_counts_and_none_is_none() -> None:
    roles = CertificateRoles.of([(Role.READ, "*"), (Role.ADMIN, "CN=anna"), (Role.OPERATE, "DNS=anna.example")])
    assert roles.role_of(CERTIFICATE) is Role.ADMIN
    assert roles.role_of({"subject": ((("commonName", "eve"),),)}) is Role.READ
    assert CertificateRoles().role_of(CERTIFICATE) is None


@pytest.mark.parametrize("subject", ["anna", "CN=", "XX=anna", "CN=anna,", "=anna", "", "CN=anna,*"])
def test_a_subject_that_says_nothing_is_refused_with_examples(subject: str) -> None:
    with pytest.raises(InvalidError, match="does not say which certificates are meant") as refusal:
        CertificateRoles.of([(Role.READ, subject)])
    assert "admin=CN=anna" in refusal.value.hint


def test_a_subject_is_shown_so_that_no_value_passes_for_two() -> None:
    assert subject_of(CERTIFICATE) == r"O=ops\, inc,CN=anna"
    assert subject_of({"subjectAltName": (("URI", "spiffe://a,b"),)}) == r"URI=spiffe://a\,b"


def test_the_highest_role_of_a_processs_groups_counts() -> None:
    roles = SocketRoles(((10, Role.READ), (20, Role.ADMIN), (20, Role.OPERATE), (30, Role.OPERATE)))
    assert roles.role_of(1000, {10}) is Role.READ
    assert roles.role_of(1000, {10, 30}) is Role.OPERATE
    assert roles.role_of(1000, {20, 10}) is Role.ADMIN
    assert roles.role_of(1000, {40}) is None
    assert roles.role_of(1000, set()) is None
    assert roles.role_of(0, set()) is Role.ADMIN
    assert roles.role_of(os.geteuid(), set()) is Role.ADMIN


def test_only_as_many_may_connect_as_one_group_needs() -> None:
    assert (SocketRoles().file_mode, SocketRoles().file_group) == (0o660, None)
    one = SocketRoles(((10, Role.READ), (10, Role.ADMIN)))
    assert (one.file_mode, one.file_group) == (0o660, 10)
    two = SocketRoles(((10, Role.READ), (20, Role.ADMIN)))
    assert (two.file_mode, two.file_group) == (0o666, None)


def test_groups_are_given_by_name_or_id_and_must_be_there() -> None:
    assert SocketRoles.of([(Role.ADMIN, "root"), (Role.READ, "4711")]).groups == ((0, Role.ADMIN), (4711, Role.READ))
    assert SocketRoles.of([], default="root").groups == ((0, Role.ADMIN),)
    assert SocketRoles.of([], default="no-such-group").groups == ()
    with pytest.raises(InvalidError, match="there is no group 'no-such-group'"):
        SocketRoles.of([(Role.READ, "no-such-group")])


def test_a_token_is_found_by_its_secret_which_is_not_kept() -> None:
    clock = Clock()
    tokens = Tokens(now=clock)
    token, secret = tokens.made("ci", Role.READ, 60)
    assert tokens.find(secret) is None, "it is only made"
    tokens.add(token)
    assert tokens.find(secret) == token
    assert secret not in repr(token)
    assert token.digest == digest_of(secret)
    for wrong in (secret[:-1], secret + "x", secret.upper(), "", "xdplb_", "\udcff", "x" * (LONGEST_SECRET + 1)):
        assert tokens.find(wrong) is None
    assert tokens.holds(token)
    clock.now += 60
    assert not tokens.holds(token)


def test_secrets_differ_and_have_256_bits() -> None:
    secrets = {Tokens().made("a", Role.READ, None)[1] for _ in range(100)}
    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {len("xdplb_") + 43}


def test_a_name_is_used_once() -> None:
    tokens = Tokens()
    tokens.add(tokens.made("ci", Role.READ, None)[0])
    with pytest.raises(ConflictError, match="there is a token 'ci' already"):
        tokens.made("ci", Role.ADMIN, None)
    with pytest.raises(NotFoundError):
        tokens.named("other")


def _in(folder: Path, scenario: Callable[[TokenFile], Any], clock: Clock | None = None) -> Any:
    async def inner() -> Any:
        file = TokenFile(folder, clock or Clock())
        told = scenario(file)
        return await told if asyncio.iscoroutine(told) else told

    return asyncio.run(inner())


def test_tokens_survive_and_what_is_removed_stays_removed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    token, secret = _in(folder, lambda file: file.add("ci", Role.OPERATE, 60))
    _in(folder, lambda file: file.add("other", Role.READ, None))
    again = TokenFile(folder, Clock())
    assert again.tokens.find(secret) == token
    assert (folder / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert secret not in (folder / FILE_NAME).read_text()
    _in(folder, lambda file: file.remove(file.tokens.named("ci")))
    assert [one.name for one in TokenFile(folder).tokens.all()] == ["other"]


def test_what_cannot_be_written_has_not_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state"
    token, secret = _in(folder, lambda file: file.add("ci", Role.OPERATE, None))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async def refused(file: TokenFile) -> None:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StateError, match="the tokens cannot be written"):
            await file.add("more", Role.READ, None)
        with pytest.raises(StateError):
            await file.remove(file.tokens.named("ci"))
        assert [one.name for one in file.tokens.all()] == ["ci"]
        assert file.tokens.find(secret) == token

    _in(folder, refused)
    monkeypatch.undo()
    assert TokenFile(folder).tokens.find(secret) == token


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"version": 2, "tokens": []}',
        b'{"version": 1, "tokens": [{"name": "x"}]}',
        b'{"version": 1, "tokens": [{"name": "x", "role": "god", "sha256": "' + b"0" * 64 + b'", "created": 1}]}',
        b'{"version": 1, "tokens": [{"name": "x", "role": "read", "sha256": "' + b"0" * 64 + b'", "created": Infinity,'
        b' "expires": null, "used": null}]}',
        b"[" * 100000,
    ],
)
def test_a_damaged_file_is_put_aside_and_lets_nobody_in(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert TokenFile(tmp_path).tokens.all() == []
    assert (tmp_path / f"{FILE_NAME}.damaged").read_bytes() == content
    assert "cannot be read, so there are none" in caplog.text


def test_when_a_token_was_used_is_written_once_a_minute_and_at_the_end(tmp_path: Path) -> None:
    clock = Clock()

    async def used(file: TokenFile) -> None:
        token, _ = await file.add("ci", Role.READ, None)
        for _ in range(20):
            clock.now += 1
            file.use(file.tokens.named("ci"))
            await asyncio.sleep(0.005)
        kept = json.loads((tmp_path / FILE_NAME).read_text())["tokens"][0]["used"]
        assert token.created < kept < clock.now
        file.close()

    _in(tmp_path, used, clock)
    assert json.loads((tmp_path / FILE_NAME).read_text())["tokens"][0]["used"] == clock.now


def test_failures_are_answered_later_and_later_and_forgotten() -> None:
    clock = Clock()
    slowing = Slowing(clock)
    waits = []
    for _ in range(9):
        seconds = slowing.failed("192.0.2.7")
        assert seconds is not None
        waits.append(seconds)
        if seconds:
            slowing.waited("192.0.2.7")
    assert waits == [0, 0, 0, 0.25, 0.5, 1, 2, 2, 2]
    assert slowing.failed("192.0.2.8") == 0
    clock.now += 200
    assert slowing.failed("192.0.2.7") == 0


def test_few_wait_and_the_others_are_answered_at_once() -> None:
    slowing = Slowing(Clock())
    of_one = [slowing.failed("2001:db8::1") for _ in range(20)]
    assert [seconds for seconds in of_one if seconds] == [0.25, 0.5, 1, 2]
    assert of_one.count(None) == 13
    assert slowing.failed("2001:db8::ffff") is None, "it is of the same /64"
    for number in range(100):
        for _ in range(20):
            slowing.failed(f"192.0.2.{number}")
    assert slowing.failed("192.0.2.200") == 0, "the first failures of another host are answered as ever"


def test_the_table_of_hosts_is_bounded_and_whoever_waits_is_still_counted() -> None:
    slowing = Slowing(Clock())
    for _ in range(8):
        slowing.failed("192.0.2.7")
    for number in range(5000):
        slowing.failed(f"10.0.{number >> 8}.{number & 255}")
    for _ in range(4):
        slowing.waited("192.0.2.7")
    waiting = [slowing.failed("192.0.2.9") for _ in range(8)]
    assert sum(1 for seconds in waiting if seconds) == 4


def test_refusals_are_told_once_a_minute_with_their_number() -> None:
    told: list[Event] = []
    clock = Clock()
    refusals = Refusals(told.append, clock)
    peer = Actor(ActorKind.TCP, peer="192.0.2.7:4000")
    for _ in range(10):
        refusals.unknown(peer, "192.0.2.7", "wrong")
    clock.now += 61
    refusals.unknown(peer, "192.0.2.7", "wrong")
    assert told == [AuthenticationFailed(peer, "wrong", 1), AuthenticationFailed(peer, "wrong", 10)]
    for number in range(1000):
        refusals.unknown(peer, f"10.0.0.{number}", "wrong")
    assert len(told) == 60


def test_a_month_of_refusals_is_a_small_part_of_the_events_that_are_kept() -> None:
    told: list[Event] = []
    clock = Clock()
    refusals = Refusals(told.append, clock)
    for number in range(30 * 24 * 60):
        clock.now += 60
        refusals.unknown(Actor(ActorKind.TCP), f"10.0.0.{number}", "wrong")
    assert 1_000 < len(told) < 15_000
    refusals.forbidden(Actor(ActorKind.TCP, token="ci"), "DELETE /v1/vips/web", Role.ADMIN)
    assert isinstance(told[-1], RequestForbidden), "whoever is known is not drowned out by those who are not"
