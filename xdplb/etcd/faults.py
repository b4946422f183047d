# SPDX-License-Identifier: Apache-2.0
"""What a member of etcd says instead of what was asked for, and what that means: pure.

Source of the codes and words: etcd's api/v3rpc/rpctypes/error.go, and what etcd 3.4 answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus

from xdplb.model.errors import StoreAwayError, StoreRefusedError, XdplbError
from xdplb.model.printable import printable

from .wire import object_in

__all__ = ["GatewayError", "Meaning", "fault_of", "fault_of_message"]

_UNAUTHENTICATED = 16
_DENIED = 7
_LONGEST = 200


class Meaning(Enum):
    """What a fault means for whoever asked."""

    AWAY = auto()
    """This member is of no use now; another one may be, or this one later."""
    REFUSED = auto()
    """The store does not do it, whichever member is asked."""
    TOKEN = auto()
    """The token is not, or no longer, valid: get another one."""
    COMPACTED = auto()
    """The revision is one that the store has forgotten."""
    AHEAD = auto()
    """The revision is one that the store has not had yet."""
    NO_LEASE = auto()
    """There is no such lease any more."""
    NO_GATEWAY = auto()
    """There is no such path: the gateway is off, or it is no etcd."""
    NO_USERS = auto()
    """Users are not known to the store, so that nobody needs a token."""


@dataclass
class GatewayError(Exception):
    """What is wrong, as a sentence, and what to try.

    `sent`: the request may have been carried out all the same. `is_broken`: the connection broke off. `passing`: it is
    likely to be otherwise a moment later.
    """

    meaning: Meaning
    detail: str
    hint: str = ""
    sent: bool = True
    is_broken: bool = False
    passing: bool = False

    def error(self) -> XdplbError:
        """Return the error that says it to a user."""
        kind = StoreRefusedError if self.meaning is Meaning.REFUSED else StoreAwayError
        return kind(self.detail, hint=self.hint)


def fault_of(status: int, body: bytes, member: str) -> GatewayError:
    """Return what an answer other than 200 of a member means."""
    told = object_in(body)
    if told is None:
        return _foreign(status, body, member)
    nested = told.get("error")
    fields = nested if isinstance(nested, dict) else told
    message = str(fields.get("message") or fields.get("error") or "")
    code = fields.get("code", fields.get("grpc_code"))
    return fault_of_message(message, member, code if isinstance(code, int) else 0)


def fault_of_message(message: str, member: str, code: int = 0) -> GatewayError:
    """Return what etcd means by a message of its own, and its gRPC code (0: not known)."""
    for words, (meaning, detail, hint) in _KNOWN.items():
        if words in message:
            return GatewayError(
                meaning, detail.format(member=member), hint, sent=words in _MAYBE_DONE, passing=words in _PASSING
            )
    if code == _UNAUTHENTICATED:
        return GatewayError(Meaning.TOKEN, f"the store at {member} does not accept the token: {message}", sent=False)
    if code == _DENIED:
        return GatewayError(Meaning.REFUSED, f"the store at {member} does not allow it: {message}", sent=False)
    said = printable(message)[:_LONGEST] or "nothing that says why"
    return GatewayError(Meaning.AWAY, f"the store at {member} answered: {said}")


_KNOWN: dict[str, tuple[Meaning, str, str]] = {
    "invalid auth token": (Meaning.TOKEN, "the store at {member} does not know the token any more", ""),
    "revision of auth store is old": (Meaning.TOKEN, "the store's users have changed", ""),
    "user name is empty": (
        Meaning.TOKEN,
        "the store at {member} wants to know who asks",
        "give --store-user and --store-password-file",
    ),
    "authentication is not enabled": (Meaning.NO_USERS, "the store at {member} has no users", ""),
    "invalid user ID or password": (
        Meaning.REFUSED,
        "the store at {member} does not know the user, or the password is another one",
        "put right --store-user or what is in --store-password-file, which is read again at the next try",
    ),
    "permission denied": (
        Meaning.REFUSED,
        "the user has no right to this in the store",
        "give it to one of its roles: etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX/",
    ),
    "database space exceeded": (
        Meaning.REFUSED,
        "the store has no room left (its alarm NOSPACE), so nothing can be changed",
        "have it compacted and defragmented, or give it a larger --quota-backend-bytes; then: etcdctl alarm disarm",
    ),
    "request is too large": (Meaning.REFUSED, "the change is too large for the store", "raise its --max-request-bytes"),
    "larger than max": (Meaning.REFUSED, "the change is too large for the store", "raise its --max-request-bytes"),
    "too many operations in txn": (
        Meaning.REFUSED,
        "the store takes too few operations at once",
        "have its --max-txn-ops be the default of 128, or more",
    ),
    "has been compacted": (Meaning.COMPACTED, "the store has forgotten what was there then", ""),
    "is a future revision": (Meaning.AHEAD, "the store is not as far as it was", ""),
    "requested lease not found": (Meaning.NO_LEASE, "the store has ended the lease", ""),
    "no leader": (Meaning.AWAY, "the store at {member} has no leader: too few of its members can reach each other", ""),
    "leader changed": (Meaning.AWAY, "the store at {member} has got another leader just now", ""),
    "raft proposal dropped": (Meaning.AWAY, "the store at {member} is choosing a leader", ""),
    "too many requests": (Meaning.AWAY, "the store at {member} has too much to do", ""),
    "request timed out": (
        Meaning.AWAY,
        "the store at {member} could not do it in time: too few of its members reach each other, or its disk is slow",
        "",
    ),
    "corrupt": (Meaning.AWAY, "the store at {member} says that its data is damaged", "see etcd's log"),
}
"""By words of etcd's message: what it means, what is said, and what to try."""

_MAYBE_DONE = frozenset({"request timed out", "no leader", "leader changed", "corrupt"})
"""Of the others it is known that nothing was done."""

_PASSING = frozenset({"no leader", "leader changed", "raft proposal dropped", "too many requests"})


def _foreign(status: int, body: bytes, member: str) -> GatewayError:
    """Return what an answer means that is not etcd's way to say so."""
    if b"HTTP request to an HTTPS server" in body:
        return GatewayError(
            Meaning.AWAY, f"the store at {member} wants TLS", "give its address as etcds://…", sent=False
        )
    if status == HTTPStatus.NOT_FOUND:
        return GatewayError(Meaning.NO_GATEWAY, f"{member} answered 404", sent=False)
    try:
        name = HTTPStatus(status).phrase
    except ValueError:
        name = "no status that is known"
    return GatewayError(
        Meaning.AWAY,
        f"{member} answered {status} ({name}), which is not how etcd answers",
        "is it etcd, or something between, such as a proxy?",
    )
