# SPDX-License-Identifier: Apache-2.0
"""A DNS server in this process that knows RFC 2136 and TSIG, and can be told to misbehave. It follows RFC 2136, 3."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update

from xdplb.dns.records import Place

SECRET = "c2l4dGVlbiBieXRlcyBhdCBsZWFzdCwgdGhpcnR5LXR3by4="
KEY_FILE = f'key "xdplb" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'

Key = tuple[str, str]
"""A name without its last dot, and the type of records."""


class NameServer:
    """The records of a zone, `example.test`, and what is asked and changed."""

    def __init__(self) -> None:
        self.records: dict[Key, dict[str, int]] = {}
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.updates = self.reads = 0
        self.rcode: dns.rcode.Rcode | None = None
        """What every message is answered with, if anything."""
        self.tsig_error = 0
        self.signs, self.hangs, self.has_authority = True, False, True
        self.before_update: Callable[[], None] = lambda: None
        self.after_read: Callable[[], None] = lambda: None
        self.keyring = dns.tsigkeyring.from_text({"xdplb": ("hmac-sha256", SECRET)})

    def place(self, name: str = "www.example.test") -> Place:
        """Return the place of a name at this server."""
        return Place("127.0.0.1", self.port, "example.test", name)

    def of(self, name: str, kind: str = "A") -> set[str]:
        """Return the records of a name."""
        return set(self.records.get((name, kind), {}))

    def put(self, name: str, kind: str, *texts: str, ttl: int = 300) -> None:
        """Enter records by hand."""
        self.records.setdefault((name, kind), {}).update(dict.fromkeys(texts, ttl))

    def remove(self, name: str, kind: str) -> None:
        """Remove records by hand."""
        self.records.pop((name, kind), None)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[NameServer]:
        """Serve while in the block, each time at the same port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0)  # so that they are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                wire = await reader.readexactly(length)
                if self.hangs:
                    await asyncio.sleep(60)
                answer = self.answer(wire)
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        writer.close()

    def answer(self, wire: bytes) -> bytes:
        """Return the answer to a message."""
        try:
            if self.tsig_error:
                raise dns.tsig.BadSignature
            asked = dns.message.from_wire(wire, keyring=self.keyring)
        except (dns.message.UnknownTSIGKey, dns.tsig.BadSignature) as error:
            return self._refused_key(wire, error)
        answer = dns.message.make_response(asked)
        if self.has_authority:
            answer.flags |= dns.flags.AA
        if self.rcode is not None:
            answer.set_rcode(self.rcode)
        elif isinstance(asked, dns.update.UpdateMessage):
            self.before_update()
            answer.set_rcode(self._update(asked))
        else:
            self._read(asked, answer)
            self.after_read()
        if not self.signs:
            answer.tsig = None
        return answer.to_wire()

    def _refused_key(self, wire: bytes, error: Exception) -> bytes:
        number = dns.rcode.BADSIG if isinstance(error, dns.tsig.BadSignature) else dns.rcode.BADKEY
        asked = dns.message.from_wire(wire, keyring=False)
        assert asked.keyname is not None
        assert asked.keyalgorithm is not None
        answer = dns.message.make_response(asked)
        answer.set_rcode(dns.rcode.NOTAUTH)
        key = dns.tsig.Key(asked.keyname, b"none", asked.keyalgorithm)
        answer.use_tsig(key, tsig_error=self.tsig_error or int(number))
        return answer.to_wire()

    def _read(self, asked: dns.message.Message, answer: dns.message.Message) -> None:
        self.reads += 1
        question = asked.question[0]
        name, kind = _text(question.name), dns.rdatatype.to_text(question.rdtype)
        for each in ("CNAME", kind):
            if found := self.records.get((name, each)):
                ttl = min(found.values())
                answer.answer.append(dns.rrset.from_text_list(question.name, ttl, "IN", each, list(found)))
                return
        if not any(key[0] == name for key in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)

    def _update(self, asked: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        needed: dict[Key, set[str]] = {}
        for rrset in asked.prerequisite:
            key = _key(asked, rrset)
            if rrset.deleting == dns.rdataclass.NONE:
                if self.records.get(key):
                    return dns.rcode.YXRRSET
            else:
                needed.setdefault(key, set()).update(rdata.to_text() for rdata in rrset)
        if any(set(self.records.get(key, {})) != texts for key, texts in needed.items()):
            return dns.rcode.NXRRSET
        self.updates += 1
        for rrset in asked.update:
            self._apply(_key(asked, rrset), rrset)
        return dns.rcode.NOERROR

    def _apply(self, key: Key, rrset: dns.rrset.RRset) -> None:
        texts = {rdata.to_text() for rdata in rrset}
        if rrset.deleting == dns.rdataclass.ANY:
            self.records.pop(key, None)
        elif rrset.deleting == dns.rdataclass.NONE:
            left = {text: ttl for text, ttl in self.records.get(key, {}).items() if text not in texts}
            self.records.pop(key, None)
            if left:
                self.records[key] = left
        else:
            held = self.records.setdefault(key, {})
            for text in texts:
                held.setdefault(text, rrset.ttl)  # as Knot, which keeps the TTL of a record that is there


def _key(asked: dns.update.UpdateMessage, rrset: dns.rrset.RRset) -> Key:
    name = rrset.name.derelativize(asked.origin or asked.zone[0].name)
    return _text(name), dns.rdatatype.to_text(rrset.rdtype)


def _text(name: dns.name.Name) -> str:
    return name.to_text().removesuffix(".").lower()


def key_file(folder: Path, text: str = KEY_FILE) -> str:
    """Write the key's file, and return its path."""
    path = folder / "xdplb.key"
    path.write_text(text)
    return str(path)
