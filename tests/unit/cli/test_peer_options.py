"""The options of `up` about peers: which go together, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import UsageError

from xdplb.cli.peer_options import chosen_peers
from xdplb.daemon.options import PeerOptions
from xdplb.daemon.peering import open_peering, require_url
from xdplb.model.errors import ConflictError, InvalidError, PlatformError

NONE = {
    "peer_listen": (),
    "peers": (),
    "peer_key_file": None,
    "peer_token_file": None,
    "peer_tls_ca": None,
    "peer_tls_cert": None,
    "peer_tls_key": None,
}
KEY = Path("/etc/xdplb/peers.key")


def test_without_options_there_are_no_peers():
    assert chosen_peers(**NONE) is None  # type: ignore[arg-type]


def test_what_is_chosen():
    chosen = chosen_peers(**NONE | {"peer_listen": ("10.0.0.1",), "peers": ("10.0.0.2",), "peer_key_file": KEY})  # type: ignore[arg-type]
    assert chosen == PeerOptions(("10.0.0.1",), ("10.0.0.2",), KEY)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"peers": ("10.0.0.2",)}, "--peer needs --peer-listen"),
        ({"peer_listen": ("10.0.0.1",)}, "--peer-listen needs --peer-key-file"),
        ({"peer_key_file": KEY}, "--peer-key-file needs --peer-listen"),
        ({"peer_token_file": KEY}, "--peer-token-file is for peers"),
        ({"peer_tls_ca": KEY}, "--peer-tls-ca is for peers"),
        ({"peer_listen": ("::",), "peer_key_file": KEY, "peer_tls_key": KEY}, "--peer-tls-cert FILE, which is missing"),
    ],
)
def test_options_that_do_not_go_together(given: dict[str, object], why: str):
    with pytest.raises(UsageError, match=why):
        chosen_peers(**NONE | given)  # type: ignore[arg-type]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("k" * 32)
    path.chmod(0o600)
    return path


def test_what_is_opened(key: Path):
    assert open_peering(None) is None
    peering = open_peering(PeerOptions(("127.0.0.1:0", "[::1]:0"), ("10.0.0.2", "10.0.0.2:4815", "2001:db8::3"), key))
    assert peering is not None
    assert [place.host for place in peering.sockets.places] == ["127.0.0.1", "::1"]
    assert [str(place) for place in peering.peers] == ["10.0.0.2:4815", "[2001:db8::3]:4815"]
    taken = str(peering.sockets.places[0])
    with pytest.raises(ConflictError, match="in use by another process"):
        open_peering(PeerOptions((taken,), (), key))
    peering.sockets.close()


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ((("lb1",), ()), InvalidError, "not an IP address"),
        ((("127.0.0.1:0",), ("lb2",)), InvalidError, "not an IP address"),
        ((("127.0.0.1:4815",), ("127.0.0.1",)), InvalidError, "own address"),
        ((("192.0.2.1:0",), ()), PlatformError, "no such address"),
    ],
)
def test_what_cannot_be_opened(
    key: Path, options: tuple[tuple[str, ...], tuple[str, ...]], error: type[Exception], why: str
):
    with pytest.raises(error, match=why):
        open_peering(PeerOptions(*options, key_file=key))


def test_the_url_that_others_are_told():
    for good in ("", "https://lb1.example.net:8443", "https://[2001:db8::1]:8443"):
        require_url(good)
    for bad in ("lb1", "ftp://lb1", "https://", "https://lb1:x", "https://lb1:0/ä", "https://lb1 /"):
        with pytest.raises(InvalidError, match="not a URL"):
            require_url(bad)
