# SPDX-License-Identifier: Apache-2.0
"""The options of `up` that say how this node announces its VIPs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xdplb.model.announcing import Announcing, OnDaemonLoss, TrackFile, checked_protocol, checked_table
from xdplb.model.errors import InvalidError
from xdplb.model.vip import VipKey

from .gathering import gathering
from .params import AnyWhole, duration, parsed

__all__ = ["announce_options"]

_DEFAULTS = Announcing()


def _track_files(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[TrackFile, ...]:
    """Return the files in texts such as `/run/xdplb/vrrp` or `web=/run/xdplb/vrrp-web`."""
    vips: dict[Path, list[str]] = {}
    for text in texts:
        vip, is_named, path = ("", "", text) if text.startswith("/") else text.partition("=")
        if not path.startswith("/") or (is_named and not vip):
            raise click.BadParameter(f"{text!r} is not [VIP=]FILE, with an absolute path such as /run/xdplb/vrrp")
        if ":" in vip:
            _check_key(vip)
        vips.setdefault(Path(path), []).append(vip)
    for file, names in vips.items():
        if "" in names and len(names) > 1:
            raise click.BadParameter(f"{file} is given for some VIPs, and for all of them: give one of the two")
    return tuple(TrackFile(file, tuple(filter(None, names))) for file, names in vips.items())


def _check_key(vip: str) -> None:
    try:
        VipKey.parse(vip)
    except InvalidError as error:
        raise click.BadParameter(error.detail) from None


def _options() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--announce-table",
            "table",
            type=AnyWhole(),
            default=_DEFAULTS.table,
            show_default=True,
            callback=parsed(checked_table),
            metavar="N",
            help="The routing table in which a BGP daemon finds the routes of VIPs with --announce: 1 to 252, or 254, "
            "the main table.",
        ),
        click.option(
            "--announce-protocol",
            "protocol",
            type=AnyWhole(),
            default=_DEFAULTS.protocol,
            show_default=True,
            callback=parsed(checked_protocol),
            metavar="N",
            help="The protocol number of these routes, by which xdplb knows its own.",
        ),
        click.option(
            "--announce-delay",
            "delay_seconds",
            type=duration,
            default="2s",
            show_default=True,
            metavar="TIME",
            help="For how long a VIP must be well again before its route is back, or a track file says 0.",
        ),
        click.option(
            "--on-daemon-loss",
            type=click.Choice([loss.value for loss in OnDaemonLoss]),
            default=_DEFAULTS.on_daemon_loss.value,
            show_default=True,
            help="What becomes of routes and track files when the daemon stops, is killed or hangs. Packets are "
            "forwarded in any case, but nobody notices a backend that fails.",
        ),
        click.option(
            "--vrrp-track-file",
            "track_files",
            multiple=True,
            callback=_track_files,
            metavar="[VIP=]FILE",
            help="A file for keepalived's vrrp_track_file: 0 while this node is ready and one of the VIPs is well, "
            "else --vrrp-track-weight. Without VIP: of all VIPs. May be repeated.",
        ),
        click.option(
            "--vrrp-track-weight",
            "track_weight",
            type=click.IntRange(-254, -1),
            default=_DEFAULTS.track_weight,
            show_default=True,
            metavar="N",
            help="What the track files say while another node should have the VIPs.",
        ),
    ]


def _chosen(
    *,
    table: int,
    protocol: int,
    delay_seconds: float,
    on_daemon_loss: str,
    track_files: tuple[TrackFile, ...],
    track_weight: int,
) -> Announcing:
    return Announcing(
        table=table,
        protocol=protocol,
        delay_seconds=delay_seconds,
        on_daemon_loss=OnDaemonLoss(on_daemon_loss),
        track_files=track_files,
        track_weight=track_weight,
    )


announce_options = gathering("announcing", _options(), _chosen)
"""Adds the options. The command gets what they say as `announcing`."""
