# SPDX-License-Identifier: Apache-2.0
"""Writes the manual pages from the commands themselves: xdplb(1), and a page for each command, such as xdplb-vip(1).

manuals.py FOLDER
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import xdplb
from xdplb.cli.main import cli

_SECTIONS = (
    (
        "FILES",
        ("/etc/default/xdplb", "what the service runs with"),
        ("/etc/xdplb/config.toml", "a config file"),
    ),
    ("SEE ALSO", ("/usr/share/doc/xdplb/docs", "the documentation"), ("systemctl(1)", "for the service xdplb")),
)


def pages() -> Iterator[tuple[str, str]]:
    """Yield the file name and the text of each page."""
    root = click.Context(cli, info_name="xdplb")
    commands = {name: cli.get_command(root, name) for name in cli.list_commands(root)}
    lines = [*_head("xdplb", cli), *_described(cli, root), ".SH COMMANDS"]
    for name, command in commands.items():
        if command is not None and not command.hidden:
            lines += [".TP", rf"\fBxdplb\-{_roff(name)}\fR(1)", _roff(command.get_short_help_str(200))]
            yield f"xdplb-{name}.1", "\n".join(_page(name, command, root)) + "\n"
    for title, *items in _SECTIONS:
        lines.append(f".SH {title}")
        for what, why in items:
            lines += [".TP", rf"\fB{_roff(what)}\fR", _roff(why)]
    yield "xdplb.1", "\n".join(lines) + "\n"


def _page(name: str, command: click.Command, root: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=root)
    yield from _head(f"xdplb-{name}", command)
    yield from _described(command, context)
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            child = command.get_command(context, verb)
            if child is not None:
                yield f'.SH "XDPLB {name.upper()} {verb.upper()}"'
                yield from _described(child, click.Context(child, info_name=verb, parent=context), heading=".SS")
    yield from (".SH SEE ALSO", r"\fBxdplb\fR(1)")


def _head(title: str, command: click.Command) -> Iterator[str]:
    yield f'.TH {_roff(title.upper())} 1 "" "xdplb {xdplb.__version__}" "User Commands"'
    yield from (".SH NAME", rf"{_roff(title)} \- {_roff(command.get_short_help_str(200).rstrip('.'))}")


def _described(command: click.Command, context: click.Context, heading: str = ".SH") -> Iterator[str]:
    yield f"{heading} SYNOPSIS"
    yield rf"\fB{_roff(context.command_path)}\fR {_roff(' '.join(command.collect_usage_pieces(context)))}"
    yield f"{heading} DESCRIPTION"
    yield from _text(command.help or "")
    records = [found for each in command.get_params(context) if (found := each.get_help_record(context))]
    if records:
        yield f"{heading} OPTIONS"
        for names, meaning in records:
            yield from (".TP", rf"\fB{_roff(names)}\fR", _roff(meaning))
    if command.epilog:
        yield f"{heading} EXAMPLES"
        yield from (".nf", *map(_roff, command.epilog.replace("\b\n", "").splitlines()[1:]), ".fi")


def _text(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        verbatim = paragraph.startswith("\b")
        lines = [_roff(line) for line in paragraph.lstrip("\b\n").splitlines()]
        yield from (".PP", *([".nf", *lines, ".fi"] if verbatim else lines))


def _roff(text: str) -> str:
    """Return the text as roff takes it: a minus and not a hyphen, and no line that begins like a request."""
    escaped = " ".join(text.split(" ")).replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped)


def main() -> None:
    """Write the pages into the folder in the argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
