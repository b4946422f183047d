# SPDX-License-Identifier: Apache-2.0
"""Requests to members of etcd over HTTP: connections, TLS, time limits, and a sentence for each way to fail."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from xdplb.model.errors import StoreAwayError
from xdplb.model.store_address import StoreAccess

from .faults import GatewayError, Meaning

__all__ = ["Transport"]

_CONNECT_SECONDS = 1.0
_IDLE_SECONDS = 30.0
_MOST_CONNECTIONS = 8
_LONGEST_LINE = 256 << 20


class Transport:
    """Sends requests. The files for TLS are read again when they have changed, at the next `renew`."""

    def __init__(self, access: StoreAccess, *, tls: bool) -> None:
        self._access, self._tls = access, tls
        self._client: httpx2.AsyncClient | None = None
        self._files: tuple[tuple[int, int] | None, ...] = ()

    async def renew(self) -> None:
        """Read the files for TLS again if they have changed. Raises StoreAwayError if they cannot be used."""
        files = tuple(_stamp(path) for path in (self._access.ca, self._access.cert, self._access.key))
        if self._client is not None and files != self._files:
            await self.close()
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=_context(self._access) if self._tls else False,
                timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
                limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS),
                trust_env=False,  # a proxy of this host's environment is for the web
                follow_redirects=False,
            )
            self._files = files

    async def post(
        self, url: str, content: bytes, headers: Mapping[str, str], seconds: float, member: str
    ) -> tuple[int, bytes]:
        """Return status and body of the answer. Raises GatewayError if there is none within `seconds`."""
        with _faults(member, seconds):
            async with asyncio.timeout(seconds):
                answer = await self._open_client().post(url, content=content, headers=headers)
                return answer.status_code, answer.content

    async def get(self, url: str, seconds: float, member: str) -> tuple[int, bytes]:
        """Return status and body of the answer to a GET. Raises GatewayError if there is none within `seconds`."""
        with _faults(member, seconds):
            async with asyncio.timeout(seconds):
                answer = await self._open_client().get(url)
                return answer.status_code, answer.content

    @asynccontextmanager
    async def stream(
        self, url: str, content: bytes, headers: Mapping[str, str], seconds: float, member: str
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Yield the status of an answer that has no end, and its lines. It must begin within `seconds`."""
        with _faults(member, seconds):
            client = self._open_client()
            request = client.build_request("POST", url, content=content, headers=headers)
            async with asyncio.timeout(seconds):
                answer = await client.send(request, stream=True)
            try:
                yield answer.status_code, _lines(answer)
            finally:
                await answer.aclose()

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open_client(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise GatewayError(Meaning.AWAY, "the way to the store is closed", sent=False)
        return self._client


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the lines of an answer, and at its end what has no line end."""
    parts: list[bytes] = []
    size = 0
    async for chunk in answer.aiter_bytes():
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line])
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > _LONGEST_LINE:
            raise httpx2.ReadError("a line of it has no end")
    if line := b"".join(parts):
        yield line


@contextmanager
def _faults(member: str, seconds: float) -> Iterator[None]:
    """Raise GatewayError for what goes wrong on the way."""
    try:
        yield
    except TimeoutError:
        raise GatewayError(Meaning.AWAY, f"the store at {member} did not answer within {seconds:g} s") from None
    except httpx2.ConnectTimeout:
        detail = f"the store at {member} cannot be reached: it did not answer within {_CONNECT_SECONDS:g} s"
        raise GatewayError(Meaning.AWAY, detail, sent=False) from None
    except httpx2.ConnectError as error:
        raise _not_connected(error, member) from None
    except (httpx2.TransportError, httpx2.DecodingError, OSError) as error:
        if (fault := _tls_fault(error, member)) is not None:
            raise fault from None
        detail = f"the connection to the store at {member} broke off ({_said(error)})"
        raise GatewayError(Meaning.AWAY, detail, is_broken=True) from None


def _not_connected(error: Exception, member: str) -> GatewayError:
    if (fault := _tls_fault(error, member)) is not None:
        return fault
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return GatewayError(
            Meaning.AWAY, f"the name of the store's member {member} is not known", "see DNS", sent=False
        )
    numbers = [cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno]
    if errno.ECONNREFUSED in numbers:
        return GatewayError(Meaning.AWAY, f"nothing listens at {member}, where the store should be", sent=False)
    why = os.strerror(numbers[-1]) if numbers else _said(error)
    return GatewayError(Meaning.AWAY, f"the store at {member} cannot be reached: {why}", sent=False)


def _tls_fault(error: Exception, member: str) -> GatewayError | None:
    """Return what is wrong with TLS, None if it is something else."""
    found = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        detail = f"the certificate of the store at {member} is not accepted: {found.verify_message}"
        return GatewayError(Meaning.AWAY, detail, "give --store-ca with the authority that has made it", sent=False)
    reason = found.reason or str(found)
    if isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        detail = f"{member} ended TLS at once, as one does that does not talk it"
        return GatewayError(Meaning.AWAY, detail, "if it has no TLS, give its address as etcd://…", sent=False)
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}:
        return GatewayError(
            Meaning.AWAY, f"{member} does not talk TLS", "give the store's address as etcd://…", sent=False
        )
    if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        detail = f"the store at {member} does not accept this balancer's certificate, or wants one"
        return GatewayError(Meaning.AWAY, detail, "give --store-cert and --store-key", sent=False)
    return GatewayError(Meaning.AWAY, f"TLS with the store at {member} failed: {reason}", sent=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                yield from _causes(part)
        error = error.__cause__ or error.__context__


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _context(access: StoreAccess) -> ssl.SSLContext:
    """Return the TLS context. Raises StoreAwayError if a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=access.ca)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("--store-ca", access.ca, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.cert is not None:
        try:
            context.load_cert_chain(access.cert, access.key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable("--store-cert and --store-key", access.cert, error) from None
    return context


def _no_password() -> Any:
    raise ValueError("the key is encrypted")


def _unusable(option: str, path: Path | None, error: Exception) -> StoreAwayError:
    why = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else str(error)
    return StoreAwayError(f"{path} cannot be used: {why}", hint=f"put right {option}")


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        return None if path is None else (path.stat().st_mtime_ns, path.stat().st_ino)
    except OSError:
        return None
