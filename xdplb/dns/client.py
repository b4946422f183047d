# SPDX-License-Identifier: Apache-2.0
"""Asks a DNS server what a name has, and changes it. Used in the event loop of a thread of its own.

All goes by TCP: an update may be too large for a datagram, and whether one that got no answer was carried out would be
unknown. All is signed, so that a server which has views answers the question in the view that it changes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
from dns.rdatatype import AAAA, CNAME, TXT, A, RdataType

from xdplb.dns.errors import DnsError, refusal, trouble
from xdplb.dns.key_file import Key
from xdplb.dns.records import CLAIM_TTL, Addresses, Change, Found, Place
from xdplb.model.address import IPAddress

__all__ = ["Conversation", "talk"]

_SECONDS = 5.0
"""How long a server may take for one answer."""

_READS = 5
"""How often a name that changes while it is read is read at most. A change of what is not so any more is lost."""

_LOST = frozenset({dns.rcode.YXDOMAIN, dns.rcode.NXDOMAIN, dns.rcode.YXRRSET, dns.rcode.NXRRSET})
"""What a server says if a name is not what an update takes it for."""


class Conversation:
    """A connection to a server, on which names of one zone are read and changed with one key."""

    def __init__(self, stream: Any, place: Place, key: Key) -> None:
        self._stream, self._place, self._key = stream, place, key
        algorithm = dns.name.from_text(key.algorithm)
        self._tsig = dns.tsig.Key(dns.name.from_text(key.name), key.secret, algorithm)

    async def read(self) -> Found:
        """Return what the name has at one moment. Raises DnsError.

        Addresses and claims are asked for one after the other, and another node changes them together: an address that
        came in between would be without a claim, and so somebody else's. Hence the claims are read again.
        """
        name, claims_name = self._place.name, self._place.claims_name
        texts = await self._ask(claims_name, TXT)
        for _ in range(_READS):
            v4, v6 = await self._ask(name, A), await self._ask(name, AAAA)
            before, texts = texts, await self._ask(claims_name, TXT)
            if set(_texts(before)) == set(_texts(texts)):
                break
        alias = _alias(v4) or _alias(v6) or _alias(texts)
        return Found(_addresses(v4, A), _addresses(v6, AAAA), frozenset(_texts(texts)), alias)

    async def change(self, change: Change) -> bool:
        """Make a change; return whether it was made, and not lost since the name is another by now. Raises DnsError."""
        update = _update_of(self._place, change)
        answer = await self._exchange(update)
        code = answer.rcode()
        if code in _LOST:
            return False
        if code != dns.rcode.NOERROR:
            raise refusal(self._place, self._key, code, is_update=True)
        return True

    async def _ask(self, name: str, kind: RdataType) -> dns.message.Message:
        query = dns.message.make_query(name, kind, flags=0)
        answer = await self._exchange(query)
        code = answer.rcode()
        if code not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            raise refusal(self._place, self._key, code, is_update=False)
        if not answer.flags & dns.flags.AA:
            raise DnsError(
                f"{self._place.server_text} is not the server of {name}: it does not answer with authority",
                hint=f"give the primary server of the zone {self._place.zone}; the name must not be delegated from it",
            )
        return answer

    async def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        message.use_tsig(self._tsig)
        try:
            answer = await dns.asyncquery.tcp(message, self._place.server, timeout=_SECONDS, sock=self._stream)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise trouble(self._place, self._key, error) from error
        if not answer.had_tsig:
            raise refusal(self._place, self._key, answer.rcode(), is_update=isinstance(message, dns.update.Update))
        return answer


@asynccontextmanager
async def talk(place: Place, key: Key) -> AsyncIterator[Conversation]:
    """Connect to the server of a name while in the block. Raises DnsError if that cannot be done."""
    backend: Any = dns.asyncbackend.get_backend("asyncio")  # dnspython does not say of what type its sockets are
    family = socket.AF_INET6 if ":" in place.server else socket.AF_INET
    try:
        async with asyncio.timeout(_SECONDS):
            stream = await backend.make_socket(
                family, socket.SOCK_STREAM, 0, None, (place.server, place.port), _SECONDS
            )
    except (dns.exception.DNSException, OSError) as error:
        raise trouble(place, key, error) from error
    async with stream:
        yield Conversation(stream, place, key)


def _update_of(place: Place, change: Change) -> dns.update.Update:
    """Return the message that makes a change, if the name is what it was found to be."""
    update = dns.update.Update(place.zone)
    name, claims_name = _relative(place, place.name), _relative(place, place.claims_name)
    update.absent(name, CNAME)
    for version, kind in ((4, A), (6, AAAA)):
        if _touches(change, version):
            _require(update, name, kind, map(str, change.found.of(version).those))
    _require(update, claims_name, TXT, change.found.texts)
    for address in sorted(change.removed, key=str):
        update.delete(name, _rdata(_kind(address), str(address)))
    for version, ttl in change.ttls:
        had = change.found.of(version)
        if had.those and ttl != had.ttl:  # Knot keeps the old TTL of records that are put there again
            update.delete(name, A if version == 4 else AAAA)
        put = {each for each in change.put if each.version == version}
        for address in sorted((had.those - change.removed) | put, key=str):
            update.add(name, ttl, _rdata(_kind(address), str(address)))
    for claim in sorted(change.released, key=lambda each: each.text):
        update.delete(claims_name, _rdata(TXT, claim.text))
    for claim in sorted(change.claimed, key=lambda each: each.text):
        update.add(claims_name, CLAIM_TTL, _rdata(TXT, claim.text))
    return update


def _touches(change: Change, version: int) -> bool:
    """Return whether a change depends on the addresses of a family."""
    concerned = {*change.put, *change.removed, *(each.address for each in change.claimed | change.released)}
    return any(address.version == version for address in concerned) or version in dict(change.ttls)


def _require(update: dns.update.Update, name: dns.name.Name, kind: RdataType, texts: Iterable[str]) -> None:
    """Have the update made only if the name has exactly these records of a kind."""
    needed = sorted(texts)
    if not needed:
        update.absent(name, kind)
    for text in needed:
        update.present(name, _rdata(kind, text))


def _relative(place: Place, name: str) -> dns.name.Name:
    return dns.name.from_text(name).relativize(dns.name.from_text(place.zone))


def _kind(address: IPAddress) -> RdataType:
    return A if address.version == 4 else AAAA


def _rdata(kind: RdataType, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)


def _addresses(answer: dns.message.Message, kind: RdataType) -> Addresses:
    for rrset in answer.answer:
        if rrset.rdtype == kind and rrset.name == answer.question[0].name:
            return Addresses(frozenset(ip_address(rdata.to_text()) for rdata in rrset), rrset.ttl)
    return Addresses()


def _texts(answer: dns.message.Message) -> Iterable[str]:
    for rrset in answer.answer:
        if rrset.rdtype == TXT and rrset.name == answer.question[0].name:
            yield from (rdata.to_text() for rdata in rrset)


def _alias(answer: dns.message.Message) -> str:
    """Return where a CNAME at the asked name leads, "" if there is none."""
    for rrset in answer.answer:
        if rrset.rdtype == CNAME and rrset.name == answer.question[0].name:
            return str(rrset[0].to_text()).removesuffix(".")
    return ""
