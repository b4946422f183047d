# SPDX-License-Identifier: Apache-2.0
"""What the daemon talks to its peers with: sockets, keys and addresses, made from the options of `up`."""

from __future__ import annotations

from xdplb.peers.keys import read_keys
from xdplb.peers.peering import Peering
from xdplb.peers.pull import Puller
from xdplb.peers.sockets import bind_peers

from .sharing_options import PeerOptions

__all__ = ["open_peering"]


def open_peering(options: PeerOptions | None) -> Peering | None:
    """Bind the sockets and read the keys; None if there are no peers.

    Raises PlatformError for a key file that is of no use or if the kernel refuses, ConflictError if another process
    listens there.
    """
    if options is None:
        return None
    keys = read_keys(options.key_file)
    puller = Puller(
        token_file=_text(options.token_file),
        ca_file=_text(options.ca_file),
        cert_file=_text(options.cert_file),
        key_file=_text(options.cert_key_file),
    )
    return Peering(bind_peers(options.listen), keys, options.key_file, options.peers, puller)


def _text(path: object) -> str | None:
    return None if path is None else str(path)
