# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say where the API is served, to whom, and who may do what there."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from xdplb.client import DEFAULT_SOCKET
from xdplb.model.role import Role

from .params import file_option

if TYPE_CHECKING:
    from xdplb.daemon.options import ApiOptions

__all__ = ["chosen_api", "right_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])
_ROLES = ", ".join(Role)


def _by_role(
    _context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[Role, str], ...]:
    """Return the roles and the names in texts such as `admin=netops`."""
    pairs = []
    for text in texts:
        role, equals, name = text.partition("=")
        if role not in set(Role) or not equals or not name:
            example = "operate=netops" if parameter.name == "socket_groups" else "admin=CN=anna"
            raise click.BadParameter(f"{text!r} is not {parameter.metavar}, such as {example}; the roles are {_ROLES}")
        pairs.append((Role(role), name))
    return tuple(pairs)


def _options() -> list[Callable[[_Decorated], _Decorated]]:
    return [
        click.option(
            "--listen",
            default=[f"unix:{DEFAULT_SOCKET}"],
            multiple=True,
            show_default=True,
            metavar="unix:PATH|HOST:PORT",
            help="Where to serve the API; may be repeated. On TCP, everybody needs a token or a client certificate; "
            "beyond loopback it must have TLS.",
        ),
        click.option(
            "--metrics-listen",
            multiple=True,
            metavar="HOST:PORT",
            help="Where to serve /metrics, /healthz and /readyz, and nothing else, to everybody; may be repeated.",
        ),
        click.option(
            "--socket-group",
            "socket_groups",
            multiple=True,
            callback=_by_role,
            metavar="ROLE=GROUP",
            help=f"What members of a group may do on the Unix socket: {_ROLES}; may be repeated. Root is admin.  "
            "[admin=xdplb, if there is that group]",
        ),
        file_option("--tls-cert", "The API's certificate with its chain, as PEM. SIGHUP reads it again."),
        file_option("--tls-key", "Its key, which nobody else may read."),
        file_option("--tls-client-ca", "Accept client certificates of these CAs."),
        click.option(
            "--tls-client-role",
            "client_roles",
            multiple=True,
            callback=_by_role,
            metavar="ROLE=SUBJECT",
            help="What the owner of a client certificate may do: CN=anna, O=ops,OU=net, DNS=…, EMAIL=…, URI=…, or * "
            "for all; may be repeated.",
        ),
        click.option(
            "--allowed-host",
            "hosts",
            multiple=True,
            metavar="NAME",
            help="A further name of the API on TCP, beside those in its certificate; may be repeated.",
        ),
    ]


def right_options(command: _Decorated) -> _Decorated:
    """Add the options; `chosen_api` takes them."""
    return reduce(lambda made, option: option(made), reversed(_options()), command)


def chosen_api(
    *,
    listen: tuple[str, ...],
    metrics_listen: tuple[str, ...],
    socket_groups: tuple[tuple[Role, str], ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    client_roles: tuple[tuple[Role, str], ...],
    hosts: tuple[str, ...],
    **limits: float,
) -> ApiOptions:
    """Return what the options say of the API. Raises UsageError for those of TLS that do not go together."""
    from xdplb.daemon.options import ApiOptions, Limits, TlsFiles

    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = TlsFiles(tls_cert, tls_key, tls_client_ca)
    elif tls_cert is not None or tls_key is not None or tls_client_ca is not None:
        raise click.UsageError("TLS needs both --tls-cert FILE and --tls-key FILE")
    return ApiOptions(
        listen=listen,
        metrics=metrics_listen,
        socket_groups=socket_groups,
        tls=tls,
        client_roles=client_roles,
        hosts=hosts,
        limits=Limits(**limits),  # type: ignore[arg-type]
    )
