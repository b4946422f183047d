# SPDX-License-Identifier: Apache-2.0
"""TLS of the API: the daemon's certificate, which may be replaced while it runs, and the CA of its clients."""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xdplb.control.events import Actor
from xdplb.model.errors import PlatformError

from .certificates import CertificateRoles, subject_of

__all__ = ["Tls", "TlsFiles"]

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy, authenticated encryption. TLS 1.3 has no others."""

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_CRL = "-----BEGIN X509 CRL-----"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL; the ssl module has no name for it
_MOST_PEM = 16 << 20
_PLACE_IN_SOURCE = re.compile(r"^\[\w+\] | \(_ssl\.c:\d+\)")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files: the certificate with its chain, its key, and the CAs of clients' certificates, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    names: frozenset[str]
    expires: float
    clients: bytes


class Tls:
    """The daemon's side of TLS. PlatformError if the files are of no use, as `reload` raises."""

    def __init__(self, files: TlsFiles, roles: CertificateRoles) -> None:
        self.files, self.roles = files, roles
        # A daemon that starts goes on with a certificate of the wrong date: the balancer matters more than its API.
        self._loaded = _load(files, at_any_time=True)

    @property
    def context(self) -> ssl.SSLContext:
        """What a new connection uses."""
        return self._loaded.context

    @property
    def names(self) -> frozenset[str]:
        """The DNS names in the certificate, in lower case; one may begin with `*.`."""
        return self._loaded.names

    @property
    def expires(self) -> float:
        """When the certificate expires, in seconds since 1970."""
        return self._loaded.expires

    def known(self, peer: Actor, certificate: Mapping[str, Any]) -> tuple[Actor, Callable[[], bool]]:
        """Return a peer as its verified certificate tells, and what says whether it would be let in again.

        That ends when the certificate expires, or with a `reload` that brought other CAs.
        """
        clients, expires = self._loaded.clients, ssl.cert_time_to_seconds(certificate["notAfter"])
        known = replace(peer, certificate=subject_of(certificate), role=self.roles.role_of(certificate))
        return known, lambda: self._loaded.clients == clients and time.time() < expires

    def reload(self) -> None:
        """Read the files again. What is of no use is refused with an error, and what was there stays."""
        self._loaded = _load(self.files)


def _load(files: TlsFiles, *, at_any_time: bool = False) -> _Loaded:
    certificate, clients = _read(files.certificate), b""
    _require_secret(files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # who resumes a session would keep the certificate of a CA that is no longer accepted
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except _EncryptedError:
        raise _useless(files.key, "it is encrypted, and the daemon has nobody to ask for the passphrase") from None
    except (ssl.SSLError, ValueError) as error:
        raise _useless(files.certificate, f"with the key {files.key} it is of no use: {_words(error)}") from None
    if files.client_ca is not None:
        clients = _read(files.client_ca)
        _trust(context, files.client_ca, clients)
    shown = _tried(context, files.certificate, certificate, at_any_time=at_any_time)
    names = {value.lower() for kind, value in shown.get("subjectAltName", ()) if kind == "DNS"}
    return _Loaded(context, frozenset(names), ssl.cert_time_to_seconds(shown["notAfter"]), clients)


def _trust(context: ssl.SSLContext, path: Path, pem: bytes) -> None:
    """Accept clients' certificates of these CAs; a revocation list in the same file counts."""
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise _useless(path, f"there is no certificate of a CA in it: {_words(error)}") from None
    if not context.get_ca_certs():
        raise _useless(path, "there is no certificate of a CA in it")
    if _CRL in pem.decode("ascii"):
        context.load_verify_locations(path)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    context.verify_mode = ssl.CERT_OPTIONAL  # who has none may have a token


def _tried(server: ssl.SSLContext, path: Path, pem: bytes, *, at_any_time: bool) -> Mapping[str, Any]:
    """Return what is in the server's certificate, after a handshake in memory with a client that trusts just that one.

    So a certificate that has expired, or is for clients only, is refused before a client refuses it. With `at_any_time`
    its dates do not count.
    """
    text = pem.decode("ascii", "replace")
    first = text[text.index(_BEGIN) : text.index(_END) + len(_END)]
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if at_any_time:
        client.verify_flags |= _NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=first)
        ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
        waiting = {*ends}
        for _ in range(10):
            for end in tuple(waiting):
                try:
                    end.do_handshake()
                    waiting.discard(end)
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise _useless(path, f"clients will refuse it: {error.verify_message}") from None
    except (ssl.SSLError, ValueError) as error:
        raise _useless(path, _words(error)) from None
    return ends[0].getpeercert() or {}


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, as long as nobody writes
            raise _useless(path, "it is not a file")
        with path.open("rb") as file:
            return file.read(_MOST_PEM)
    except OSError as error:
        raise _useless(path, error.strerror or str(error)) from None


def _require_secret(path: Path) -> None:
    """Raise PlatformError if others may read the key or put another in its place."""
    try:
        found = path.stat()
    except OSError as error:
        raise _useless(path, error.strerror or str(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise _useless(path, "it is not a file")
    if found.st_uid not in {0, os.geteuid()}:
        raise PlatformError(f"the key {path} belongs to user {found.st_uid}", hint=f"chown root {path}")
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise PlatformError(f"other users may read or write the key {path}", hint=f"chmod 0600 {path}")


class _EncryptedError(Exception):
    """The key is encrypted."""


def _no_password() -> str:
    raise _EncryptedError


def _useless(path: Path, why: str) -> PlatformError:
    return PlatformError(f"{path} cannot be used for TLS: {why}", hint="see docs/access.md, TLS")


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    words = str(reason).lower().replace("_", " ") if reason else _PLACE_IN_SOURCE.sub("", str(error))
    return "it is not PEM" if words in {"PEM lib", "no start line"} else words
