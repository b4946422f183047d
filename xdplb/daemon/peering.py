"""What the daemon talks to its peers with: sockets, keys and addresses, made from the options of `up`."""

from __future__ import annotations

from urllib.parse import urlsplit

from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted
from xdplb.peers.addresses import parse_place
from xdplb.peers.keys import read_keys
from xdplb.peers.peering import Peering
from xdplb.peers.pull import Puller
from xdplb.peers.sockets import bind_peers

from .options import PeerOptions

__all__ = ["open_peering", "require_url"]


def open_peering(options: PeerOptions | None) -> Peering | None:
    """Bind the sockets and read the keys; None if there are no peers.

    Raises InvalidError for an address that is none, PlatformError for a key file that is of no use or if the kernel
    refuses, ConflictError if another process listens there.
    """
    if options is None:
        return None
    listens = [parse_place(text, "peer-listen", listens=True) for text in options.listen]
    peers = tuple(dict.fromkeys(parse_place(text, "peer") for text in options.peers))
    for place in peers:
        if place in listens:
            raise InvalidError.field("/peer", f"{place} is this node's own address", hint="name the others only")
    keys = read_keys(options.key_file)
    puller = Puller(
        token_file=_text(options.token_file),
        ca_file=_text(options.ca_file),
        cert_file=_text(options.cert_file),
        key_file=_text(options.cert_key_file),
    )
    return Peering(bind_peers(listens), keys, options.key_file, peers, puller)


def require_url(url: str) -> None:
    """Raise InvalidError if others cannot be told this URL as that of an API. Empty is for none."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or not url.isprintable() or " " in url or len(url) > 300:
        raise InvalidError.field(
            "/advertise-url",
            f"{quoted(url, 80)} is not a URL of an API",
            hint="write it like https://lb1.example.net:8443, as other balancers reach it",
        )


def _text(path: object) -> str | None:
    return None if path is None else str(path)
