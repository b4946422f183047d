# SPDX-License-Identifier: Apache-2.0
"""TLS of a probe, without I/O: what comes from the socket goes in, what is to be sent comes out."""

from __future__ import annotations

import contextlib
import ssl

from xdplb.control.health.probes.tls_contexts import Context
from xdplb.model.printable import printable

__all__ = ["Tls", "TlsError"]

_READ_BYTES = 16384
_LONGEST = 200
_ALERT = "_ALERT_"
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What OpenSSL calls an answer that is not TLS."""


class TlsError(Exception):
    """A handshake or a connection that failed; its text is a sentence."""


class Tls:
    """The TLS of one connection to a server."""

    __slots__ = ("_context", "_in", "_is_secured", "_object", "_out", "_server", "is_closed")

    def __init__(self, context: Context, host: str, port: int, name: str) -> None:
        self._context, self._server = context, (host, port, name)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        assert context.context is not None, context.error
        session = context.session(self._server) if context.resumes else None
        self._object = context.context.wrap_bio(self._in, self._out, server_hostname=name or None, session=session)
        self._is_secured = False
        self.is_closed = False
        """The server has said that nothing more comes."""

    def shake(self, data: bytes) -> bool:
        """Go on with the handshake, with what came; return whether it is done. Raises TlsError."""
        self._in.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError(_sentence(error, "the TLS handshake failed")) from None
        self._is_secured = True
        return True

    def read(self, data: bytes) -> bytes:
        """Take what came, and return what the server has said in it. Raises TlsError."""
        self._in.write(data)
        parts: list[bytes] = []
        try:
            while part := self._object.read(_READ_BYTES):
                parts.append(part)
            self.is_closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_closed = True
        except ssl.SSLError as error:
            if not parts:
                raise TlsError(_sentence(error, "TLS failed after the handshake")) from None
            self.is_closed = True
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Let this be sent; `outgoing` has it."""
        self._object.write(data)

    def outgoing(self) -> bytes:
        """Return what is to be sent now."""
        return self._out.read()

    def close(self) -> None:
        """Let the server know that nothing more comes; `outgoing` has it."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()

    def keep_session(self) -> None:
        """Keep what the next handshakes may resume, at the end: servers send it after the handshake."""
        if not self._context.resumes or not self._is_secured or self._object.session_reused:
            return
        session = self._object.session
        if session is not None and session.has_ticket:
            self._context.keep(self._server, session)

    def described(self) -> str:
        """Return what was agreed, for people."""
        cipher = self._object.cipher()
        resumed = ", resumed" if self._object.session_reused else ""
        return f"{self._object.version()}, {cipher[0] if cipher else 'no cipher'}{resumed}"


def _sentence(error: ssl.SSLError, what: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {printable(error.verify_message, _LONGEST)}"
    reason = error.reason or ""
    words = printable((reason or str(error)).lower().replace("_", " "), _LONGEST)
    if reason in _NO_TLS:
        return f"what it answers is not TLS ({words})"
    if _ALERT in reason:
        return f"{what}: the backend refused it ({words.partition(' alert ')[2]})"
    return f"{what}: {words}"
