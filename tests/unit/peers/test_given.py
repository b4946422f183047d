# SPDX-License-Identifier: Apache-2.0
"""What users give: the key file, and addresses of peers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xdplb.model.errors import InvalidError, PlatformError
from xdplb.peers.addresses import Place, parse_place
from xdplb.peers.keys import read_keys

ONE, OTHER = "a" * 32, "b" * 43 + "="


def _file(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "peers.key"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_one_key_or_two_with_comments(tmp_path: Path):
    assert [key.secret for key in read_keys(_file(tmp_path, ONE)).keys] == [ONE.encode()]
    both = read_keys(_file(tmp_path, f"# new\n{OTHER}\n\n# old\r\n{ONE}\r\n"))
    assert [key.secret for key in both.keys] == [OTHER.encode(), ONE.encode()]
    assert both.first.secret == OTHER.encode()
    assert both.named(both.keys[1].name) == both.keys[1]
    assert both.named(b"none") is None


def test_the_name_of_a_key_says_nothing_of_it():
    from xdplb.peers.keys import Key

    key = Key(ONE.encode())
    assert key.name != key.derived(b"hello")[:4]
    assert len({key.derived(b"hello"), key.derived(b"name"), Key(OTHER.encode()).derived(b"hello")}) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no key"),
        ("# only this\n", "no key"),
        ("a" * 31, "31 characters: it needs 32"),
        (f"{ONE}\n{OTHER}\n{'c' * 32}", "3 keys"),
        (f"{ONE}\n{ONE}\n", "the same"),
        ("a b" * 20, "not one word"),
        (b"\xff" * 40, "not one word"),
        ("a" * 9000, "too long"),
        ("a" * 1025, "1025 characters"),
    ],
)
def test_keys_that_are_of_no_use(tmp_path: Path, text: str | bytes, why: str):
    with pytest.raises(PlatformError, match=why) as raised:
        read_keys(_file(tmp_path, text))
    assert "--peer-key-file" in raised.value.detail
    assert "base64" in raised.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int):
    with pytest.raises(PlatformError, match="other users") as raised:
        read_keys(_file(tmp_path, ONE, mode))
    assert "chmod 0600" in raised.value.hint


def test_a_key_that_is_no_file_or_is_not_there(tmp_path: Path):
    with pytest.raises(PlatformError, match="No such file"):
        read_keys(tmp_path / "none")
    with pytest.raises(PlatformError, match="not a file"):
        read_keys(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(PlatformError, match="not a file"):
        read_keys(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.2", Place("10.0.0.2", 4815)),
        ("10.0.0.2:5000", Place("10.0.0.2", 5000)),
        ("[2001:db8::2]", Place("2001:db8::2", 4815)),
        ("[2001:DB8:0::2]:5000", Place("2001:db8::2", 5000)),
        ("2001:db8::2", Place("2001:db8::2", 4815)),
        ("127.0.0.1:5000", Place("127.0.0.1", 5000)),
    ],
)
def test_addresses_of_peers(text: str, place: Place):
    assert parse_place(text, "peer") == place


@pytest.mark.parametrize(
    "text", ["", "lb1", "lb1:4815", "10.0.0.2:", "10.0.0.2:0", "10.0.0.2:99999", "[::1", "224.0.0.1"]
)
def test_what_is_no_address_of_a_peer(text: str):
    with pytest.raises(InvalidError):
        parse_place(text, "peer")


def test_a_node_may_listen_on_all_addresses_and_any_port():
    assert parse_place("0.0.0.0", "peer-listen", listens=True) == Place("0.0.0.0", 4815)
    assert parse_place("[::]:0", "peer-listen", listens=True) == Place("::", 0)
    with pytest.raises(InvalidError):
        parse_place("0.0.0.0", "peer")
