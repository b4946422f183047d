# SPDX-License-Identifier: Apache-2.0
"""`xdplb capture`: packets as XDP received and sent them, in a file for Wireshark or tcpdump."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypedDict

import click

from xdplb.model.errors import XdplbError

from .capture_file import open_capture
from .completion import vip_names
from .output import note, print_json
from .params import Connection, Decimal, Whole, local_output_option
from .pcapng_blocks import PcapngBlocks
from .progress import ticking

__all__ = ["command"]

_CLIENT_PORT = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:/]+):[0-9]+")


@click.command(
    name="capture",
    short_help="Write packets to a file, each with xdplb's decision.",
    epilog="""\b
Examples:
  sudo xdplb capture -w all.pcapng --seconds 10
  sudo xdplb capture web -w web.pcapng --sample 100
  sudo xdplb capture 203.0.113.10:443/tcp 192.0.2.0/24 -w some.pcapng --packets 1000
  sudo xdplb capture 192.0.2.7:40000 -w -""",
)
@click.argument("what", metavar="[VIP|CLIENT]...", nargs=-1, shell_complete=vip_names)
@click.option("-w", "--write", "path", metavar="FILE|-", required=True, help="The file to write; - is stdout.")
@click.option("--packets", type=Whole(1), metavar="N", help="Stop after this many packets.")
@click.option("--seconds", type=Decimal(0, min_open=True), metavar="S", help="Stop after this many seconds.")
@click.option("--sample", type=Whole(1), metavar="N", help="Capture one in N packets, at random.  [1]")
@click.option("--snaplen", type=Whole(14, 16384), metavar="B", help="Bytes to keep of each frame.  [256]")
@local_output_option
@click.pass_obj
def command(connection: Connection, /, *, what: tuple[str, ...], path: str, as_json: bool, **bounds: Any) -> None:
    """Write packets to a pcapng file, as XDP received them and as it sent them (which tcpdump cannot see).

    Each packet has a comment with the decision: where it was sent, how and why, or why it was not. VIP is a name or a
    key; CLIENT is an address, a prefix or ADDRESS:PORT. Without them, all packets that concern a VIP are captured.
    Ctrl-C stops it. There is one capture at a time, and no cost while there is none. It takes seconds to start, since a
    program is compiled for it. The file is for its owner only (0600); one that is no pcapng file is not overwritten.
    """
    named = _named(what)
    if path == "-" and as_json:
        raise click.UsageError("-o json prints what was captured on stdout, where the packets go: name a file")
    if path == "-" and sys.stdout.isatty():
        raise click.UsageError(
            "a terminal cannot show a pcapng file: name a file, or pipe it to a program that reads pcapng"
        )
    with connection.client().capture(**named, **bounds) as chunks, _opened(path) as file:
        _write(chunks, file, path, as_json=as_json)


def _write(chunks: Iterator[bytes], file: BinaryIO, path: str, *, as_json: bool) -> None:
    """Write whole blocks as they come, so that the file can be read however the capture ends."""
    blocks = PcapngBlocks()
    try:
        note("capturing; Ctrl-C stops it")
        with ticking(lambda: f"capturing, {blocks.packets} packets"):
            for chunk in chunks:
                file.write(blocks.feed(chunk))
                file.flush()
    except KeyboardInterrupt:
        pass
    finally:
        where = "stdout" if path == "-" else path
        if as_json:
            told = {"packets": blocks.packets, "frames": blocks.frames, "frames_lost": blocks.lost}
            print_json({"file": path, **told})
        note(f"{blocks.packets} packets ({blocks.frames} frames) in {where}, {blocks.lost} frames lost")


class _Named(TypedDict, total=False):
    vip: str
    client: str


def _named(what: tuple[str, ...]) -> _Named:
    """Return the VIP and the client that the arguments name."""
    query: _Named = {}
    for text in what:
        name: Literal["client", "vip"] = "client" if _is_client(text) else "vip"
        if name in query:
            kind = "a client" if name == "client" else "a VIP"
            raise click.UsageError(f"{query[name]} and {text} are both {kind}: name one of each")
        query[name] = text
    return query


def _is_client(text: str) -> bool:
    """Return whether it is an address, a prefix or an address and port. A VIP has a protocol or is a name."""
    if _CLIENT_PORT.fullmatch(text):
        return True
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open the file to write. It is called after the daemon has accepted, so that a refusal does not erase the file."""
    try:
        if path == "-":
            yield sys.stdout.buffer
        else:
            with os.fdopen(open_capture(Path(path)), "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise XdplbError(f"cannot write {path}: {error.strerror}", hint="name another file with -w") from None
