# SPDX-License-Identifier: Apache-2.0
"""The options of `up` about peers: which go together, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import UsageError

from xdplb.cli.peer_options import chosen_peers
from xdplb.daemon.peering import open_peering
from xdplb.daemon.sharing_options import PeerOptions
from xdplb.model.errors import ConflictError, PlatformError
from xdplb.peers.addresses import Place

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
ONE, OTHER = Place("10.0.0.1", 4815), Place("10.0.0.2", 4815)


def test_without_options_there_are_no_peers():
    assert chosen_peers(**NONE) is None  # type: ignore[arg-type]


def test_what_is_chosen():
    chosen = chosen_peers(**NONE | {"peer_listen": (ONE,), "peers": (OTHER,), "peer_key_file": KEY})  # type: ignore[arg-type]
    assert chosen == PeerOptions((ONE,), (OTHER,), KEY)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"peers": (OTHER,)}, "--peer needs --peer-listen"),
        ({"peer_listen": (ONE,)}, "--peer-listen needs --peer-key-file"),
        ({"peer_key_file": KEY}, "--peer-key-file needs --peer-listen"),
        ({"peer_token_file": KEY}, "--peer-token-file is for peers"),
        ({"peer_tls_ca": KEY}, "--peer-tls-ca is for peers"),
        ({"peer_listen": (ONE,), "peer_key_file": KEY, "peer_tls_key": KEY}, "--peer-tls-cert FILE, which is missing"),
        ({"peer_listen": (ONE,), "peers": (OTHER, ONE), "peer_key_file": KEY}, "--peer 10.0.0.1:4815 is where this"),
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
    peering = open_peering(PeerOptions((Place("127.0.0.1", 0), Place("::1", 0)), (OTHER,), key))
    assert peering is not None
    assert [place.host for place in peering.sockets.places] == ["127.0.0.1", "::1"]
    assert peering.peers == (OTHER,)
    with pytest.raises(ConflictError, match="in use by another process"):
        open_peering(PeerOptions(tuple(peering.sockets.places[:1]), (), key))
    peering.sockets.close()


def test_an_address_that_this_host_does_not_have_cannot_be_opened(key: Path):
    with pytest.raises(PlatformError, match="no such address"):
        open_peering(PeerOptions((Place("192.0.2.1", 0),), (), key))
