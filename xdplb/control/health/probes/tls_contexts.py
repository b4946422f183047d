# SPDX-License-Identifier: Apache-2.0
"""TLS contexts of checks, by the files that they are made of: read in a thread, and anew when the files change.

A host may have thousands of checks with the same few files. The control loop waits for no disk: a check whose files are
not read yet goes on when they are.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Context", "Contexts", "TlsFiles", "TlsWanted"]

_LOOK_SECONDS = 2.0
"""The least time between two looks at whether files have changed."""
_RESUMED_SECONDS = 60.0
"""For how long after a whole handshake others are resumed from it: these do not look at the certificate anew."""
_MOST_SESSIONS = 16384
_now = time.monotonic
_SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")

_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a context is made of: whether certificates are verified, and the files for that and of our own, "" for none.

    Without `ca_file` the host's own CAs are believed.
    """

    verify: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def paths(self) -> Iterator[str]:
        """Yield the files that are given."""
        return (path for path in (self.ca_file, self.cert_file, self.key_file) if path)


@dataclass(frozen=True, slots=True)
class TlsWanted:
    """How a probe is secured: with these files, and for the server of this name (SNI), "" for none."""

    files: TlsFiles
    name: str = ""


@dataclass(slots=True)
class Context:
    """A context, and what was agreed with servers; or the sentence that says why there is none.

    `resumes`: a handshake that resumes an earlier one is cheaper than a whole one. That is so where certificates are
    verified: else it takes more to read what was agreed than to agree anew.
    """

    context: ssl.SSLContext | None
    error: str = ""
    resumes: bool = False
    _sessions: dict[tuple[str, int, str], tuple[ssl.SSLSession, float]] = field(default_factory=dict)

    def session(self, server: tuple[str, int, str]) -> ssl.SSLSession | None:
        """Return what to resume with this server, None if it is time for a whole handshake."""
        found = self._sessions.get(server)
        if found is None:
            return None
        if _now() >= found[1]:
            del self._sessions[server]
            return None
        return found[0]

    def keep(self, server: tuple[str, int, str], session: ssl.SSLSession) -> None:
        """Keep what the next handshakes with this server may resume, after a whole one."""
        if len(self._sessions) >= _MOST_SESSIONS:
            self._sessions.clear()
        self._sessions[server] = session, _now() + _RESUMED_SECONDS


@dataclass(slots=True)
class _Entry:
    context: Context | None = None
    signature: _Signature | None = None
    looked: float = 0.0
    is_looking: bool = False
    waiting: list[Callable[[], None]] = field(default_factory=list)


class Contexts:
    """The contexts of all checks, in the event loop in which they are asked for."""

    def __init__(self) -> None:
        self._entries: dict[TlsFiles, _Entry] = {}

    def get(self, files: TlsFiles) -> Context | None:
        """Return the context of these files, None if they are still to be read."""
        entry = self._entries.get(files)
        if entry is None:
            entry = self._entries[files] = _Entry()
        if not entry.is_looking and _now() - entry.looked >= _LOOK_SECONDS:
            entry.is_looking = True
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, _read, files, entry.signature)
            reading.add_done_callback(lambda done: self._is_read(entry, done))
        return entry.context

    def when_read(self, files: TlsFiles, call: Callable[[], None]) -> None:
        """Call back once the files that `get` had no context of are read."""
        self._entries[files].waiting.append(call)

    def _is_read(self, entry: _Entry, done: asyncio.Future[tuple[_Signature | None, Context | None]]) -> None:
        entry.is_looking, entry.looked = False, _now()
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            entry.signature, entry.context = None, Context(None, f"its TLS files cannot be used: {error!r}")
        else:
            entry.signature, context = done.result()
            entry.context = context or entry.context
        waiting, entry.waiting = entry.waiting, []
        for call in waiting:
            call()


def _read(files: TlsFiles, known: _Signature | None) -> tuple[_Signature | None, Context | None]:
    """Return what the files look like and the context of them; None for it if they look as they did."""
    try:
        signature = tuple(_signature(path) for path in files.paths())
    except OSError as error:
        return None, Context(None, f"{error.filename} cannot be read: {error.strerror}")
    if signature == known:
        return signature, None
    try:
        return signature, Context(_context(files), resumes=files.verify)
    except ssl.SSLError as error:
        return None, Context(None, f"{' or '.join(files.paths())} cannot be used: {error.reason or error}")
    except OSError as error:
        return None, Context(None, f"{' or '.join(files.paths())} cannot be read: {error.strerror}")


def _signature(path: str) -> tuple[int, int, int]:
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = files.verify
    context.verify_mode = ssl.CERT_REQUIRED if files.verify else ssl.CERT_NONE
    if files.verify:
        # Not load_default_certs(), which holds the interpreter while it reads.
        context.load_verify_locations(files.ca_file or _SYSTEM_CAS)
    if files.cert_file:
        context.load_cert_chain(files.cert_file, files.key_file or None, password=_no_password)
    return context


def _no_password() -> str:
    raise ssl.SSLError(0, "the key has a password, which checks cannot give")
