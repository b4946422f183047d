# SPDX-License-Identifier: Apache-2.0
"""The client: one daemon, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Self, Unpack
from urllib.parse import quote, urlencode

from .access import AccessLists
from .answer import Answer
from .backends import Backends
from .bodies import DataplaneOut, ExplainOut, ReadyzOut, StatsOut, StatusOut, VersionOut, VipStatsOut, WhoAmIOut
from .checks import Checks
from .config import Configuration
from .events import EventLog
from .names import Names
from .nodes import Nodes
from .paths import vip_path
from .target import DEFAULT_SOCKET, Target
from .tokens import Tokens
from .transport import COMPILING, How, Transport, Waiting
from .vips import Vips

__all__ = ["Client"]

_RECORDS_SECONDS = 5.0
"""How long the records may pause: a balancer that stops in the middle is not waited for."""


class Client:
    """One daemon: that at `url` (`https://lb1.example.net:8443`), else the one at the Unix socket.

    `token_file` has the token to show, `ca_file` the authorities that may have signed the daemon's certificate (by
    default those of this host), `cert_file` and `key_file` the client's own certificate. All are PEM files, but for the
    token's. That may have tokens of several daemons, each in a line after its name: `token_name` is this one's.

    `timeout` is how long to wait for an answer, in seconds; None: 10, and longer for a change while the daemon is seen
    to work. `retries` is how often a request is repeated after a broken connection or a 503 that says `busy`. `on_wait`
    gets one message, the first time that an answer takes seconds; `waiting`, if it is given, is entered around each
    wait instead, with words for what is awaited.

    The connection is kept for the next request. Use a client in one thread at a time.
    """

    def __init__(
        self,
        *,
        socket_path: str = DEFAULT_SOCKET,
        url: str | None = None,
        token_file: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        token_name: str | None = None,
        timeout: float | None = None,
        retries: int = 3,
        on_wait: Callable[[str], None] = lambda _message: None,
        waiting: Waiting | None = None,
    ) -> None:
        target = Target(socket_path, url, token_file, ca_file, cert_file, key_file, token_name)
        self._transport = Transport(target, timeout, retries, on_wait, waiting)
        self.vips = Vips(self._transport)
        self.backends = Backends(self._transport)
        self.checks = Checks(self._transport)
        self.access = AccessLists(self._transport)
        self.config = Configuration(self._transport)
        self.tokens = Tokens(self._transport)
        self.nodes = Nodes(self._transport)
        self.dns = Names(self._transport)
        self.events = EventLog(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection that is kept for the next request."""
        self._transport.close()

    def status(self) -> Answer[StatusOut]:
        """Return an overview of the balancer."""
        return self._transport.request("GET", "/v1/status")

    def ready(self, *vips: str, within: float | None = None) -> Answer[ReadyzOut]:
        """Return if packets are forwarded as configured, and of each of `vips` as many backends serve as must.

        Raises NotReadyError if not, with the reasons, and NotFoundError if there is no such VIP.
        """
        query = "&".join(f"vip={quote(vip, safe=':/.[]')}" for vip in vips)
        return self._transport.request("GET", f"/readyz?{query}" if vips else "/readyz", within=within)

    def dataplane(self) -> Answer[DataplaneOut]:
        """Return the data plane as loaded."""
        return self._transport.request("GET", "/v1/dataplane")

    def version(self) -> Answer[VersionOut]:
        """Return the version of the daemon."""
        return self._transport.request("GET", "/v1/version")

    def whoami(self) -> Answer[WhoAmIOut]:
        """Return who asks, as the daemon sees it, and the role."""
        return self._transport.request("GET", "/v1/whoami")

    def stats(self) -> Answer[StatsOut]:
        """Return the counters of all VIPs."""
        return self._transport.request("GET", "/v1/stats")

    def vip_stats(self, vip: str) -> Answer[VipStatsOut]:
        """Return the counters of one VIP, given by its name or key."""
        return self._transport.request("GET", vip_path(vip, "stats"))

    def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        return self._transport.request("GET", "/metrics").body.decode()

    def explain(
        self,
        client: str,
        vip: str,
        *,
        packet: Literal["syn", "established"] | None = None,
        if_down: str | None = None,
        interface: str | None = None,
    ) -> Answer[ExplainOut]:
        """Return where a packet of `client` (`192.0.2.7:40000`) to `vip` would go, and why. The first takes seconds."""
        asked = {"client": client, "vip": vip, "packet": packet, "if_down": if_down, "interface": interface}
        return self._transport.request("GET", f"/v1/explain?{_query(asked)}", patience=COMPILING)

    def capture(
        self,
        *,
        vip: str | None = None,
        client: str | None = None,
        packets: int | None = None,
        seconds: float | None = None,
        sample: int | None = None,
        snaplen: int | None = None,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Capture packets: yield a pcapng file as it is made, until the block ends or so many packets or seconds later.

        `vip` and `client` say which packets, `sample` one in how many, `snaplen` how many bytes of each.
        """
        asked = {
            "vip": vip,
            "client": client,
            "packets": packets,
            "seconds": seconds,
            "sample": sample,
            "snaplen": snaplen,
        }
        return self._transport.stream(f"/v1/capture?{_query(asked)}", patience=COMPILING)

    def records(self) -> AbstractContextManager[Iterator[bytes]]:
        """Yield what a balancer tells another one of open connections, as it comes, in the form that those know."""
        return self._transport.stream("/v1/records", silence=_RECORDS_SECONDS)

    def backup(self) -> bytes:
        """Return the state in a file that `xdplb up --restore` takes. It is private: it has all that was configured."""
        return self._transport.request("GET", "/v1/backup").body

    def get(self, path: str, *, within: float | None = None) -> Answer[Any]:
        """GET `path`, and wait for the answer for `within` seconds at most. Raises as `request` does."""
        return self.request("GET", path, within=within)

    def change(self, method: str, path: str, body: object = None, **how: Unpack[How]) -> Answer[Any]:
        """Request a change at a path of the API. Raises as `request` does."""
        return self._transport.change(method, path, body, how)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        within: float | None = None,
    ) -> Answer[Any]:
        """Send one request and return its 2xx answer, waiting for `within` seconds at most.

        Raises DaemonDownError if no daemon listens, TimedOutError if it does not answer in time, and for any other
        status the error that its problem describes.
        """
        return self._transport.request(method, path, body, headers, within=within)

    def stream(self, path: str) -> AbstractContextManager[Iterator[bytes]]:
        """GET `path`, whose answer has no fixed end, and yield its body as it comes.

        Raises as `request` does, and DaemonDownError if the body breaks off.
        """
        return self._transport.stream(path)


def _query(asked: Mapping[str, object]) -> str:
    """Return the parameters of a request that are not None."""
    return urlencode({name: str(value) for name, value in asked.items() if value is not None})
