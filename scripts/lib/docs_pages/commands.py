# SPDX-License-Identifier: Apache-2.0
"""What docs/reference/cli.md says of each command, made from the command itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from xdplb.cli.main import cli
from xdplb.cli.sections import SectionedCommand

__all__ = ["commands", "made", "with_all_marks"]

_HEADING = re.compile(r"^## `xdplb (?P<name>[^`]+)`\n", re.MULTILINE)


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield each command that is no group, by its words, in the order of the help."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        elif not command.hidden:
            yield " ".join((*words, name)), command


def made() -> dict[str, str]:
    """Return the made parts of the page by name: the options before the command, the list, and each command."""
    found = dict(commands())
    rows = [f"| [`xdplb {name}`](#xdplb-{name.replace(' ', '-')}) | {_short(each)} |" for name, each in found.items()]
    return {
        "options before the command": _options(cli),
        "list of commands": "\n".join(["| command | what it does |", "|---|---|", *rows]),
        **{name: _command(name, each) for name, each in found.items()},
    }


def with_all_marks(page: str) -> str:
    """Return the page with a section for each command, in order; what is written by hand below one goes with it."""
    head, *rest = _HEADING.split(page)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    new = "\n<!-- made: {} -->\n<!-- end -->"
    below = (f"## `xdplb {name}`\n{sections.get(name, new.format(name)).rstrip()}\n\n" for name, _ in commands())
    return (head + "".join(below)).rstrip("\n") + "\n"


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"xdplb {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [f"    xdplb {name} {usage}", _plain(command.help or ""), _options(command)]
    examples = re.findall(r"^ +((?:sudo )?xdplb .*)$", command.epilog or "", re.MULTILINE)
    if examples:
        parts += ["Examples:", "\n".join(f"    {example}" for example in examples)]
    return "\n\n".join(part for part in parts if part)


def _options(command: click.Command) -> str:
    """Return the options as lists, under the headings of the help if it has some."""
    context = click.Context(command)
    shown: dict[str, list[str]] = {}
    if isinstance(command, SectionedCommand):
        shown = {title: [] for title in command.sections}
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if not isinstance(option, click.Option) or record is None or "--help" in option.opts:
            continue
        title = command.section_of(option) if isinstance(command, SectionedCommand) else ""
        environment = f" (`{option.envvar}`)" if option.envvar else ""
        shown.setdefault(title, []).append(f"- `{record[0]}`{environment}: {_text(record[1])}")
    return "\n\n".join(
        (f"**{title}**\n\n" if title else "") + "\n".join(options) for title, options in shown.items() if options
    )


def _short(command: click.Command) -> str:
    return _text(command.get_short_help_str(limit=200)).replace("|", r"\|")


def _plain(help_text: str) -> str:
    """Return a help text as paragraphs, without the marks of click."""
    paragraphs = inspect.cleandoc(help_text).replace("\b\n", "").split("\n\n")
    return "\n\n".join(_text(" ".join(paragraph.split())) for paragraph in paragraphs)


def _text(words: str) -> str:
    """Return words as Markdown: options are code, and what click puts into brackets at the end is set apart."""
    words = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", words)
    words = re.sub(r"  +\[(.*?)\](?=$|  )", lambda found: f" *({_range(found[1])})*", words)
    return words.replace("<", "&lt;")


def _range(fact: str) -> str:
    """Return a default or a range; a range as words."""
    fact = re.sub(r"([\d.-]+)<=x<=([\d.-]+)", r"\1 to \2", fact)
    fact = re.sub(r"x>=([\d.]+)", r"at least \1", fact)
    return re.sub(r"x>([\d.]+)", r"above \1", fact)
