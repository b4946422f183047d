# SPDX-License-Identifier: Apache-2.0
"""The file of a TSIG key, as BIND writes it: `key "NAME" { algorithm hmac-sha256; secret "BASE64"; };`."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

from xdplb.model.errors import PlatformError
from xdplb.model.printable import quoted

__all__ = ["ALGORITHMS", "Key", "read_key"]

ALGORITHMS = (
    "hmac-sha256",
    "hmac-sha512",
    "hmac-sha384",
    "hmac-sha224",
    "hmac-sha1",
    "hmac-sha256-128",
    "hmac-sha384-192",
    "hmac-sha512-256",
)
_MOST_BYTES = 16384
_MAKE = "make one with `tsig-keygen -a hmac-sha256 NAME`, or with Knot's `keymgr -t NAME`"
_COMMENTS = re.compile(r"/\*.*?\*/|(?://|#)[^\n]*", re.DOTALL)
_KEY = re.compile(r'key\s+"?([^\s"{};]+)"?\s*\{([^}]*)\}\s*;?')
_OPTION = re.compile(r'(algorithm|secret)\s+"?([^\s";]+)"?\s*;')


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its name, its algorithm, and the secret, which is shown nowhere."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def read_key(path: Path) -> Key:
    """Return the key in a file. Raises PlatformError with a sentence, which never has any of what is in the file."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8", "replace")
    except OSError as error:
        owner = _owner(path) if isinstance(error, PermissionError) else ""
        raise PlatformError(
            f"the key file {path} cannot be read: {error.strerror}{owner}",
            hint="the daemon reads it as root without CAP_DAC_OVERRIDE: chown root it, and chmod 600 it",
        ) from None
    if len(text) > _MOST_BYTES:
        raise PlatformError(f"the key file {path} is larger than {_MOST_BYTES} bytes, so it is none", hint=_MAKE)
    return _key_of(path, text)


def _key_of(path: Path, text: str) -> Key:
    keys = _KEY.findall(_COMMENTS.sub(" ", text))
    if len(keys) != 1:
        number = "is no key" if not keys else f"are {len(keys)} keys"
        raise PlatformError(f"there {number} in the key file {path}", hint=f"it must have one: {_MAKE}")
    name, body = keys[0]
    options = dict(_OPTION.findall(body))
    if missing := [option for option in ("algorithm", "secret") if option not in options]:
        raise PlatformError(f"the key in {path} has no {' and no '.join(missing)}", hint=_MAKE)
    algorithm = options["algorithm"].lower().rstrip(".")
    if algorithm not in ALGORITHMS:
        raise PlatformError(
            f"the key in {path} is for {quoted(options['algorithm'])}, which is not used here",
            hint=f"use one of {', '.join(ALGORITHMS)}: {_MAKE}",
        )
    try:
        secret = b64decode(options["secret"], validate=True)
    except (binascii.Error, ValueError):
        raise PlatformError(f"the secret in {path} is no base64", hint=_MAKE) from None
    if not secret:
        raise PlatformError(f"the secret in {path} is empty", hint=_MAKE)
    return Key(name, algorithm, secret)


def _owner(path: Path) -> str:
    """Return who owns a file that cannot be read, as the end of a sentence; "" if not even that can be seen."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"; it belongs to user {found.st_uid} and group {found.st_gid}, with mode {found.st_mode & 0o7777:o}"
