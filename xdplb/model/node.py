# SPDX-License-Identifier: Apache-2.0
"""A node: one balancer of those that serve the same VIPs, its name, and whether it takes traffic."""

from __future__ import annotations

import re
import socket
from enum import StrEnum
from urllib.parse import urlsplit

from xdplb.model.errors import InvalidError
from xdplb.model.printable import quoted

__all__ = ["NodeState", "SeenState", "name_of_host", "parse_node_name", "parse_node_url"]

_LONGEST = 63
_LONGEST_URL = 300
_NAME = re.compile(rf"[a-z0-9._-]{{1,{_LONGEST}}}")
_OTHER = re.compile(r"[^a-z0-9._-]+")


class NodeState(StrEnum):
    """What a node does with traffic. The words are in the API and in metrics, and never change.

    DRAINING: it serves what comes, and asks routers and keepalived to send it nothing more. DRAINED: it announces
    nothing any more, until somebody ends the drain.
    """

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"


class SeenState(StrEnum):
    """What is known of what a node does with traffic: a word of NodeState, or one of these.

    STARTING: it does not serve yet. LOST: it is not heard of any more. UNKNOWN: a newer version has another word.
    """

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"
    STARTING = "starting"
    LOST = "lost"
    UNKNOWN = "unknown"


def parse_node_name(text: str) -> str:
    """Return `text` if it can be the name of a node; InvalidError if not."""
    if _NAME.fullmatch(text) is None:
        raise InvalidError(
            f"{quoted(text, 80)} cannot be the name of a node",
            hint=f"it has 1 to {_LONGEST} characters: a to z, 0 to 9, and - . _",
        )
    return text


def parse_node_url(text: str) -> str:
    """Return `text` if it can be the URL at which others reach a node's API; InvalidError if not."""
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not text.isascii() or not text.isprintable() or " " in text or len(text) > _LONGEST_URL:
        raise InvalidError(
            f"{quoted(text, 80)} is not the URL of an API",
            hint="write it like https://lb1.example.net:8443, as other balancers reach it",
        )
    return text


def name_of_host(host: str | None = None) -> str:
    """Return the name that a node has if none is given: that of its host, with `-` for what names may not have."""
    name = _OTHER.sub("-", (socket.gethostname() if host is None else host).lower())[:_LONGEST].strip("-")
    return name or "node"
