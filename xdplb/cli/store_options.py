# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say where the store is that balancers share, and how this one makes itself known there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xdplb.daemon.sharing_options import StoreOptions
from xdplb.model.store_address import StoreAccess, StoreAddress

from .gathering import gathering
from .params import file_option, parsed

__all__ = ["store_options"]


def _options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--store",
            callback=parsed(StoreAddress.parse),
            metavar="etcd://HOST:PORT,…/PREFIX",
            help="The etcd that several balancers share: what one of them is asked for, all of them do. What is on this"
            " host is a copy, with which it goes on while etcd is away. etcds:// for TLS. Not with --config.",
        ),
        file_option("--store-ca", "The authorities that vouch for the store.  [those that this host trusts]"),
        file_option("--store-cert", "The certificate that this balancer shows to the store."),
        file_option("--store-key", "Its private key."),
        click.option("--store-user", metavar="NAME", help="The user that this balancer is to the store."),
        file_option("--store-password-file", "A file with that user's password."),
    ]


def _chosen(
    *,
    store: StoreAddress | None,
    store_ca: Path | None,
    store_cert: Path | None,
    store_key: Path | None,
    store_user: str | None,
    store_password_file: Path | None,
) -> StoreOptions | None:
    """Return the store that was asked for, None if there is none. UsageError for options that do not go together."""
    access = StoreAccess(store_ca, store_cert, store_key, store_user, store_password_file)
    if store is None:
        if access != StoreAccess():
            raise click.UsageError("there are options for a store, but --store is missing: give it as well")
        return None
    access.check(store)
    return StoreOptions(store, access)


store_options = gathering("store", _options(), _chosen)
"""Adds the options. The command gets what they say as `store`, None if there is none."""
