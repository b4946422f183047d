# SPDX-License-Identifier: Apache-2.0
"""Where the API is served: its sockets, who may do what there, and that nobody is let in without saying who he is."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from xdplb.control.events import Say, TlsNotReloaded, TlsReloaded
from xdplb.model.errors import InvalidError, PlatformError
from xdplb.model.moment import moment_of_seconds, moment_text
from xdplb_api.listener import Listener, listen, listen_for_metrics
from xdplb_api.rights.certificates import CertificateRoles
from xdplb_api.rights.hosts import Hosts
from xdplb_api.rights.rights import Rights
from xdplb_api.rights.socket_roles import SocketRoles
from xdplb_api.rights.tls import Tls
from xdplb_api.rights.token_file import TokenFile

from .options import ApiOptions

__all__ = ["Doors", "open_doors"]

_log = logging.getLogger("xdplb")

_SHUT = (
    "nobody can use the API: it is served on TCP alone, and there is no token; add --listen unix:/run/xdplb/api.sock,"
    " and make a token with xdplb token add"
)
_SOON_SECONDS = 14 * 86400.0
_LAST_PART = 0.1
"""Of a token's life: one for hours does not expire soon all the time."""


@dataclass(frozen=True, slots=True)
class Doors:
    """The open sockets of the API and those for metrics, and who may do what."""

    listeners: Sequence[Listener]
    metrics: Sequence[Listener]
    rights: Rights

    def close(self) -> None:
        """Close the sockets. May be called twice."""
        for listener in (*self.listeners, *self.metrics):
            listener.close()
        self.rights.tokens.close()

    def reload(self, say: Say) -> None:
        """Read the certificate, its key and the clients' CAs again; one of no use is refused, and the old one stays."""
        tls = self.rights.tls
        if tls is None:
            return
        name = str(tls.files.certificate)
        try:
            tls.reload()
        except PlatformError as error:
            say(TlsNotReloaded(name, error.detail))
        else:
            say(TlsReloaded(name, _moment(tls.expires)))

    @property
    def is_shut(self) -> bool:
        """Whether nobody can get in: on TCP alone, without a token and without client certificates that have a role."""
        rights = self.rights
        on_tcp = all(listener.path is None for listener in self.listeners)
        return on_tcp and not rights.tokens.tokens.all() and (rights.tls is None or not rights.tls.roles.rules)

    def notes(self) -> list[str]:
        """Return a sentence if nobody can get in, and for each thing of theirs that has expired or soon will."""
        now, found = time.time(), [_SHUT] if self.is_shut else []
        tls = self.rights.tls
        if tls is not None and tls.expires - now < _SOON_SECONDS:
            word = "expired" if tls.expires <= now else "expires"
            found.append(
                f"the API's certificate {tls.files.certificate} {word} at {_moment(tls.expires)}: replace it, then send"
                " the daemon SIGHUP"
            )
        found.extend(
            f"the token {token.name} expires at {_moment(token.expires)}: hand out another one"
            for token in self.rights.tokens.tokens.all()
            if token.expires is not None and 0 < token.expires - now < min(_SOON_SECONDS, _LAST_PART * token.lifetime)
        )
        return found

    def __str__(self) -> str:
        places = ", ".join(map(str, self.listeners))
        return f"{places}; metrics are on {', '.join(map(str, self.metrics))}" if self.metrics else places


def _moment(seconds: float) -> str:
    return moment_text(moment_of_seconds(seconds))


def open_doors(options: ApiOptions, state_dir: Path) -> Doors:
    """Bind all sockets, and read the tokens in `state_dir`.

    Raises InvalidError for options that do not go together, and what `listen` raises.
    """
    tls = _tls(options)
    tokens = TokenFile(state_dir)
    roles = SocketRoles.of(options.socket_groups)
    with ExitStack() as undo:
        listeners, metrics = [], []
        for where in options.listen:
            listeners.append(listen(where, roles, tls))
            undo.callback(listeners[-1].close)
        for where in options.metrics:
            metrics.append(listen_for_metrics(where))
            undo.callback(metrics[-1].close)
        doors = Doors(listeners, metrics, Rights(tokens, roles, tls, Hosts(options.hosts, tls)))
        _require_way_in(doors)
        undo.pop_all()
    return doors


def _tls(options: ApiOptions) -> Tls | None:
    """Return TLS as the options say, None if they do not ask for it."""
    asks_clients = options.tls is not None and options.tls.client_ca is not None
    if options.client_roles and not asks_clients:
        raise InvalidError.field(
            "/tls-client-role",
            "--tls-client-role says nothing without the CA of the clients",
            hint="give --tls-client-ca FILE, and --tls-cert and --tls-key",
        )
    if asks_clients and not options.client_roles:
        raise InvalidError.field(
            "/tls-client-ca",
            "with --tls-client-ca, certificates of clients are checked, but none of them has a role",
            hint="give --tls-client-role ROLE=SUBJECT, such as admin=CN=anna or read=*",
        )
    return None if options.tls is None else Tls(options.tls, CertificateRoles.of(options.client_roles))


def _require_way_in(doors: Doors) -> None:
    """Raise InvalidError if nobody can get in by a network that others are on; on loopback alone, only say so.

    A balancer that was served on loopback by an older version is to start all the same: its traffic matters more.
    """
    if not doors.is_shut:
        return
    if all(ip_address(listener.socket.getsockname()[0]).is_loopback for listener in doors.listeners):
        _log.warning("%s", _SHUT)
        return
    raise InvalidError.field(
        "/listen",
        "the API would be served on TCP alone, where a token or a client certificate is needed, and there is none",
        hint="add --listen unix:/run/xdplb/api.sock, and make a token with xdplb token add; or give --tls-client-ca",
    )
