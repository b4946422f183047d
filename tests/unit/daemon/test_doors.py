# SPDX-License-Identifier: Apache-2.0
"""Where the API is served: what is refused before anything is attached, and what is said of its certificate."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import Authority
from xdplb.control.events import Event, TlsNotReloaded, TlsReloaded
from xdplb.daemon.doors import Doors, open_doors
from xdplb.daemon.options import ApiOptions, TlsFiles
from xdplb.model.errors import InvalidError, PlatformError, XdplbError
from xdplb.model.role import Role
from xdplb_api.rights.token_file import TokenFile


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> TlsFiles:
    return TlsFiles(*authority.sign("daemon", "/CN=lb1", names="DNS:lb1.example"), authority.certificate)


def opened(options: ApiOptions, folder: Path) -> Iterator[Doors]:
    with closing(open_doors(options, folder)) as doors:
        yield doors


def refused(options: ApiOptions, folder: Path) -> XdplbError:
    with pytest.raises(XdplbError) as refusal:
        open_doors(options, folder)
    assert refusal.value.hint
    return refusal.value


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8443"])
def test_beyond_loopback_it_is_not_served_without_tls(where: str, tmp_path: Path) -> None:
    error = refused(ApiOptions((f"unix:{tmp_path / 'api.sock'}", where)), tmp_path)
    assert error.detail == f"the API is not served on {where} without TLS: whoever is on the way could read tokens"
    assert not (tmp_path / "api.sock").exists(), "what was opened before is closed again"


def test_on_loopback_alone_it_starts_without_a_token_and_says_that_nobody_gets_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for doors in opened(ApiOptions(("127.0.0.1:0",)), tmp_path):
        [note] = doors.notes()
        assert note.startswith("nobody can use the API: it is served on TCP alone, and there is no token")
        assert note in caplog.text
    asyncio.run(_add_token(tmp_path))
    for doors in opened(ApiOptions(("127.0.0.1:0",)), tmp_path):
        assert not doors.notes()


def test_beyond_loopback_there_must_be_a_token_or_certificates_of_clients_or_the_socket(
    tmp_path: Path, files: TlsFiles
) -> None:
    where = "0.0.0.0:0"
    alone = ApiOptions((where,), tls=TlsFiles(files.certificate, files.key))
    assert "a token or a client certificate is needed, and there is none" in refused(alone, tmp_path).detail
    for _ in opened(ApiOptions((where,), tls=files, client_roles=((Role.READ, "*"),)), tmp_path):
        pass
    asyncio.run(_add_token(tmp_path))
    for doors in opened(alone, tmp_path):
        assert str(doors).startswith("https://")


async def _add_token(folder: Path) -> None:
    await TokenFile(folder).add("first", Role.ADMIN, None)


def test_certificates_of_clients_need_roles_and_roles_need_certificates(tmp_path: Path, files: TlsFiles) -> None:
    place = (f"unix:{tmp_path / 'api.sock'}",)
    assert "none of them has a role" in refused(ApiOptions(place, tls=files), tmp_path).detail
    roles = ((Role.READ, "*"),)
    without = TlsFiles(files.certificate, files.key)
    assert "says nothing without the CA" in refused(ApiOptions(place, tls=without, client_roles=roles), tmp_path).detail
    assert "says nothing without the CA" in refused(ApiOptions(place, client_roles=roles), tmp_path).detail


def test_a_group_that_is_not_there_is_refused(tmp_path: Path) -> None:
    options = ApiOptions((f"unix:{tmp_path / 'api.sock'}",), socket_groups=((Role.READ, "no-such-group"),))
    assert isinstance(refused(options, tmp_path), InvalidError)


def test_metrics_are_served_also_beyond_loopback(tmp_path: Path) -> None:
    for doors in opened(ApiOptions((f"unix:{tmp_path / 'api.sock'}",), metrics=("0.0.0.0:0", "127.0.0.1:0")), tmp_path):
        assert str(doors).count("http://") == 2
    error = refused(ApiOptions((f"unix:{tmp_path / 'api.sock'}",), metrics=("nowhere",)), tmp_path)
    assert [problem.pointer for problem in error.problems] == ["/metrics-listen"]


def test_connections_do_not_wait_for_a_delayed_ack(tmp_path: Path) -> None:
    for doors in opened(ApiOptions((f"unix:{tmp_path / 'api.sock'}", "127.0.0.1:0")), tmp_path):
        listening = doors.listeners[1].socket
        with socket.create_connection(listening.getsockname()), closing(listening.accept()[0]) as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_files_that_are_of_no_use_for_tls_are_refused_by_name(
    tmp_path: Path, files: TlsFiles, authority: Authority
) -> None:
    other = authority.sign("other", "/CN=other")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text(files.key.read_text().replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
    readable = tmp_path / "readable.key"
    readable.write_bytes(files.key.read_bytes())
    for path, mode in ((encrypted, 0o600), (readable, 0o604)):
        path.chmod(mode)
    wrong = {
        TlsFiles(files.certificate, other[1]): "key values mismatch",
        TlsFiles(tmp_path / "none", files.key): "No such file",
        TlsFiles(files.certificate, tmp_path / "none"): "No such file",
        TlsFiles(files.certificate, tmp_path): "it is not a file",
        TlsFiles(files.certificate, readable): "other users may read or write the key",
        TlsFiles(files.key, files.key): "it is not PEM",
        TlsFiles(files.certificate, files.key, files.key): "there is no certificate of a CA in it",
        TlsFiles(files.certificate, files.key, files.certificate): "there is no certificate of a CA in it",
    }
    for given, says in wrong.items():
        error = refused(ApiOptions(("127.0.0.1:0",), tls=given, client_roles=_roles(given)), tmp_path)
        assert isinstance(error, PlatformError)
        assert says in error.detail
        assert "_ssl.c" not in error.detail
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600


def _roles(files: TlsFiles) -> tuple[tuple[Role, str], ...]:
    return ((Role.READ, "*"),) if files.client_ca else ()


def test_a_daemon_starts_with_an_expired_certificate_and_says_so(tmp_path: Path, authority: Authority) -> None:
    expired = TlsFiles(*authority.sign("expired", "/CN=old", days=-1))
    told: list[Event] = []
    for doors in opened(ApiOptions((f"unix:{tmp_path / 'api.sock'}",), tls=expired), tmp_path):
        assert "expired at" in doors.notes()[0]
        doors.reload(told.append)
    [event] = told
    assert isinstance(event, TlsNotReloaded)
    assert event.error.endswith("clients will refuse it: certificate has expired")


def test_what_expires_soon_is_said_and_reloading_takes_it_back(tmp_path: Path, authority: Authority) -> None:
    soon = TlsFiles(*authority.sign("soon", "/CN=soon", days=3))
    told: list[Event] = []
    asyncio.run(_add_token(tmp_path / "state"))
    for doors in opened(ApiOptions((f"unix:{tmp_path / 'api.sock'}",), tls=soon), tmp_path / "state"):
        [note] = doors.notes()
        assert note.startswith(f"the API's certificate {soon.certificate} expires at ")
        later = authority.sign("later", "/CN=later", days=300)
        for fresh, old in zip(later, (soon.certificate, soon.key), strict=True):
            old.write_bytes(fresh.read_bytes())
        doors.reload(told.append)
        assert not doors.notes()
    assert isinstance(told[0], TlsReloaded)
