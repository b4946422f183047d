# SPDX-License-Identifier: Apache-2.0
"""https and tls checks: handshakes, certificates, and backends that speak no TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.probing import probe
from tests.unit.control.probe_servers import answering, result_of, stream, words
from xdplb.control.health.probes import tls_contexts
from xdplb.model.health import CheckType, HealthCheck

NAME = "www.example.com"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
HTTPS = HealthCheck(type=CheckType.HTTPS, timeout_seconds=1.0)
TLS = HealthCheck(type=CheckType.TLS, timeout_seconds=1.0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    return server_context(*authority.sign("server", f"/CN={NAME}", names=f"DNS:{NAME}"))


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_without_verify_any_certificate_will_do(server: ssl.SSLContext) -> None:
    heard: list[bytes] = []
    with stream(answering(OK, heard), server) as port:
        assert words(result_of(HTTPS, port)) == (True, "status 200")
        assert words(result_of(TLS, port)) == (True, "the TLS handshake is done")
    assert heard[0].startswith(b"GET / HTTP/1.1\r\n")


def test_the_name_is_sent_and_verified(server: ssl.SSLContext, authority: Authority) -> None:
    names: list[str | None] = []
    server.sni_callback = lambda _, name, __: names.append(name)
    check = replace(HTTPS, sni=NAME, verify=True, ca_file=str(authority.certificate))
    with stream(answering(OK), server) as port:
        assert words(result_of(check, port)) == (True, "status 200")
        passed, reason = words(result_of(replace(check, sni="other.example.com"), port))
    assert names == [NAME, "other.example.com"]
    assert passed is False
    assert reason.startswith("its certificate is not accepted: Hostname mismatch")


def test_a_certificate_of_nobody_we_know_is_not_accepted(server: ssl.SSLContext, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    with stream(answering(OK), server) as port:
        result = result_of(replace(HTTPS, sni=NAME, verify=True, ca_file=str(other.certificate)), port)
        host_cas = result_of(replace(HTTPS, sni=NAME, verify=True), port)
    assert result.passed is False
    assert result.reason.startswith("its certificate is not accepted: unable to get local issuer")
    assert host_cas.passed is False


def test_a_client_certificate_is_shown(server: ssl.SSLContext, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("client", "/CN=xdplb")
    asking = server_context(authority.folder / "server.pem", authority.folder / "server.key")
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(authority.certificate)
    with stream(answering(OK), asking) as port:
        assert result_of(replace(HTTPS, cert_file=str(certificate), key_file=str(key)), port).passed
        result = result_of(HTTPS, port)
    assert result.passed is False
    assert "the backend refused it (certificate required)" in result.reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what it answers is not TLS (wrong version number)"),
        (os.urandom(5000), "what it answers is not TLS"),
        (b"", "connection closed in the TLS handshake: does it speak TLS?"),
    ],
)
def test_a_port_without_tls_is_said_so(answer: bytes, reason: str) -> None:
    with stream(answering(answer)) as port:
        result = result_of(HTTPS, port)
    assert result.passed is False
    assert result.reason.startswith((reason, "the TLS handshake failed", "connection reset"))


def test_a_handshake_that_never_ends_is_cut_at_the_timeout() -> None:
    with stream(lambda client: time.sleep(1)) as port:
        result = result_of(replace(TLS, timeout_seconds=0.3), port)
    assert words(result) == (False, "connected, but the TLS handshake did not end in 0.3 s")


def test_a_file_that_is_not_there_says_nothing_about_the_backend(server: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    with stream(answering(OK), server) as port:
        for name, words_ in (("none.pem", "cannot be read: No such file"), ("broken.pem", "cannot be used")):
            result = result_of(replace(HTTPS, sni=NAME, verify=True, ca_file=str(tmp_path / name)), port)
            assert result.passed is None
            assert result.reason.startswith("this host could not run the check: ")
            assert words_ in result.reason


def test_files_that_change_are_read_again(
    server: ssl.SSLContext, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_contexts, "_LOOK_SECONDS", 0.0)
    cas = tmp_path / "ca.pem"
    cas.write_bytes(Authority(tmp_path, "other").certificate.read_bytes())
    check = replace(TLS, sni=NAME, verify=True, ca_file=str(cas))

    async def run() -> list[bool | None]:
        found = [(await probe(check, "127.0.0.1", port)).passed]
        cas.write_bytes(authority.certificate.read_bytes())
        for _ in range(3):
            found.append((await probe(check, "127.0.0.1", port)).passed)
            await asyncio.sleep(0.05)
        return found

    with stream(answering(b""), server) as port:
        found = asyncio.run(run())
    assert (found[0], found[-1]) == (False, True)


def test_handshakes_are_resumed_for_a_while_only(
    server: ssl.SSLContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[bool | None] = []

    def handle(client: ssl.SSLSocket) -> None:
        resumed.append(client.session_reused)
        answering(OK)(client)

    check = replace(HTTPS, sni=NAME, verify=True, ca_file=str(authority.certificate))

    async def run() -> None:
        for _ in range(3):
            assert (await probe(check, "127.0.0.1", port)).passed
            await asyncio.sleep(0.1)
        monkeypatch.setattr(tls_contexts, "_now", lambda: time.monotonic() + 61)
        assert (await probe(check, "127.0.0.1", port)).passed

    with stream(handle, server) as port:  # type: ignore[arg-type]
        asyncio.run(run())
    assert resumed == [False, True, True, False]
