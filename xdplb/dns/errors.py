# SPDX-License-Identifier: Apache-2.0
"""What a DNS server, or the way to it, has against a change: a sentence each, with a remedy."""

from __future__ import annotations

import errno
import os

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig

from xdplb.dns.key_file import Key
from xdplb.dns.records import Place
from xdplb.model.errors import PlatformError

__all__ = ["DnsError", "refusal", "trouble"]


class DnsError(PlatformError):
    """A name could not be read or changed."""


def refusal(place: Place, key: Key, code: dns.rcode.Rcode, *, is_update: bool) -> DnsError:
    """Return the error for an answer with this code, or, if that is NOERROR, for one without a signature."""
    word, server = dns.rcode.to_text(code), place.server_text
    doing = "to change" if is_update else "to tell"
    if code == dns.rcode.NOERROR:
        return DnsError(
            f"{server} does not sign its answer about {place.name}",
            hint=f"it must be the primary server of the zone {place.zone}, and know the key {key.name}; nothing between"
            " may answer in its place",
        )
    if code == dns.rcode.REFUSED:
        return DnsError(
            f"{server} refuses (REFUSED) {doing} {place.name} with the key {key.name}",
            hint=f"it must have the zone {place.zone}, and let the key ask for and change A, AAAA and TXT records of"
            f" {place.name} and {place.claims_name}: docs/dns.md has this for BIND, Knot and PowerDNS",
        )
    if code in {dns.rcode.NOTAUTH, dns.rcode.NOTZONE}:
        return DnsError(
            f"{server} is not the server of the zone {place.zone}, or does not take the key {key.name} ({word})",
            hint=f"give the primary server of the zone in which {place.name} lies, and a zone that it has",
        )
    if code == dns.rcode.NOTIMP:
        return DnsError(f"{server} knows no dynamic updates (NOTIMP)", hint="RFC 2136 must be switched on there")
    limit = "; BIND keeps no more than 100 records of a type at a name (max-records-per-type)" if is_update else ""
    return DnsError(
        f"{server} answers {word} when asked {doing} {place.name}", hint=f"the log of the DNS server says why{limit}"
    )


def trouble(place: Place, key: Key, error: BaseException) -> DnsError:
    """Return the error for what dnspython or the network raised."""
    server = place.server_text
    for kinds, said, hint in _SENTENCES:
        if isinstance(error, kinds):
            words = {"server": server, "key": key.name, "algorithm": key.algorithm}
            return DnsError(said.format(**words), hint=hint.format(**words))
    if type(error) is dns.exception.FormError:  # how dnspython tells it; what is malformed is of classes below
        return refusal(place, key, dns.rcode.NOERROR, is_update=False)
    if isinstance(error, dns.exception.TooBig):
        return DnsError(
            f"the records of {place.name} do not fit one message of 64 kB",
            hint="too many addresses or nodes share the name: give some of them another one",
        )
    if isinstance(error, OSError):
        why = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
        hint = f"is a DNS server there, does it listen on TCP, and is the way to {server} open?"
        if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH}:
            hint = f"there is no way to it from this host: ip route get {place.server}"
        return DnsError(f"{server} cannot be reached: {why}", hint=hint)
    return DnsError(
        f"{server} gives an answer that cannot be understood: {error}", hint="the log of the DNS server may say why"
    )


_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (
        (dns.exception.Timeout, TimeoutError),
        "{server} does not answer",
        "is a DNS server there, does it listen on TCP, and is the way open?",
    ),
    (
        EOFError,
        "{server} closes the connection without an answer",
        "its log may say why; it may allow too few TCP clients",
    ),
    (
        dns.tsig.PeerBadKey,
        "{server} does not know the key {key}, or does not take it for this name (BADKEY)",
        "name, algorithm and secret must be the same there; Knot says this, too, if its acl does not let the key do it",
    ),
    (
        dns.tsig.PeerBadSignature,
        "{server} has another secret for the key {key} (BADSIG)",
        "put the same secret and algorithm into both key files",
    ),
    (
        (dns.tsig.PeerBadTime, dns.tsig.BadTime),
        "the clocks of {server} and of this host differ by more than 5 minutes (BADTIME)",
        "set both by NTP: signatures of messages are good for 5 minutes only",
    ),
    (
        (dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm, dns.message.UnknownTSIGKey),
        "the answer of {server} is not signed with the key {key}",
        "name, algorithm ({algorithm}) and secret must be the same there; nothing between may change answers",
    ),
    (
        dns.tsig.PeerBadTruncation,
        "{server} wants longer signatures than {algorithm} makes (BADTRUNC)",
        "use a key for hmac-sha256",
    ),
)
