"""The options of `up` that say which other balancers there are, and how to talk to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from xdplb.daemon.options import PeerOptions

__all__ = ["chosen_peers", "peer_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


def _file(name: str, text: str) -> Callable[[_Decorated], _Decorated]:
    return click.option(name, type=click.Path(path_type=Path, readable=False), metavar="FILE", help=text)


def _options() -> list[Callable[[_Decorated], _Decorated]]:
    return [
        click.option(
            "--peer-listen",
            multiple=True,
            metavar="ADDRESS[:PORT]",
            help="Where to listen for other balancers, by UDP; may be repeated. The port is 4815 if none is given.",
        ),
        click.option(
            "--peer",
            "peers",
            multiple=True,
            metavar="ADDRESS[:PORT]",
            help="Another balancer with the same VIPs, which is told of open connections; may be repeated.",
        ),
        _file("--peer-key-file", "A key that all of them share, or two while one takes the place of the other."),
        _file(
            "--peer-token-file",
            "Tokens for the APIs of the others, with the role operate: lines of a node's name and its token, or one "
            "token alone.",
        ),
        _file("--peer-tls-ca", "Who may have signed the certificates of their APIs (PEM).  [this host's]"),
        _file("--peer-tls-cert", "A client certificate for their APIs (PEM), in the place of a token."),
        _file("--peer-tls-key", "The key of --peer-tls-cert, if in another file."),
        click.option(
            "--advertise-url",
            metavar="URL",
            help="Where the others reach this API: https://lb1.example.net:8443.",
        ),
    ]


def peer_options(command: _Decorated) -> _Decorated:
    """Add the options; `chosen_peers` takes them."""
    return reduce(lambda made, option: option(made), reversed(_options()), command)


def chosen_peers(
    *,
    peer_listen: tuple[str, ...],
    peers: tuple[str, ...],
    peer_key_file: Path | None,
    peer_token_file: Path | None,
    peer_tls_ca: Path | None,
    peer_tls_cert: Path | None,
    peer_tls_key: Path | None,
) -> PeerOptions | None:
    """Return what the options say of peers, None if there are to be none. UsageError if they do not go together."""
    from xdplb.daemon.options import PeerOptions

    if peer_key_file is None or not peer_listen:
        for name, given in (("--peer-listen", peer_listen), ("--peer", peers), ("--peer-key-file", peer_key_file)):
            if given:
                missing = "--peer-listen ADDRESS" if not peer_listen else "--peer-key-file FILE"
                raise click.UsageError(f"{name} needs {missing}: peers listen to each other, and share a key")
        for name, file in (
            ("--peer-token-file", peer_token_file),
            ("--peer-tls-ca", peer_tls_ca),
            ("--peer-tls-cert", peer_tls_cert),
            ("--peer-tls-key", peer_tls_key),
        ):
            if file is not None:
                raise click.UsageError(f"{name} is for peers, and there are none: give --peer-listen and --peer")
        return None
    if peer_tls_key is not None and peer_tls_cert is None:
        raise click.UsageError("--peer-tls-key is the key of --peer-tls-cert FILE, which is missing")
    return PeerOptions(
        listen=peer_listen,
        peers=peers,
        key_file=peer_key_file,
        token_file=peer_token_file,
        ca_file=peer_tls_ca,
        cert_file=peer_tls_cert,
        cert_key_file=peer_tls_key,
    )
