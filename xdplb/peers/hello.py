# SPDX-License-Identifier: Apache-2.0
"""What a hello has: the nonces of both ends, how much was sent, stamps for the round trip, and the node's status."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xdplb.model.errors import InvalidError
from xdplb.model.node_status import NodeStatus

from .wire import BODY_BYTES, NONCE_BYTES

__all__ = ["BOOT_BYTES", "NO_NONCE", "Hello", "decode_hello", "encode_hello"]

BOOT_BYTES = 8
_BODY = struct.Struct(f"!{NONCE_BYTES}s{NONCE_BYTES}s{BOOT_BYTES}sBQQQI")
_KNOWS_YOU = 1

NO_NONCE = bytes(NONCE_BYTES)
"""Stands for a nonce that is not known yet."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What an end of a link says.

    `echo` is the other end's nonce as it was heard last, NO_NONCE if it was not. `boot` is a random name of the daemon
    that runs there, the same on all its links. `knows_you`: that nonce was proved, so that what is signed with both is
    understood. `sent` counts what was sent in this session. `stamp` is any time of the sender in µs, `echo_stamp` the
    last one of the other end, which was heard `held` µs before. `status` is None in a short hello.
    """

    nonce: bytes
    echo: bytes
    boot: bytes
    knows_you: bool
    sent: int
    stamp: int
    echo_stamp: int
    held: int
    status: NodeStatus | None


def encode_hello(hello: Hello) -> bytes:
    """Return the body of a hello."""
    flags = _KNOWS_YOU if hello.knows_you else 0
    held = min(hello.held, (1 << 32) - 1)
    body = _BODY.pack(hello.nonce, hello.echo, hello.boot, flags, hello.sent, hello.stamp, hello.echo_stamp, held)
    return body if hello.status is None else body + hello.status.compact(BODY_BYTES - len(body))


def decode_hello(body: bytes) -> Hello:
    """Return what a body says. Raises ValueError if it is no hello."""
    if len(body) < _BODY.size:
        raise ValueError("a hello is cut short")
    nonce, echo, boot, flags, sent, stamp, echo_stamp, held = _BODY.unpack_from(body)
    if nonce == NO_NONCE:
        raise ValueError("a hello has no nonce")
    try:
        status = NodeStatus.of_json(body[_BODY.size :]) if len(body) > _BODY.size else None
    except InvalidError as error:
        raise ValueError(str(error)) from None
    return Hello(nonce, echo, boot, bool(flags & _KNOWS_YOU), sent, stamp, echo_stamp, held, status)
