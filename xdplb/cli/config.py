# SPDX-License-Identifier: Apache-2.0
"""`xdplb config`: the whole desired state as one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

import click

from xdplb.client import Answer, Client, ConflictError, InvalidError, OwnedError, XdplbError
from xdplb.client.bodies import Config, ConfigChangedOut

from .changes import Change, changing
from .config_convert import convert
from .config_dump import dump
from .config_faults import format_option, telling_faults
from .groups import Group
from .output import line, note, print_json
from .params import Connection, local_output_option, output_option
from .progress import ticking

if TYPE_CHECKING:
    from xdplb.config.document import Document

__all__ = ["command"]

_DIFFERS = 1
_INVALID = 2

_Command = TypeVar("_Command", bound=Callable[..., object])


@click.group(
    cls=Group,
    name="config",
    short_help="The whole desired state as one file.",
    epilog="""\b
A file is TOML, or YAML if its name ends in .yaml, .yml or .json. Commented examples
are in docs/examples/, and docs/config.md explains it.""",
)
def command() -> None:
    """Check a config file, compare it with what is configured, apply it, or write one."""


def _file_option(command: _Command) -> _Command:
    return click.option("-f", "--file", required=True, metavar="FILE", help="The config file; - is stdin.")(command)


@command.command(
    short_help="Say what is wrong with a file.",
    epilog="""\b
Examples:
  xdplb config check -f /etc/xdplb/config.toml
  xdplb config check -f - --format yaml""",
)
@_file_option
@format_option
@local_output_option
@telling_faults
def check(file: str, written: str | None, as_json: bool) -> int:
    """Say all that is wrong with a file, with its line and column. This needs no daemon.

    Ends with 2 if anything is wrong. What depends on the host, such as the ports of its own connections, is only seen
    by diff and apply.
    """
    from xdplb.config.document import read_document
    from xdplb.config.faults import ConfigError
    from xdplb.daemon.config_file import check_document

    try:
        with ticking(f"checking {file}"):
            document = read_document(file, written)
            config = check_document(document)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": file, "valid": False, "faults": [fault.as_json() for fault in error.faults]})
        return _INVALID
    if as_json:
        print_json({"file": file, "valid": True, "faults": []})
    else:
        backends = sum(len(vip.backends) for vip in config.vips)
        note(f"{document.file} is right: {_count(len(config.vips), 'VIP')}, {_count(backends, 'backend')}")
    return 0


@command.command(
    short_help="Say what applying a file would change.",
    epilog="\b\nExamples:\n  xdplb config diff -f config.toml\n  xdplb config diff -f config.toml -o json",
)
@_file_option
@format_option
@output_option
@click.pass_obj
@telling_faults
def diff(connection: Connection, file: str, written: str | None, as_json: bool) -> int:
    """Say what would change if the file were applied, and the effect on traffic. Nothing changes.

    Ends with 0 if nothing would change, with 1 if something would.
    """
    client = connection.client()
    change = Change(client, dry_run=True, as_json=as_json)
    answer = _put(change, _read(file, written))
    change.tell(answer, "")
    if not as_json:
        _tell_overlay(client)
    return _DIFFERS if answer.dry_run()["would_change"] else 0


@command.command(
    short_help="Make the desired state what a file says.",
    epilog="""\b
Examples:
  xdplb config apply -f config.toml --dry-run
  xdplb config apply -f config.toml
  xdplb config apply -f config.toml --clear-overlay""",
)
@_file_option
@format_option
@click.option(
    "--clear-overlay",
    is_flag=True,
    help="Also end what operators have laid over the file: weights, drains and maintenance.",
)
@telling_faults
@changing(conditional=True)
def apply(change: Change, /, *, file: str, written: str | None, clear_overlay: bool) -> None:
    """Make the desired state what the file says, in one step: all of it, or nothing if anything is wrong.

    What is not in the file is removed. What is equal is not touched: applying the same file again changes nothing.
    If the daemon was started with this file as its --config, it reads it again, as with systemctl reload.
    """
    document = _read(file, written)
    answer = _put(change, document, clear_overlay=clear_overlay)
    if change.as_json or change.dry_run:
        change.tell(answer, "")
    else:
        _tell_applied(answer.json(), document.file)


@command.command(
    short_help="Print the JSON Schema of config files.",
    epilog="\b\nExamples:\n  xdplb config schema",
)
def schema() -> None:
    """Print the JSON Schema of config files: editors check and complete from it. This needs no daemon."""
    from xdplb.daemon.config_file import config_schema

    print_json(config_schema())


command.add_command(dump)
command.add_command(convert)


def _read(file: str, written: str | None) -> Document:
    from xdplb.config.document import read_document

    return read_document(file, written)


def _put(change: Change, document: Document, *, clear_overlay: bool = False) -> Answer[ConfigChangedOut]:
    """Ask the daemon for the state that a file declares. It checks the file; only what is wrong is looked for here."""
    try:
        json.dumps(document.data, allow_nan=False)
    except (TypeError, ValueError):  # a date or no number, which TOML has and JSON has not
        _check(document)
        raise
    try:
        asked = cast("Config", document.data)
        return change.made(change.client.config.put(asked, clear_overlay=clear_overlay, **change.how))
    except OwnedError:
        if not _is_same_file(change.client.config.get().json()["owner"], document.file):
            raise
        return change.made(change.client.config.reload(clear_overlay=clear_overlay))
    except (InvalidError, ConflictError) as error:
        _check(document)
        _raise_with_place(document, error)


def _is_same_file(owner: str | None, file: str) -> bool:
    """Return whether the file that owns the configuration is this one, also by another name."""
    try:
        return owner is not None and Path(owner).samefile(file)
    except OSError:
        return False


def _check(document: Document) -> None:
    from xdplb.daemon.config_file import check_document

    check_document(document)


def _raise_with_place(document: Document, error: XdplbError) -> NoReturn:
    """Raise an error of the daemon, which only it can see, with the place in the file."""
    for problem in error.problems:
        if problem.pointer.startswith(("/vips", "/settings")):
            fault = document.fault(problem.pointer, error.detail, error.hint)
            raise type(error)(str(fault), hint=error.hint) from None
    raise error


def _tell_applied(outcome: ConfigChangedOut, file: str) -> None:
    if not outcome["changed"]:
        note(f"nothing to change: all is as {file} says")
        return
    for sentence in outcome["changes"]:
        line(sentence)
    note(f"{file} applied: generation {outcome['generation']}")


def _tell_overlay(client: Client) -> None:
    for each in client.config.overlay().json()["overlay"]:
        declared, told = each["declared"], []
        if each["weight"] != declared["weight"]:
            told.append(f"weight {each['weight']} instead of {declared['weight']}")
        if each["admin_state"] != declared["admin_state"]:
            told.append(f"admin_state {each['admin_state']} instead of {declared['admin_state']}")
        note(f"overlay: backend {each['address']} of VIP {each['vip']} has {' and '.join(told)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
