# SPDX-License-Identifier: Apache-2.0
"""What is said when the store does not do what it should: with real etcd, and with what is none."""

from __future__ import annotations

import asyncio
import http.server
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.real_etcd import Etcd, running_etcd
from xdplb.cluster.repository import ABSENT, Change
from xdplb.etcd.repository import EtcdRepository
from xdplb.model.errors import StoreAwayError, StoreRefusedError, XdplbError
from xdplb.model.store_address import StoreAccess, StoreAddress
from xdplb.net import netns

pytestmark = pytest.mark.root

ANYBODY = StoreAccess()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        yield etcd


def refusal(etcd: Etcd, address: StoreAddress, access: StoreAccess = ANYBODY) -> XdplbError:
    """Return what is raised when a change is written."""

    async def test() -> XdplbError:
        repository = EtcdRepository(address, access, "lb1")
        try:
            with pytest.raises((StoreAwayError, StoreRefusedError)) as caught:
                await repository.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}}))
            return caught.value
        finally:
            await repository.close()

    return etcd.run(test)


def write(etcd: Etcd, address: StoreAddress, access: StoreAccess = ANYBODY) -> None:
    async def test() -> None:
        repository = EtcdRepository(address, access, "lb1")
        try:
            await repository.commit(ABSENT, Change({"generation": 1}, {"vips/a": {}}))
        finally:
            await repository.close()

    etcd.run(test)


def anywhere(etcd: Etcd) -> StoreAddress:
    return etcd.address(f"/test/{uuid.uuid4().hex}")


@contextmanager
def serving(etcd: Etcd, answer: Callable[[str], tuple[int, str, str]]) -> Iterator[StoreAddress]:
    """Yield the address of a web server, which is no etcd: `answer` makes status, type and body of a path."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: Any) -> None:
            pass

    server = netns.inside(etcd.namespace, lambda: http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield StoreAddress((f"127.0.0.1:{server.server_address[1]}",))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_gateway_is_off(etcd):
    with running_etcd(1, "--enable-grpc-gateway=false") as other:
        error = refusal(other, anywhere(other))
    assert error.detail == "etcd at 127.0.0.1:2379 does not serve its JSON gateway"
    assert "--enable-grpc-gateway" in error.hint
    assert isinstance(error, StoreAwayError)


def test_it_is_an_etcd_that_is_too_old(etcd):
    def answer(path: str) -> tuple[int, str, str]:
        if path == "/version":
            return 200, "application/json", '{"etcdserver": "2.3.8", "etcdcluster": "2.3.0"}'
        return 404, "text/plain", "404 page not found\n"

    with serving(etcd, answer) as address:
        error = refusal(etcd, address)
    assert "is etcd 2.3.8" in error.detail
    assert "3.4 or newer" in error.hint


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((404, "text/html", "<h1>Not here</h1>"), "is not etcd: it answered 404"),
        ((502, "text/html", "<h1>Bad Gateway</h1>"), "answered 502 (Bad Gateway), which is not how etcd answers"),
        ((302, "text/html", ""), "answered 302 (Found)"),
        ((200, "text/html", "<h1>It works!</h1>"), "does not answer as etcd does"),
        ((200, "application/json", '{"ok": true}'), "does not answer as etcd does"),
        ((200, "application/json", "[" * 5000), "does not answer as etcd does"),
    ],
)
def test_it_is_no_etcd_or_something_is_between(etcd, told, said):
    with serving(etcd, lambda path: told) as address:
        error = refusal(etcd, address)
    assert said in error.detail
    assert "etcd" in error.hint or "--store" in error.hint


def test_it_talks_no_tls(etcd):
    address = anywhere(etcd)
    error = refusal(etcd, StoreAddress(address.members, address.prefix, tls=True))
    assert error.detail == "127.0.0.1:2379 ended TLS at once, as one does that does not talk it"
    assert "etcd://" in error.hint


def test_a_name_that_is_not_known(etcd):
    assert "is not known" in refusal(etcd, StoreAddress(("store.invalid:2379",))).detail


def test_two_clusters_under_one_address(etcd):
    with running_etcd(beside=etcd) as other:
        address = StoreAddress((*etcd.address().members, *other.address().members), f"/test/{uuid.uuid4().hex}")

        async def test() -> str:
            repository = EtcdRepository(address, ANYBODY, "lb1")
            try:
                version = await repository.commit(ABSENT, Change({"generation": 1}))
                await asyncio.to_thread(etcd.members[0].kill)
                with pytest.raises(StoreAwayError) as caught:
                    await repository.commit(version, Change({"generation": 2}))
                return str(caught.value)
            finally:
                await repository.close()

        said = etcd.run(test)
        etcd.restart()
        assert "belongs to another etcd cluster than the store" in said
        assert other.etcdctl("get", "--prefix", address.prefix) == ""


def test_it_has_no_room_left(etcd):
    with running_etcd(1, "--quota-backend-bytes", "1000000") as other:
        address = anywhere(other)
        assert not all(fill(other, number) for number in range(40))
        error = refusal(other, address)
        assert isinstance(error, StoreRefusedError)
        assert "no room left (its alarm NOSPACE)" in error.detail
        assert "etcdctl alarm disarm" in error.hint

        async def read() -> None:
            repository = EtcdRepository(address, ANYBODY, "lb1")
            assert (await repository.read()).version == ABSENT
            await repository.close()

        other.run(read)


def fill(etcd: Etcd, number: int) -> bool:
    try:
        etcd.etcdctl("put", f"/fill/{number}", "x" * 100_000)
    except Exception:
        return False
    return True


def test_an_entry_that_is_too_large(etcd):
    async def test() -> None:
        repository = EtcdRepository(anywhere(etcd), ANYBODY, "lb1")
        try:
            with pytest.raises(StoreRefusedError, match=r"vips/a is too large for the store: it is 1,500,0.. bytes"):
                await repository.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"access": "x" * 1_500_000}}))
            await repository.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"access": "x" * 1_390_000}}))
        finally:
            await repository.close()

    etcd.run(test)


def test_the_store_takes_less_at_once_than_etcd_does_otherwise(etcd):
    with running_etcd(1, "--max-request-bytes", "20000", "--max-txn-ops", "20") as other:

        async def test() -> None:
            repository = EtcdRepository(anywhere(other), ANYBODY, "lb1")
            try:
                with pytest.raises(StoreRefusedError, match="too large for the store"):
                    await repository.commit(ABSENT, Change({"generation": 1}, {"vips/a": {"access": "x" * 30_000}}))
                with pytest.raises(StoreRefusedError, match="takes too few operations at once"):
                    await repository.commit(
                        ABSENT, Change({"generation": 1}, {f"vips/{number}": {} for number in range(90)})
                    )
            finally:
                await repository.close()

        other.run(test)


def test_the_head_was_written_by_hand(etcd):
    address = anywhere(etcd)
    etcd.etcdctl("put", f"{address.prefix}/v1/head", "oops")

    async def test() -> None:
        repository = EtcdRepository(address, ANYBODY, "lb1")
        try:
            with pytest.raises(
                StoreRefusedError, match=f"{address.prefix}/v1/head in the store is not what xdplb writes"
            ):
                await repository.read()
        finally:
            await repository.close()

    etcd.run(test)


@pytest.fixture(scope="module")
def users() -> Iterator[Etcd]:
    with running_etcd() as etcd:
        for line in (
            "user add root:secret",
            "user grant-role root root",
            "role add xdplb",
            "role grant-permission xdplb readwrite --prefix=true /site/",
            "user add lb:right",
            "user grant-role lb xdplb",
            "auth enable",
        ):
            etcd.etcdctl(*line.split())
        yield etcd


def user(folder: Path, password: str) -> StoreAccess:
    path = folder / "password"
    path.write_text(f"{password}\n")
    return StoreAccess(user="lb", password_file=path)


def test_a_user_with_the_right_password(users, tmp_path):
    write(users, users.address(f"/site/{uuid.uuid4().hex}"), user(tmp_path, "right"))


def test_nobody(users):
    error = refusal(users, users.address("/site/a"))
    assert "wants to know who asks" in error.detail
    assert "--store-user" in error.hint


def test_a_wrong_password(users, tmp_path):
    error = refusal(users, users.address("/site/a"), user(tmp_path, "wrong"))
    assert isinstance(error, StoreRefusedError)
    assert "does not know the user, or the password is another one" in error.detail
    assert "--store-password-file" in error.hint


def test_no_password(users, tmp_path):
    access = StoreAccess(user="lb", password_file=tmp_path / "none")
    error = refusal(users, users.address("/site/a"), access)
    assert f"the password for the store cannot be read from {tmp_path}/none" in error.detail


def test_a_prefix_that_is_not_the_users(users, tmp_path):
    error = refusal(users, users.address("/elsewhere"), user(tmp_path, "right"))
    assert isinstance(error, StoreRefusedError)
    assert "has no right to this" in error.detail
    assert "etcdctl role grant-permission" in error.hint


def test_a_token_that_is_not_known_any_more(users, tmp_path):
    async def test() -> None:
        address = users.address(f"/site/{uuid.uuid4().hex}")
        repository = EtcdRepository(address, user(tmp_path, "right"), "lb1")
        try:
            version = await repository.commit(ABSENT, Change({"generation": 1}))
            await asyncio.to_thread(users.restart)  # which forgets all tokens
            await repository.commit(version, Change({"generation": 2}))
        finally:
            await repository.close()

    users.run(test)


def test_a_password_that_is_changed_while_it_runs(users, tmp_path):
    async def test() -> None:
        repository = EtcdRepository(users.address("/site/b"), user(tmp_path, "wrong"), "lb1")
        try:
            with pytest.raises(StoreRefusedError):
                await repository.read()
            user(tmp_path, "right")
            await repository.read()
        finally:
            await repository.close()

    users.run(test)


def test_a_user_though_the_store_has_none(etcd, tmp_path):
    (tmp_path / "password").write_text("any")
    write(etcd, anywhere(etcd), StoreAccess(user="lb", password_file=tmp_path / "password"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> Iterator[Etcd]:
    """A store that talks TLS, and wants certificates of its clients."""
    certificate, key = authority.sign("etcd", "/CN=etcd", names="IP:127.0.0.1")
    client = authority.sign("probe", "/CN=probe")
    files = ("--cert-file", certificate, "--key-file", key, "--trusted-ca-file", authority.certificate)
    with running_etcd(1, *map(str, files), "--client-cert-auth", scheme="https", client=client) as etcd:
        yield etcd


def test_a_client_certificate(tls, authority):
    cert, key = authority.sign("lb1", "/CN=lb1")
    write(tls, anywhere(tls), StoreAccess(ca=authority.certificate, cert=cert, key=key))


def test_no_client_certificate(tls, authority):
    error = refusal(tls, anywhere(tls), StoreAccess(ca=authority.certificate))
    assert "127.0.0.1:2379" in error.detail  # that it is not accepted, or only that the connection broke off
    assert "--store-cert" in error.hint


def test_a_certificate_of_the_store_that_nobody_vouches_for(tls):
    error = refusal(tls, anywhere(tls))
    assert "the certificate of the store at 127.0.0.1:2379 is not accepted" in error.detail
    assert "--store-ca" in error.hint


def test_a_certificate_of_another_name(tls, authority):
    address = StoreAddress(("localhost:2379",), "/test", tls=True)
    error = refusal(tls, address, StoreAccess(ca=authority.certificate))
    assert "is not accepted: Hostname mismatch" in error.detail


def test_a_store_that_wants_tls_without_it(tls):
    address = anywhere(tls)
    error = refusal(tls, StoreAddress(address.members, address.prefix))
    assert "the connection to the store at 127.0.0.1:2379 broke off" in error.detail
    assert "etcds://" in error.hint


@pytest.mark.parametrize(
    ("ca", "cert", "said"),
    [
        ("none", None, "No such file or directory"),
        ("/dev/null", None, "cannot be used"),
        (None, "/dev/null", "cannot be"),
    ],
)
def test_files_that_cannot_be_used(tls, tmp_path, ca, cert, said):
    access = StoreAccess(
        ca=None if ca is None else tmp_path / ca,
        cert=None if cert is None else Path(cert),
        key=None if cert is None else Path(cert),
    )
    error = refusal(tls, anywhere(tls), access)
    assert said in error.detail
    assert "--store-c" in error.hint


def test_a_certificate_that_is_renewed_while_it_runs(tls, authority):
    async def test() -> None:
        cert, key = authority.sign("renewed", "/CN=lb1", days=-1)
        repository = EtcdRepository(anywhere(tls), StoreAccess(authority.certificate, cert, key), "lb1")
        try:
            with pytest.raises(StoreAwayError):
                await repository.read()
            authority.sign("renewed", "/CN=lb1")
            await repository.read()
        finally:
            await repository.close()

    tls.run(test)
