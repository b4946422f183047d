# SPDX-License-Identifier: Apache-2.0
"""Which daemon a client talks to: a socket or a URL, with a token, with TLS and certificates."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_daemon import Script, scripted_url
from xdplb.client import Client, DaemonDownError, InvalidError, XdplbError


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem) and two certificates of it: server.pem and client.pem, with their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = {"ca": "basicConstraints=critical,CA:TRUE", "server": "subjectAltName=IP:127.0.0.1", "client": ""}
    for name, extension in names.items():
        signed = [] if name == "ca" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
        more = ["-addext", extension] if extension else []
        made = [*new, *signed, "-subj", f"/CN={name}", *more, "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        subprocess.run(made, cwd=folder, check=True, capture_output=True)
    return folder


def serving(certificates: Path, *, asks: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates / "ca.pem")
    return context


def test_tls_with_the_authority_and_a_certificate_of_its_own(script: Script, certificates: Path) -> None:
    script.on("GET", "/v1/version", {"version": "1"})
    ca, pem, key = (str(certificates / name) for name in ("ca.pem", "client.pem", "client.key"))
    with (
        scripted_url(script, serving(certificates, asks=True)) as url,
        Client(url=url, ca_file=ca, cert_file=pem, key_file=key) as client,
    ):
        assert client.version().json()["version"] == "1"


def test_a_daemon_whose_certificate_nobody_known_has_signed_is_not_talked_to(
    script: Script, certificates: Path
) -> None:
    with (
        scripted_url(script, serving(certificates)) as url,
        Client(url=url) as client,
        pytest.raises(DaemonDownError, match="certificate"),
    ):
        client.version()
    assert script.requests == []


def test_a_certificate_for_another_host_is_refused(script: Script, certificates: Path) -> None:
    with scripted_url(script, serving(certificates)) as url:
        other = url.replace("127.0.0.1", "localhost")
        with (
            Client(url=other, ca_file=str(certificates / "ca.pem")) as client,
            pytest.raises(DaemonDownError, match="certificate"),
        ):
            client.version()


@pytest.mark.parametrize("option", ["ca_file", "cert_file"])
def test_a_file_that_is_missing_or_no_pem_is_named(tmp_path: Path, option: str) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("none.pem", "empty.pem"):
        given: dict[str, Any] = {option: str(tmp_path / name)}
        with Client(url="https://127.0.0.1:1", **given) as client, pytest.raises(XdplbError, match=name):
            client.version()


def test_the_token_is_read_anew_for_each_request(script: Script, tmp_path: Path) -> None:
    script.on("GET", "/v1/version", {"version": "1"})
    file = tmp_path / "token"
    file.touch(0o600)
    with Client(socket_path=str(script.socket), token_file=str(file)) as client:
        for token in ("one", "two\n"):
            file.write_text(token)
            client.version()
    assert [told["Authorization"] for told in script.headers] == ["Bearer one", "Bearer two"]


def test_a_token_that_others_may_read_is_not_sent(script: Script, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    (tmp_path / "token").chmod(0o644)
    with (
        Client(socket_path=str(script.socket), token_file=str(tmp_path / "token")) as client,
        pytest.raises(XdplbError, match="token"),
    ):
        client.version()
    assert script.requests == []


@pytest.mark.parametrize("text", ["", "\n", "two words", "tök", "a\nb"])
def test_a_file_without_a_token_is_an_error(script: Script, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(text)
    with (
        Client(socket_path=str(script.socket), token_file=str(tmp_path / "token")) as client,
        pytest.raises(XdplbError, match="there is no token"),
    ):
        client.version()


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]", "lb.example.net"])
def test_a_token_does_not_go_over_a_network_in_clear(tmp_path: Path, host: str) -> None:
    (tmp_path / "token").write_text("s3cret")
    with (
        Client(url=f"http://{host}:8080", token_file=str(tmp_path / "token")) as client,
        pytest.raises(InvalidError, match="in clear"),
    ):
        client.version()


def test_a_url_may_have_a_path_in_front(script: Script) -> None:
    script.on("GET", "/lb1/v1/version", {"version": "1"})
    with scripted_url(script) as url, Client(url=f"{url}/lb1/") as client:
        assert client.version().json()["version"] == "1"


def test_a_token_file_may_have_tokens_of_several_daemons(script: Script, tmp_path: Path) -> None:
    script.on("GET", "/v1/version", {"version": "1"})
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("# of the peers\nlb1 one\nlb2 two\n")
    for name in ("lb1", "lb2"):
        with Client(socket_path=str(script.socket), token_file=str(file), token_name=name) as client:
            client.version()
    assert [told["Authorization"] for told in script.headers] == ["Bearer one", "Bearer two"]
    with (
        Client(socket_path=str(script.socket), token_file=str(file), token_name="lb3") as client,
        pytest.raises(XdplbError, match="there is no token"),
    ):
        client.version()
    file.write_text("of-both\n")
    with Client(socket_path=str(script.socket), token_file=str(file), token_name="lb3") as client:
        client.version()
    assert script.headers[-1]["Authorization"] == "Bearer of-both"
