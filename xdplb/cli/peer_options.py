# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say which other balancers there are, and how to talk to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xdplb.daemon.sharing_options import PeerOptions
from xdplb.peers.addresses import Place, parse_place

from .gathering import gathering
from .params import file_option, parsed

__all__ = ["chosen_peers", "peer_options"]


def _options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--peer-listen",
            multiple=True,
            callback=parsed(lambda text: parse_place(text, "peer-listen", listens=True)),
            metavar="ADDRESS[:PORT]",
            help="Where to listen for other balancers, by UDP; may be repeated. The port is 4815 if none is given.",
        ),
        click.option(
            "--peer",
            "peers",
            multiple=True,
            callback=parsed(lambda text: parse_place(text, "peer")),
            metavar="ADDRESS[:PORT]",
            help="Another balancer with the same VIPs, which is told of open connections; may be repeated.",
        ),
        file_option(
            "--peer-key-file",
            "A file with a key of 32 characters or more that all of them share; with two while one takes the place of "
            "the other. Only root may read it.",
        ),
        file_option(
            "--peer-token-file",
            "Tokens for the APIs of the others, with the role operate: lines of a node's name and its token, or one "
            "token alone.",
        ),
        file_option("--peer-tls-ca", "Who may have signed the certificates of their APIs (PEM).  [this host's]"),
        file_option("--peer-tls-cert", "A client certificate for their APIs (PEM), in the place of a token."),
        file_option("--peer-tls-key", "The key of --peer-tls-cert, if in another file."),
    ]


def chosen_peers(
    *,
    peer_listen: tuple[Place, ...],
    peers: tuple[Place, ...],
    peer_key_file: Path | None,
    peer_token_file: Path | None,
    peer_tls_ca: Path | None,
    peer_tls_cert: Path | None,
    peer_tls_key: Path | None,
) -> PeerOptions | None:
    """Return what the options say of peers, None if there are to be none. UsageError if they do not go together."""
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
    for place in peers:
        if place in peer_listen:
            raise click.UsageError(f"--peer {place} is where this node listens itself: name only the others")
    return PeerOptions(
        listen=peer_listen,
        peers=peers,
        key_file=peer_key_file,
        token_file=peer_token_file,
        ca_file=peer_tls_ca,
        cert_file=peer_tls_cert,
        cert_key_file=peer_tls_key,
    )


peer_options = gathering("peering", _options(), chosen_peers)
"""Adds the options. The command gets what they say as `peering`."""
