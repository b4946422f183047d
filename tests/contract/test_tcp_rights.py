# SPDX-License-Identifier: Apache-2.0
"""The API on TCP, with real sockets and certificates: who is let in, as whom, and what is told of it."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tests.asking import ApiConnection, asked
from tests.certificates import Authority
from tests.contract.cli_harness import WEB, Daemon, Told, in_process, running_daemon
from xdplb.model.errors import PlatformError
from xdplb_api.rights.certificates import CertificateRoles
from xdplb_api.rights.tls import Tls, TlsFiles

GROUPS = (60001, 60002, 60003)
"""Group ids that nobody has: the operators', the readers', and one without a role."""
NOBODY = 65534
_SOURCES = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Served:
    """A daemon on all kinds of sockets."""

    daemon: Daemon
    authority: Authority
    log: Path
    ports: Mapping[str, int]

    def ask(
        self,
        where: str,
        method: str = "GET",
        path: str = "/v1/version",
        body: object = None,
        *,
        token: str | None = None,
        client: tuple[Path, Path] | None = None,
        source: str = "",
        **headers: str,
    ) -> tuple[int, Message, Any]:
        """Ask at the port that is called so; return status, headers and body of the answer.

        Each time it is another host that asks, unless `source` says which.
        """
        number = next(_SOURCES)
        host = (source or f"127.1.{number >> 8}.{number & 255}", 0)
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[where], timeout=20, source_address=host)
        if where == "tls":
            context = ssl.create_default_context(cafile=str(self.authority.certificate))
            if client is not None:
                context.load_cert_chain(*client)
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.ports[where], timeout=20, source_address=host, context=context
            )
        status, told_headers, told = asked(connection, method, path, body, token=token, headers=headers)
        is_json = "json" in (told_headers["Content-Type"] or "")
        return status, told_headers, json.loads(told) if told and is_json else told

    def token(self, name: str, role: str, *more: str) -> str:
        """Add a token and return its secret."""
        return self.daemon.ok("token", "add", name, "--role", role, *more).stdout.strip()

    def lines(self, word: str) -> list[str]:
        """Return the lines of the log that have this word."""
        return [line for line in self.log.read_text().splitlines() if word in line]

    def says(self, word: str, seconds: float = 10) -> str:
        """Wait for a line of the log with this word and return it."""
        end = time.monotonic() + seconds
        while not (found := self.lines(word)):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return found[-1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tcp")
    authority = Authority(folder)
    certificate, key = authority.sign("daemon", "/CN=lb1", names="DNS:lb1.example.net,DNS:*.lb.example,IP:127.0.0.1")
    api = {
        "listen": [f"unix:{folder / 'api.sock'}", "127.0.0.1:0", "127.0.0.2:0"],
        "metrics": ["127.0.0.1:0"],
        "tls": [str(certificate), str(key), str(authority.certificate)],
        "client_roles": [["admin", "CN=anna,O=ops"], ["operate", "O=ops"], ["read", "URI=spiffe://example/prometheus"]],
        "socket_groups": [["operate", str(GROUPS[0])], ["read", str(GROUPS[1])]],
        "hosts": ["balancer.example"],
    }
    log = folder / "log"
    with log.open("w") as written, running_daemon(folder, log=written.fileno(), api=api) as daemon:
        ports: dict[str, int] = {}
        found = Served(daemon, authority, log, ports)
        tls, _, metrics = re.findall(r"https?://127[.0-9]+:([0-9]+)", found.says("the API is on"))
        ports.update(tls=int(tls), metrics=int(metrics))
        yield found


def test_without_a_token_or_certificate_nothing_is_told(served: Served) -> None:
    for method, path in (
        ("GET", "/v1/vips"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/nothing"),
        ("POST", "/v1/vips"),
        ("OPTIONS", "/v1/vips"),
    ):
        status, headers, problem = served.ask("tls", method, path)
        assert (status, problem["type"]) == (401, "urn:xdplb:problem:unauthenticated"), path
        assert headers["WWW-Authenticate"] == 'Bearer realm="xdplb"'


def test_a_token_has_its_role_until_it_is_removed(served: Served) -> None:
    secret = served.token("ci", "operate")
    assert re.fullmatch(r"xdplb_[A-Za-z0-9_-]{43}", secret)
    assert served.ask("tls", token=secret)[0] == 200
    status, _, problem = served.ask("tls", "DELETE", "/v1/vips/web", token=secret)
    assert (status, problem["detail"]) == (403, "this request needs the role admin, and yours is operate")
    [shown] = json.loads(served.daemon.ok("token", "ls", "-o", "json").stdout)["tokens"]
    assert (shown["name"], shown["role"], shown["expired"]) == ("ci", "operate", False)
    assert shown["last_used"] >= shown["created"]
    assert served.daemon.run("token", "add", "ci", "--role", "read").returncode == 4
    served.daemon.ok("token", "rm", "ci")
    status, headers, problem = served.ask("tls", token=secret)
    assert (status, problem["detail"]) == (401, "there is no such token, or it was removed")
    assert 'error="invalid_token"' in headers["WWW-Authenticate"]
    assert "nothing to remove" in served.daemon.ok("token", "rm", "ci").stderr


def test_the_command_uses_a_token_from_a_private_file(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "token"
    served.daemon.ok("token", "add", "file", "--role", "admin", "--expires", "1h", "--write", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    url = ("--url", f"https://127.0.0.1:{served.ports['tls']}", "--tls-ca", str(served.authority.certificate))
    told = in_process(*url, "--token-file", str(file), "vip", "add", WEB, "--name", "web")
    assert told.returncode == 0, told.stderr
    assert "actor=" in served.says("edit=create_vip")
    assert re.search(r"tcp\(token=file,peer=127\.0\.0\.1:[0-9]+,role=admin\)", served.says("edit=create_vip"))
    file.chmod(0o644)
    refused = in_process(*url, "--token-file", str(file), "vip", "ls")
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (
        1,
        f"xdplb: error: other users may read or write the token file {file}",
    )


def test_a_token_expires(served: Served) -> None:
    secret = served.token("short", "read", "--expires", "1s")
    assert served.ask("tls", token=secret)[0] == 200
    time.sleep(1.1)
    status, _, problem = served.ask("tls", token=secret)
    assert (status, problem["detail"]) == (401, "the token short has expired")
    assert "expired" in served.daemon.ok("token", "ls").stdout


def test_a_certificate_has_the_role_of_its_subject(served: Served) -> None:
    sign = served.authority.sign
    roles = {
        sign("anna", "/O=ops/CN=anna"): "admin",
        sign("bert", "/O=ops/CN=bert"): "operate",
        sign("prometheus", "/CN=x", names="URI:spiffe://example/prometheus"): "read",
    }
    for client, role in roles.items():
        status, _, problem = served.ask("tls", "PUT", "/v1/vips/web/health-check", {}, client=client)
        expected = 403 if role != "admin" else 422
        assert status == expected, role
        assert role == "admin" or problem["detail"].endswith(f"yours is {role}")
    status, _, problem = served.ask("tls", client=sign("eve", "/O=other/CN=anna"))
    assert (status, problem["detail"]) == (403, "the certificate 'O=other,CN=anna' has no role")


def test_a_certificate_of_another_authority_is_no_certificate(served: Served, tmp_path: Path) -> None:
    forged = Authority(tmp_path, "ca").sign("anna", "/O=ops/CN=anna")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        served.ask("tls", client=forged)
    assert "authentication failed: actor=tcp(peer=127.1." in served.says("its certificate is refused: ")


def test_a_token_that_is_sent_counts_and_not_the_certificate(served: Served) -> None:
    anna = served.authority.sign("anna2", "/O=ops/CN=anna")
    assert served.ask("tls", client=anna, token="xdplb_wrong")[0] == 401


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(served: Served, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(served.authority.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", served.ports["tls"])) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_only_the_names_of_the_balancer_are_served(served: Served) -> None:
    secret, port = served.token("names", "read"), served.ports["tls"]
    for host in (
        f"127.0.0.1:{port}",
        "localhost",
        "lb1.example.net",
        "a.lb.example",
        "Balancer.example",
        "lb1.example.net.",
    ):
        assert served.ask("tls", token=secret, Host=host)[0] == 200, host
    for host in ("rebound.example", "a.b.lb.example", "lb.example", "10.0.0.1", "[", ""):
        assert served.ask("tls", token=secret, Host=host)[0] == 421, host
    page: Any = {"Host": f"lb1.example.net:{port}"}
    assert served.ask("tls", token=secret, **page, Origin=f"https://lb1.example.net:{port}")[0] == 200
    for origin in (f"http://lb1.example.net:{port}", "https://lb1.example.net", "https://page.example", "null"):
        assert served.ask("tls", token=secret, **page, Origin=origin)[0] == 403, origin


def test_metrics_have_a_door_of_their_own_that_leads_nowhere_else(served: Served) -> None:
    for path in ("/metrics", "/healthz"):
        assert served.ask("metrics", path=path)[0] == 200
        assert served.ask("metrics", "HEAD", path)[0] == 200
    assert served.ask("metrics", path="/readyz")[0] in {200, 503}
    told = served.ask("metrics", path="/metrics")[2].decode()
    assert 'xdplb_api_refused_total{reason="unauthenticated"} ' in told
    assert re.search(r"^xdplb_tls_certificate_expiry_timestamp_seconds [1-9]", told, re.MULTILINE)
    for method, path in (
        ("GET", "/"),
        ("GET", "/v1/vips"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("DELETE", "/v1/vips/web"),
        ("POST", "/v1/tokens"),
        ("GET", "/metrics/../v1/vips"),
    ):
        assert served.ask("metrics", method, path)[0] == 404, path
    assert served.ask("metrics", "POST", "/metrics")[0] == 405
    assert served.ask("metrics", "PUT", "/healthz", {"a": "body"})[0] in {405, 413}


_ASK = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
head = "{} {} HTTP/1.1\\r\\nHost: x\\r\\nXdplb-Client: t\\r\\nConnection: close\\r\\n\\r\\n"
connection.sendall(head.format(*sys.argv[2:]).encode())
print(b"".join(iter(lambda: connection.recv(65536), b"")).decode())
"""


def _as(gid: int, path: Path, *request: str, groups: str = "") -> Told:
    """Ask the Unix socket as a user who is nobody in particular, with these groups."""
    more = f"--groups={groups}" if groups else "--clear-groups"
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={gid}", more, "--", "/usr/bin/python3"]
    command = [*user, "-c", _ASK, path.name, *request]
    return subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_a_process_has_the_role_of_its_groups(served: Served) -> None:
    path = served.daemon.socket
    assert path.stat().st_mode & 0o777 == 0o666
    path.parent.chmod(0o755)
    operators, readers, others = GROUPS

    def status(gid: int, method: str, where: str, groups: str = "") -> str:
        return _as(gid, path, method, where, groups=groups).stdout.partition("\n")[0]

    assert status(readers, "GET", "/v1/version") == "HTTP/1.1 200 OK"
    assert status(others, "GET", "/v1/version", groups=str(readers)) == "HTTP/1.1 200 OK"
    assert status(readers, "DELETE", "/v1/vips/web/backends/10.0.0.1/drain") == "HTTP/1.1 403 Forbidden"
    drain = "DELETE", "/v1/vips/none/backends/10.0.0.1/drain"
    assert status(operators, *drain) == "HTTP/1.1 404 Not Found"
    assert status(readers, *drain, groups=f"{readers},{operators}") == "HTTP/1.1 404 Not Found"
    assert status(operators, "DELETE", "/v1/vips/web") == "HTTP/1.1 403 Forbidden"
    many = ",".join(str(70000 + number) for number in range(400))
    assert status(others, "GET", "/v1/version", groups=f"{many},{readers}") == "HTTP/1.1 200 OK"
    told = _as(others, path, "GET", "/v1/version").stdout
    assert told.startswith("HTTP/1.1 403 Forbidden")
    assert "has no role here: none of its groups has one" in told
    assert "forbidden: actor=unix(uid=65534" in served.says("request='any request' needed=read")


def test_wrong_tokens_are_slowed_and_told_once_and_right_ones_are_not(served: Served) -> None:
    right = served.token("right", "read")
    before = len(served.lines("authentication failed"))
    taken = []
    for _ in range(6):
        start = time.monotonic()
        assert served.ask("tls", token="xdplb_guess", source="127.2.0.1")[0] in {401, 429}
        taken.append(time.monotonic() - start)
        start = time.monotonic()
        assert served.ask("tls", token=right, source="127.2.0.1")[0] == 200
    assert max(taken) >= 0.25
    assert len(served.lines("authentication failed")) - before <= 1


def test_a_new_certificate_is_used_after_sighup_and_a_bad_one_is_not(served: Served) -> None:
    certificate = served.authority.folder / "daemon.pem"
    key = served.authority.folder / "daemon.key"
    before = certificate.read_bytes(), key.read_bytes()

    def shown() -> str:
        context = ssl.create_default_context(cafile=str(served.authority.certificate))
        plain = socket.create_connection(("127.0.0.1", served.ports["tls"]))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            subject: Any = (wrapped.getpeercert() or {})["subject"]
            return str(subject[0][0][1])

    assert shown() == "lb1"
    expired, expired_key = served.authority.sign("expired", "/CN=expired", names="IP:127.0.0.1", days=-1)
    for wrong, says in (
        (b"rubbish", "daemon.pem cannot be used for TLS"),
        (expired.read_bytes(), "key values mismatch"),
    ):
        certificate.write_bytes(wrong)
        served.daemon.process.send_signal(signal.SIGHUP)
        served.says(says)
        assert shown() == "lb1"
    key.write_bytes(expired_key.read_bytes())
    served.daemon.process.send_signal(signal.SIGHUP)
    served.says("clients will refuse it: certificate has expired")
    assert shown() == "lb1"
    fresh, fresh_key = served.authority.sign("fresh", "/CN=lb2", names="IP:127.0.0.1")
    certificate.write_bytes(fresh.read_bytes())
    key.write_bytes(fresh_key.read_bytes())
    served.daemon.process.send_signal(signal.SIGHUP)
    served.says("TLS certificate read again")
    assert shown() == "lb2"
    certificate.write_bytes(before[0])
    key.write_bytes(before[1])


def test_handshakes_that_are_not_finished_keep_nobody_out(served: Served) -> None:
    secret = served.token("patient", "read")
    stalled = [socket.create_connection(("127.0.0.1", served.ports["tls"])) for _ in range(300)]
    try:
        start = time.monotonic()
        assert served.ask("tls", token=secret)[0] == 200
        assert time.monotonic() - start < 5
        with closing(ApiConnection(served.daemon.socket)) as local:
            assert local.ask("GET", "/v1/version")[0] == 200
    finally:
        for one in stalled:
            one.close()


def test_no_secret_is_in_the_log_the_state_or_an_answer(served: Served) -> None:
    secrets = [served.token(f"secret-{role}", role) for role in ("read", "admin")]
    for secret in secrets:
        for path in ("/v1/vips", "/v1/status", "/v1/tokens", f"/v1/vips/{secret}", "/v1/nothing"):
            told = served.ask("tls", path=path, token=secret)[2]
            assert path.endswith(secret) or secret not in json.dumps(str(told))
        served.ask("tls", token=f"{secret}x")
    places = [served.log, *(served.daemon.folder / "state").iterdir()]
    arguments = Path(f"/proc/{served.daemon.process.pid}/cmdline")
    for place in (*places, arguments):
        held = place.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in held], place
    assert (served.daemon.folder / "state" / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_what_is_sent_to_a_token_ends_when_that_is_removed(served: Served) -> None:
    secret = served.token("watcher", "read")
    context = ssl.create_default_context(cafile=str(served.authority.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", served.ports["tls"], timeout=20, context=context)
    with closing(connection):
        headers = {"Authorization": f"Bearer {secret}", "Accept": "text/event-stream"}
        connection.request("GET", "/v1/events", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        served.daemon.ok("token", "rm", "watcher")
        start = time.monotonic()
        with suppress(http.client.HTTPException, OSError):  # it is cut off; without that, it waits for 20 s
            while answer.read1(65536):
                continue
        assert time.monotonic() - start < 10


def test_it_has_logged_no_traceback_and_lost_no_descriptor(served: Served) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{served.daemon.process.pid}/fd").iterdir()))

    context = ssl.create_default_context(cafile=str(served.authority.certificate))
    forged = Authority(served.log.parent, "forged").sign("eve", "/O=ops/CN=anna")
    context.load_cert_chain(*forged)
    before = descriptors()
    for number in range(60):
        with socket.create_connection(("127.0.0.1", served.ports["tls"]), timeout=5) as plain, suppress(OSError):
            if number % 3 == 0:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                plain.recv(100)
            elif number % 3 == 1:
                plain.sendall(bytes.fromhex("16030100aa") + os.urandom(number))
            else:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                    wrapped.recv(100)
    end = time.monotonic() + 10
    while descriptors() > before + 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert descriptors() <= before + 3
    assert not served.lines("Traceback")


def test_connections_of_certificates_end_with_their_authority(served: Served) -> None:
    anna = served.authority.sign("anna3", "/O=ops/CN=anna")
    context = ssl.create_default_context(cafile=str(served.authority.certificate))
    context.load_cert_chain(*anna)
    connection = http.client.HTTPSConnection("127.0.0.1", served.ports["tls"], timeout=20, context=context)
    trusted = served.authority.certificate
    before, other = trusted.read_bytes(), Authority(served.log.parent, "ca2").certificate
    with closing(connection):
        connection.request("GET", "/v1/version")
        assert connection.getresponse().read()
        trusted.write_bytes(other.read_bytes())
        try:
            served.daemon.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 10
            while connection.sock is not None and select.select([connection.sock], [], [], 0)[0] == []:
                assert time.monotonic() < end, served.log.read_text()[-3000:]
                time.sleep(0.05)
            context = ssl.create_default_context(cadata=before.decode())
            context.load_cert_chain(*anna)
            with socket.create_connection(("127.0.0.1", served.ports["tls"]), timeout=10) as plain:
                assert not _is_answered(context, plain)
        finally:
            trusted.write_bytes(before)
            served.daemon.process.send_signal(signal.SIGHUP)


def _is_answered(context: ssl.SSLContext, plain: socket.socket) -> bool:
    try:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            wrapped.sendall(b"GET /v1/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return bool(wrapped.recv(1))
    except OSError:
        return False


def test_a_pipe_is_no_certificate_and_is_not_waited_for(served: Served, tmp_path: Path) -> None:
    certificate, key = served.authority.sign("piped", "/CN=x")
    os.mkfifo(tmp_path / "pipe")
    for files in (TlsFiles(tmp_path / "pipe", key), TlsFiles(certificate, key, tmp_path / "pipe")):
        with pytest.raises(PlatformError, match="it is not a file"):
            Tls(files, CertificateRoles())


def test_a_revoked_certificate_is_refused(served: Served) -> None:
    revoked = served.authority.sign("revoked", "/O=ops/CN=anna")
    served.log.with_name("revoked.crl").write_bytes(served.authority.revoked(revoked[0]))
    trusted = served.authority.certificate
    before = trusted.read_bytes()
    trusted.write_bytes(before + served.log.with_name("revoked.crl").read_bytes())
    try:
        context = Tls(TlsFiles(*served.authority.sign("peer", "/CN=x"), trusted), CertificateRoles()).context
        assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
        assert _shakes_hands(context, served.authority.sign("bert2", "/O=ops/CN=bert"))
        assert not _shakes_hands(context, revoked)
    finally:
        trusted.write_bytes(before)


def _shakes_hands(server: ssl.SSLContext, client: tuple[Path, Path]) -> bool:
    """Return whether a server lets in a client with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(*client)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [context.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for _ in range(5):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return True


def test_it_stops_without_a_wait_for_handshakes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("daemon", "/CN=lb1", names="IP:127.0.0.1")
    api = {"listen": [f"unix:{tmp_path / 'api.sock'}", "127.0.0.3:0"], "tls": [str(certificate), str(key)]}
    with (tmp_path / "log").open("w") as log, running_daemon(tmp_path, log=log.fileno(), api=api) as daemon:
        found = Served(daemon, authority, tmp_path / "log", {})
        [port] = re.findall(r"https://127\.0\.0\.3:([0-9]+)", found.says("the API is on"))
        with socket.create_connection(("127.0.0.3", int(port))):
            time.sleep(0.2)
            start = time.monotonic()
            daemon.process.terminate()
            daemon.process.wait(20)
            assert time.monotonic() - start < 4
    assert not found.lines("Traceback")
