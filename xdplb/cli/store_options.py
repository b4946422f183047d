"""The options of `up` that say where the store is that balancers share, and how this one makes itself known there."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from xdplb.daemon.options import StoreOptions

__all__ = ["chosen_store", "store_options"]

_Decorated = TypeVar("_Decorated", bound=Callable[..., object])


def _file(name: str, parameter: str, text: str) -> Callable[[_Decorated], _Decorated]:
    return click.option(name, parameter, type=click.Path(path_type=Path, readable=False), metavar="FILE", help=text)


def _options() -> list[Callable[[_Decorated], _Decorated]]:
    return [
        click.option(
            "--store",
            metavar="etcd://HOST:PORT,…/PREFIX",
            help="The etcd that several balancers share: what one of them is asked for, all of them do. What is on this"
            " host is a copy, with which it goes on while etcd is away. etcds:// for TLS. Not with --config.",
        ),
        _file("--store-ca", "store_ca", "The authorities that vouch for the store.  [those that this host trusts]"),
        _file("--store-cert", "store_cert", "The certificate that this balancer shows to the store."),
        _file("--store-key", "store_key", "Its private key."),
        click.option("--store-user", metavar="NAME", help="The user that this balancer is to the store."),
        _file("--store-password-file", "store_password_file", "A file with that user's password."),
    ]


def store_options(command: _Decorated) -> _Decorated:
    """Add the options; the command gives them to `chosen_store`."""
    return reduce(lambda made, option: option(made), reversed(_options()), command)


def chosen_store(
    *,
    config: Path | None,
    store: str | None,
    store_ca: Path | None,
    store_cert: Path | None,
    store_key: Path | None,
    store_user: str | None,
    store_password_file: Path | None,
) -> StoreOptions | None:
    """Return the store that was asked for, None if there is none. Raises UsageError and InvalidError."""
    from xdplb.daemon.options import StoreOptions
    from xdplb.model.store_address import StoreAccess, StoreAddress

    access = StoreAccess(store_ca, store_cert, store_key, store_user, store_password_file)
    if store is None:
        if access != StoreAccess():
            raise click.UsageError("there are options for a store, but --store is missing: give it as well")
        return None
    if config is not None:
        raise click.UsageError(
            "--store and --config exclude each other: either a file says what there is, or what the balancers share;"
            " to put a file into the store, use xdplb config apply"
        )
    address = StoreAddress.parse(store)
    access.check(address)
    return StoreOptions(address, access)
