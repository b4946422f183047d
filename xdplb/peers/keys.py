# SPDX-License-Identifier: Apache-2.0
"""The keys that all nodes of a cluster share, from a file with one or two of them.

What is sent is signed with the first, and what comes is accepted with either, so that a key is replaced node by node:
OLD, NEW on all, then NEW, OLD on all, then NEW.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xdplb.model.errors import PlatformError

__all__ = ["LEAST_KEY_BYTES", "Key", "Keys", "read_keys"]

LEAST_KEY_BYTES = 32
_MOST_KEY_BYTES = 1024
_MOST_KEYS = 2
_MOST_FILE_BYTES = 8192
_MAKE = "head -c 32 /dev/urandom | base64 > FILE; chmod 0600 FILE; and the same file on all nodes"


@dataclass(frozen=True)
class Key:
    """A shared secret. `name` is public: a part of its hash, by which a datagram says which one it was signed with."""

    secret: bytes

    @cached_property
    def name(self) -> bytes:
        """Four bytes that tell this key from others, and nothing of the secret."""
        return self.derived(b"name")[:4]

    def derived(self, purpose: bytes) -> bytes:
        """Return a key for one purpose, as in the expansion of RFC 5869: knowing it tells nothing of the others."""
        return hmac.digest(self._extracted, b"xdplb peers 1 " + purpose, hashlib.sha256)

    @cached_property
    def _extracted(self) -> bytes:
        return hmac.digest(b"xdplb peers", self.secret, hashlib.sha256)


@dataclass(frozen=True)
class Keys:
    """The keys in use, one or two; the first one signs."""

    keys: tuple[Key, ...]

    @property
    def first(self) -> Key:
        """The one that signs."""
        return self.keys[0]

    def named(self, name: bytes) -> Key | None:
        """Return the key of this name, None if it is not one of ours."""
        return next((key for key in self.keys if key.name == name), None)


def read_keys(path: Path) -> Keys:
    """Return the keys in the file: each in a line of its own, of 32 characters at least; lines with # do not count.

    Raises PlatformError if it cannot be read, others may read or replace it, or what it has cannot be used.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _useless(path, error.strerror or str(error)) from None
    try:
        _require_private(path, os.fstat(descriptor))
        text = os.read(descriptor, _MOST_FILE_BYTES + 1)
    except OSError as error:
        raise _useless(path, error.strerror or str(error)) from None
    finally:
        os.close(descriptor)
    return _keys_in(path, text)


def _require_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _useless(path, "it is not a file")
    if found.st_uid not in {0, os.geteuid()}:
        raise PlatformError(f"the key of the peers in {path} belongs to user {found.st_uid}", hint=f"chown root {path}")
    if found.st_mode & 0o077:
        raise PlatformError(f"other users may read or write the key of the peers in {path}", hint=f"chmod 0600 {path}")


def _keys_in(path: Path, text: bytes) -> Keys:
    if len(text) > _MOST_FILE_BYTES:
        raise _useless(path, "it is too long")
    lines = [line.strip() for line in text.split(b"\n")]
    secrets = [line for line in lines if line and not line.startswith(b"#")]
    if not secrets:
        raise _useless(path, "there is no key in it")
    if len(secrets) > _MOST_KEYS:
        raise _useless(path, f"it has {len(secrets)} keys: one, or two while one takes the place of the other")
    for number, secret in enumerate(secrets, 1):
        if not secret.isascii() or any(not 32 < byte < 127 for byte in secret):
            raise _useless(path, f"key {number} is not one word of printable ASCII")
        if not LEAST_KEY_BYTES <= len(secret) <= _MOST_KEY_BYTES:
            raise _useless(path, f"key {number} has {len(secret)} characters: it needs {LEAST_KEY_BYTES} at least")
    if len(set(secrets)) < len(secrets):
        raise _useless(path, "both keys are the same")
    return Keys(tuple(map(Key, secrets)))


def _useless(path: Path, why: str) -> PlatformError:
    return PlatformError(f"{path} cannot be used as --peer-key-file: {why}", hint=f"make one: {_MAKE}")
