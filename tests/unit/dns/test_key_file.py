# SPDX-License-Identifier: Apache-2.0
"""Key files as BIND and Knot write them, and what is said of others, without what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdplb.dns.key_file import Key, read_key
from xdplb.model.errors import PlatformError

SECRET = "c2VjcmV0"


def file(folder: Path, text: str) -> Path:
    path = folder / "dns.key"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        f'key "lb" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n',
        f"# hmac-sha256:lb:{SECRET}\nkey lb {{ algorithm HMAC-SHA256; secret {SECRET}; }};",
        f'/* key "old" {{ }}; */ key "lb" {{ secret "{SECRET}"; algorithm "hmac-sha256."; }}; // the end',
    ],
)
def test_a_key_is_read(tmp_path: Path, text: str) -> None:
    assert read_key(file(tmp_path, text)) == Key("lb", "hmac-sha256", b"secret")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no key in the key file"),
        (f"secret {SECRET};", "there is no key in the key file"),
        (2 * f'key "lb" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n', "there is 2 keys"),
        (f'key "lb" {{ secret "{SECRET}"; }};', "has no algorithm"),
        ('key "lb" { };', "has no algorithm and no secret"),
        (f'key "lb" {{ algorithm hmac-md5; secret "{SECRET}"; }};', "is for 'hmac-md5', which is not used here"),
        ('key "lb" { algorithm hmac-sha256; secret "?sec=ret"; };', "is no base64"),
        ('key "lb" { algorithm hmac-sha256; secret "===="; };', "is no base64"),
        ("x" * 20000, "is larger than 16384 bytes"),
    ],
)
def test_what_is_no_key_is_told_without_its_secret(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PlatformError) as raised:
        read_key(file(tmp_path, text))
    assert told.replace("there is 2", "there are 2") in raised.value.detail
    assert SECRET not in str(raised.value)
    assert "sec=ret" not in str(raised.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="cannot be read: Is a directory"):
        read_key(tmp_path)
    assert "secret" not in repr(Key("lb", "hmac-sha256", b"secret"))
