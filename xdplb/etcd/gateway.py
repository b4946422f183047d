# SPDX-License-Identifier: Apache-2.0
"""A client of etcd v3 by its JSON gateway: asks one member after the other until one answers, or says why none does.

All members must belong to one cluster, and each is asked for its id before anything else: a change that goes to another
cluster by mistake is lost, or worse.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from xdplb.model.errors import StoreAwayError, StoreDoubtError
from xdplb.model.printable import printable
from xdplb.model.store_address import StoreAccess, StoreAddress

from .faults import GatewayError, Meaning, fault_of, fault_of_message
from .transport import Transport
from .wire import number, object_in

__all__ = ["Gateway", "Stream"]

Fields = dict[str, Any]
Stream = AsyncIterator[Fields]

_OLDEST = (3, 4)
_INTRODUCE_SECONDS = 1.0
_ELECTION_SECONDS = 2.0
"""For how long all members are asked again if one says that it will soon be otherwise: etcd elects a leader in 1 s."""
_ROUND_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Limits:
    """How long each member may take to answer before the next one is asked, and how long all may, in seconds."""

    each: float
    all_members: float


_FOR_CALLERS = frozenset({Meaning.COMPACTED, Meaning.AHEAD, Meaning.NO_LEASE})
_READING = _Limits(2.0, 5.0)
_ACTING = _Limits(3.0, 7.0)


class Gateway:
    """The way to the cluster at an address. It belongs to the event loop in which it is used."""

    def __init__(self, address: StoreAddress, access: StoreAccess) -> None:
        self._address, self._access = address, access
        self._transport = Transport(access, tls=address.tls)
        self._members = list(zip(address.members, address.urls, strict=True))
        self._token: str | None = None
        self._clusters: dict[str, str] = {}
        """The id of the cluster that each member said it belongs to. Those that failed since are not in it."""
        self._cluster: str | None = None

    async def ask(self, path: str, body: Mapping[str, Any], *, acts: bool = False) -> Fields:
        """Return the answer to a request such as `/v3/kv/range`, of whichever member gives one in time.

        One that `acts` must be safe to be carried out twice: it is sent again if it is not known what became of it.
        Raises StoreAwayError if no member answers, StoreDoubtError if it may have been carried out all the same,
        StoreRefusedError if the store does not do it, and GatewayError for what only the caller can judge.
        """
        content, limits, doubt = json.dumps(body).encode(), _ACTING if acts else _READING, False
        patience_ends = time.monotonic() + _ELECTION_SECONDS
        try:
            async with asyncio.timeout(limits.all_members):
                while True:
                    try:
                        return await self._first_answer(path, content, limits.each)
                    except GatewayError as fault:
                        last, doubt = fault, doubt or fault.sent
                    if not last.passing or time.monotonic() > patience_ends:
                        break
                    await asyncio.sleep(_ROUND_SECONDS)
        except TimeoutError:
            self._put_last(self._members[0][0])
            detail = f"the store {self._address} did not answer within {limits.all_members:g} s"
            last, doubt = GatewayError(Meaning.AWAY, detail), True
        raise _judged(last, doubt=doubt and acts)

    @asynccontextmanager
    async def stream(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[Stream]:
        """Yield the results of a request whose answer has no end, all from one member, until the connection breaks.

        Raises, also while they are read, what `ask` raises.
        """
        member, url = self._members[0]
        try:
            known = await self._introduced(member, url)
            content = json.dumps(body).encode()
            opened = self._transport.stream(url + path, content, {**headers, **known}, _READING.each, member)
            async with opened as (status, lines):
                if status != HTTPStatus.OK:
                    raise fault_of(status, b"".join([line async for line in lines]), member)
                async with aclosing(_results(lines, member)) as results:
                    yield results
        except GatewayError as fault:
            if fault.meaning is Meaning.AWAY:
                self._clusters.pop(member, None)
                self._put_last(member)
            elif fault.meaning is Meaning.TOKEN:
                self._token = None
            raise _judged(fault, doubt=False) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def _first_answer(self, path: str, content: bytes, seconds: float) -> Fields:
        """Return the answer of the first member that gives one; raise what the last one said, if none does."""
        faults: list[GatewayError] = []
        for member, url in list(self._members):
            try:
                return await self._ask(member, url, path, content, seconds)
            except GatewayError as fault:
                faults.append(fault)
            if faults[-1].meaning is not Meaning.AWAY:
                break
            self._put_last(member)
        last = faults[-1]
        last.sent = any(fault.sent for fault in faults)
        last.passing = last.meaning is Meaning.AWAY and any(fault.passing for fault in faults)
        raise last

    def _put_last(self, member: str) -> None:
        self._members.sort(key=lambda known: known[0] == member)

    async def _ask(self, member: str, url: str, path: str, content: bytes, seconds: float) -> Fields:
        """Return a member's answer; its token is renewed if that is all that is wrong."""
        for is_last in (False, True):
            headers = await self._introduced(member, url)
            try:
                return await self._answer(member, url + path, content, headers, seconds)
            except GatewayError as fault:
                if fault.meaning is not Meaning.TOKEN or is_last or self._access.user is None:
                    raise
                self._token = None
        raise AssertionError

    async def _answer(
        self, member: str, url: str, content: bytes, headers: Mapping[str, str], seconds: float
    ) -> Fields:
        """Return a member's answer, which is of the cluster."""
        try:
            told = await self._raw(member, url, content, headers, seconds)
        except GatewayError as fault:
            if fault.meaning is Meaning.AWAY:
                self._clusters.pop(member, None)
            raise
        cluster = told.get("header", {}).get("cluster_id")
        if cluster is not None and cluster != self._clusters.get(member, cluster):  # it was made anew meanwhile
            self._clusters[member] = cluster
            self._require_one_cluster(member, sent=True)
        return told

    async def _raw(self, member: str, url: str, content: bytes, headers: Mapping[str, str], seconds: float) -> Fields:
        status, body = await self._transport.post(url, content, headers, seconds, member)
        if status != HTTPStatus.OK:
            raise fault_of(status, body, member)
        return _answer_of(body, member)

    async def _introduced(self, member: str, url: str) -> dict[str, str]:
        """Return the headers for requests to a member, which belongs to the cluster and knows who asks."""
        try:
            await self._transport.renew()
        except StoreAwayError as error:
            raise GatewayError(Meaning.AWAY, error.detail, error.hint, sent=False) from None
        if self._access.user is not None and self._token is None:
            await self._authenticate(member, url)
        headers = {"Authorization": self._token} if self._token else {}
        if self._cluster is None or self._clusters.get(member) != self._cluster:
            self._clusters.pop(member, None)
            self._clusters[member] = await self._cluster_of(member, url, headers)
            self._require_one_cluster(member, sent=False)
        return headers

    async def _cluster_of(self, member: str, url: str, headers: Mapping[str, str]) -> str:
        """Return the id of the cluster of a member that can be used."""
        try:
            told = await self._raw(member, f"{url}/v3/maintenance/status", b"{}", headers, _INTRODUCE_SECONDS)
            cluster = str(told["header"]["cluster_id"])
        except GatewayError as fault:
            fault.sent = False
            fault.hint = fault.hint or (self._hint() if fault.is_broken else "")
            if fault.meaning is Meaning.NO_GATEWAY:
                raise await self._without_gateway(member, url) from None
            raise
        except (KeyError, TypeError):
            raise GatewayError(
                Meaning.AWAY, f"{member} does not answer as etcd does", "is it etcd?", sent=False
            ) from None
        if number(told, "leader") == 0:
            leaderless = fault_of_message("etcdserver: no leader", member)
            leaderless.sent = False
            raise leaderless
        return cluster

    def _hint(self) -> str:
        """Return what to try if a connection breaks off before anything was answered."""
        if not self._address.tls:
            return "if it wants TLS, give its address as etcds://…"
        return "it may want another certificate of this balancer: see --store-cert and --store-key"

    async def _without_gateway(self, member: str, url: str) -> GatewayError:
        """Return what is wrong with a member that does not know the gateway's paths."""
        status, body = await self._transport.get(f"{url}/version", _INTRODUCE_SECONDS, member)
        version = str((object_in(body) or {}).get("etcdserver", ""))
        if not version:
            detail = f"what listens at {member} is not etcd: it answered {status} to /version"
            return GatewayError(Meaning.AWAY, detail, "put right the address in --store", sent=False)
        if tuple(int(digits) for digits in re.findall(r"\d+", version)[:2]) < _OLDEST:
            detail = f"the store at {member} is etcd {printable(version)[:20]}"
            return GatewayError(Meaning.AWAY, detail, "xdplb needs etcd 3.4 or newer", sent=False)
        detail = f"etcd at {member} does not serve its JSON gateway"
        hint = "start it with --enable-grpc-gateway, or with enable-grpc-gateway: true in its config file"
        return GatewayError(Meaning.AWAY, detail, hint, sent=False)

    def _require_one_cluster(self, member: str, *, sent: bool) -> None:
        """Raise GatewayError if a member belongs to another cluster than was known.

        A cluster that was made anew has another id: it is believed once all members say so, and none is missing.
        """
        cluster = self._clusters[member]
        all_say_so = len(self._clusters) == len(self._members) and set(self._clusters.values()) == {cluster}
        if self._cluster is None or all_say_so:
            self._cluster = cluster
        if cluster == self._cluster:
            return
        detail = f"{member} belongs to another etcd cluster than the store: its id is {cluster}, not {self._cluster}"
        hint = "have --store name members of one cluster; if it was made anew, all that are named must run"
        raise GatewayError(Meaning.AWAY, detail, hint, sent=sent)

    async def _authenticate(self, member: str, url: str) -> None:
        """Get a token for the user. The password is read each time, so that it can be changed while the daemon runs."""
        content = json.dumps({"name": self._access.user, "password": self._password()}).encode()
        try:
            told = await self._raw(member, f"{url}/v3/auth/authenticate", content, {}, _READING.each)
        except GatewayError as fault:
            fault.sent = False
            if fault.meaning is not Meaning.NO_USERS:
                raise
            self._token = ""
        else:
            self._token = str(told.get("token") or "")

    def _password(self) -> str:
        path = self._access.password_file
        assert path is not None
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            detail = f"the password for the store cannot be read from {path}: {why}"
            raise GatewayError(Meaning.REFUSED, detail, "put right --store-password-file", sent=False) from None


def _judged(fault: GatewayError, *, doubt: bool) -> Exception:
    """Return what is raised for a fault."""
    if doubt:
        return StoreDoubtError(f"{fault.detail}; the change may have been written all the same", hint=fault.hint)
    return fault if fault.meaning in _FOR_CALLERS else fault.error()


async def _results(lines: AsyncIterator[bytes], member: str) -> AsyncGenerator[Fields]:
    async for line in lines:
        if not line.strip():
            continue
        told = _answer_of(line, member)
        if "result" not in told:
            raise fault_of(HTTPStatus.INTERNAL_SERVER_ERROR, line, member)
        result = told["result"]
        if result.get("canceled"):
            raise _cancelled(result, member)
        yield result
    raise GatewayError(Meaning.AWAY, f"the store at {member} has ended the watch")


def _cancelled(result: Fields, member: str) -> GatewayError:
    if result.get("compact_revision"):
        return GatewayError(Meaning.COMPACTED, "the store has forgotten what was there then")
    return fault_of_message(str(result.get("cancel_reason") or "the watch was cancelled"), member)


def _answer_of(body: bytes, member: str) -> Fields:
    told = object_in(body)
    if told is None:
        detail = f"{member} does not answer as etcd does"
        raise GatewayError(Meaning.AWAY, detail, "is it etcd, or a proxy before it?")
    return told
