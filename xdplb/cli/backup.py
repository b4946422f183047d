# SPDX-License-Identifier: Apache-2.0
"""`xdplb backup`: the state in a file, from the daemon, or from the state dir while none runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from xdplb.model.errors import ConflictError, PlatformError
from xdplb.placed_file import place
from xdplb.private_files import FILE_MODE

from .output import note, print_json
from .params import Connection, local_output_option

__all__ = ["command"]


@click.command(
    name="backup",
    short_help="Write the state to a file, for `xdplb up --restore`.",
    epilog="""\b
Examples:
  xdplb backup /root/xdplb.backup
  xdplb backup --force /root/xdplb.backup
  sudo xdplb backup --state-dir /var/lib/xdplb /root/xdplb.backup""",
)
@click.argument("path", metavar="FILE|-")
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Read the files in DIR, while no daemon runs; otherwise the daemon is asked.",
)
@local_output_option
@click.pass_obj
def command(connection: Connection, path: str, force: bool, state_dir: Path | None, as_json: bool) -> None:
    """Write the state to FILE as it is at one moment: VIPs, backends, checks, access lists and drains.

    The daemon goes on meanwhile. FILE is for its owner only (0600), and is complete or not there at all. It has no
    events and no counters. `xdplb up --restore FILE` begins with it.
    """
    if path == "-" and as_json:
        raise click.UsageError("-o json prints what was written on stdout, where the backup goes: name a file")
    if path == "-" and sys.stdout.isatty():
        raise click.UsageError("a terminal cannot show a backup: name a file, or pipe it to a program")
    target = Path(path)
    if path != "-" and not force:
        _refuse_to_overwrite(target)
    content = _read(state_dir) if state_dir is not None else connection.client().backup()
    if path == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        place(target, content, mode=FILE_MODE, overwrite=force)
    except FileExistsError:
        _refuse_to_overwrite(target)
    except OSError as error:
        raise PlatformError(f"cannot write {target}: {error.strerror}", hint="name another file") from None
    if as_json:
        print_json({"file": path, "bytes": len(content)})
    note(f"wrote {target} ({len(content) // 1024} KiB)")


def _read(state_dir: Path) -> bytes:
    from xdplb.daemon.backup import read_state_dir

    return read_state_dir(state_dir)


def _refuse_to_overwrite(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise ConflictError(f"{target} exists", hint="name another file, or add --force to overwrite it")
