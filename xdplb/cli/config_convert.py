# SPDX-License-Identifier: Apache-2.0
"""`xdplb config convert`: a configuration of keepalived or ipvsadm as a config file."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import click

from xdplb.model.errors import ConflictError, InvalidError, XdplbError
from xdplb.placed_file import place

from .output import note

__all__ = ["convert"]

_NOT_ALL = 1
_OTHER_FORMS = {".yaml", ".yml", ".json"}


@click.command(
    name="convert",
    short_help="Make a config file of keepalived's or ipvsadm's.",
    epilog="""\b
Examples:
  xdplb config convert --from keepalived /etc/keepalived/keepalived.conf -o config.toml
  ipvsadm -S -n | xdplb config convert --from ipvsadm - -o config.toml""",
)
@click.argument("file", metavar="FILE")
@click.option("--from", "source", type=click.Choice(["keepalived", "ipvsadm"]), required=True, help="What FILE is of.")
@click.option("-o", "--output", "output", metavar="FILE", help="The file to write, which must not exist.  [stdout]")
@click.option(
    "--config-id",
    metavar="ID",
    help="What keepalived's @conditions are compared with, as its option -i.  [this host's name]",
)
def convert(file: str, source: str, output: str | None, config_id: str | None) -> int:
    """Write a config file with the VIPs of FILE: a keepalived.conf, or the output of `ipvsadm -S -n`; - is stdin.

    What has no counterpart, or one that differs, is told on stderr, line by line, and as a comment in the file. Exit 0:
    all is in the file as it was; 1: it was written, and something was told; 2: FILE cannot be read. This needs no
    daemon, and changes nothing.
    """
    from xdplb.convert.convert import Source
    from xdplb.convert.convert import convert as converted

    if output is not None and Path(output).suffix.lower() in _OTHER_FORMS:
        raise InvalidError(f"{output} would be taken for YAML, and convert writes TOML", hint="name it FILE.toml")
    text, notes = converted(Source(source), file, config_id or platform.node().partition(".")[0])
    if output is None or output == "-":
        sys.stdout.write(text)
    else:
        _write(output, text)
    for each in notes:
        note(str(each))
    return _NOT_ALL if notes else 0


def _write(path: str, text: str) -> None:
    try:
        place(Path(path), text.encode(), mode=None, overwrite=False)
    except FileExistsError:
        raise ConflictError(f"{path} exists already", hint="name another file, or remove it") from None
    except OSError as error:
        raise XdplbError(f"cannot write {path}: {error.strerror}", hint="name another file with -o") from None
