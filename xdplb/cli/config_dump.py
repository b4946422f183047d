# SPDX-License-Identifier: Apache-2.0
"""`xdplb config dump`: what is configured, as a config file."""

from __future__ import annotations

from pathlib import Path

import click

from xdplb.model.errors import XdplbError
from xdplb.placed_file import place

from .config_faults import format_option
from .output import note, print_json
from .params import Connection, output_option

__all__ = ["dump"]


@click.command(
    short_help="Print what is configured as a config file.",
    epilog="""\b
Examples:
  xdplb config dump
  xdplb config dump -f config.yaml
  xdplb config dump --format yaml""",
)
@click.option(
    "-f", "--file", default="-", metavar="FILE", help="Where to write it; an existing file is replaced.  [stdout]"
)
@format_option
@output_option
@click.pass_obj
def dump(connection: Connection, file: str, written: str | None, as_json: bool) -> None:
    """Print what is configured as a config file, commented. Applying it changes nothing.

    What has its default is left out. Weights, drains and maintenance that are laid over a config file are not in it.
    """
    answer = connection.client().config.get()
    if as_json:
        print_json(answer.body)
        return
    from xdplb.daemon.config_dump import config_text

    is_yaml = Path(file).suffix.lower() in {".yaml", ".yml", ".json"}
    text = config_text(answer.json(), written or ("yaml" if is_yaml else "toml"))
    if file == "-":
        click.echo(text, nl=False)
        return
    _replace(Path(file), text)
    note(f"{file} written")


def _replace(path: Path, text: str) -> None:
    """Write a file, in the place of the one that is there, which keeps its mode."""
    try:
        target = path.resolve()  # what a symlink leads to is replaced, and not the symlink
        mode = target.stat().st_mode & 0o7777 if target.exists() else None
        place(target, text.encode(), mode=mode, overwrite=True)
    except OSError as error:
        raise XdplbError(
            f"{path} cannot be written: {error.strerror}", hint="give another path, or - for stdout"
        ) from None
