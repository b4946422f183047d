# SPDX-License-Identifier: Apache-2.0
"""What the help says: it is there for every command, its examples parse, its defaults are true."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from docs_pages.commands import commands

from xdplb.cli.main import cli
from xdplb.dataplane import loader
from xdplb.dataplane.plane import Capacity
from xdplb_api.limits import Limits

INTERFACE = [
    "up", "down", "status", "doctor", "stats", "explain", "capture", "backup", "version",
    "token add", "token rm", "token ls", "node ls", "node show", "node drain", "node undrain", "node withdraw",
    "dns ls", "dns forget",
    "vip add", "vip set", "vip rm", "vip ls", "vip show", "vip access show", "vip access set", "vip access clear",
    "backend add", "backend set", "backend drain", "backend undrain", "backend rm", "backend ls", "backend show",
    "health set", "health add", "health ls", "health rm", "health show", "health probe",
    "decap up", "decap down",
    "backend-host setup", "backend-host show", "backend-host undo", "events", "dashboard", "top",
    "config check", "config diff", "config apply", "config dump", "config schema", "config convert",
]  # fmt: skip
CHANGES = ("forget", "add", "set", "rm", "clear", "drain", "undrain", "down", "setup", "undo", "apply")
WITHOUT_OUTPUT = {"up", "dashboard", "top", "config schema"}


COMMANDS = dict(commands())


def options(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def examples(epilog: str | None) -> list[str]:
    return re.findall(r"^ +(?:sudo )?(xdplb .*)$", epilog or "", re.MULTILINE)


def test_every_command_of_the_interface_is_there_and_no_other():
    assert set(COMMANDS) == set(INTERFACE)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_does_and_shows_how(name: str):
    command = COMMANDS[name]
    assert command.help
    shown = examples(command.epilog)
    assert shown
    assert all(example.startswith(f"xdplb {name} ") or example == f"xdplb {name}" for example in shown)


@pytest.mark.parametrize("name", sorted({name.rpartition(" ")[0] for name in COMMANDS}))
def test_no_sentence_of_a_list_of_commands_is_cut_short(name: str):
    group: click.Command = cli
    for word in name.split():
        assert isinstance(group, click.Group)
        found = group.get_command(click.Context(group), word)
        assert found is not None
        group = found
    shown = group.get_help(click.Context(group, info_name=name, terminal_width=80))
    assert re.findall(r"^  \w.*\.\.\.$", shown, re.MULTILINE) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is(name: str):
    silent = [
        parameter.opts
        for parameter in COMMANDS[name].params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_output_and_dry_run_are_everywhere_they_belong(name: str):
    assert ("--output" in options(name)) is (name not in WITHOUT_OUTPUT)
    assert ("--dry-run" in options(name)) is (name.rpartition(" ")[2] in CHANGES or name == "decap up")


EXAMPLES = [*examples(cli.epilog), *(each for command in COMMANDS.values() for each in examples(command.epilog))]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have commands note that their arguments were understood instead of running."""
    understood: list[str] = []
    for name, command in COMMANDS.items():
        monkeypatch.setattr(command, "callback", lambda *_, _command=name, **__: understood.append(_command))
    return understood


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_parses(parsed: list[str], example: str):
    cli.main(shlex.split(example)[1:], standalone_mode=False)
    assert len(parsed) == 1
    assert example.startswith(f"xdplb {parsed[0]}")


def test_an_example_with_a_wrong_option_would_be_found(parsed: list[str]):
    with pytest.raises(click.UsageError):
        cli.main(["vip", "add", "203.0.113.10:80/tcp", "--wieght", "1"], standalone_mode=False)
    assert parsed == []


def test_the_help_tells_the_capacities_there_are_without_options():
    told = {
        parameter.opts[0]: re.findall(r"\[as it is, else (\d+)\]", parameter.help or "")
        for parameter in COMMANDS["up"].params
        if isinstance(parameter, click.Option) and parameter.opts[0].startswith("--max-")
    }
    default = Capacity()
    assert told == {
        "--max-vips": [str(default.vips)],
        "--max-backends": [str(default.backends)],
        "--max-flows": [str(default.flows)],
    }


def test_only_the_capacities_that_are_given_are_asked_for(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("xdplb.daemon.run.run", lambda options, _parts: asked.append(dict(options.capacity)))
    for given in ([], ["--max-vips", "7"], ["--max-flows", "9", "--max-backends", "8"]):
        cli.main(["up", "eth0", *given], standalone_mode=False)
    assert asked == [{}, {"vips": 7}, {"backends": 8, "flows": 9}]


def test_the_capacities_that_may_be_asked_for_are_those_the_loader_takes():
    ranges = {
        parameter.opts[0]: (parameter.type.min, parameter.type.max)
        for parameter in COMMANDS["up"].params
        if isinstance(parameter.type, click.IntRange) and parameter.opts[0].startswith("--max-")
    }
    assert ranges == {
        "--max-vips": (1, loader.MAX_VIPS),
        "--max-backends": (1, loader.MAX_BACKENDS),
        "--max-flows": (1, loader.MAX_FLOWS),
    }


def test_what_the_api_takes_on_by_default_is_what_up_says(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("xdplb.daemon.run.run", lambda options, _parts: asked.append(options.api.limits))
    cli.main(["up", "eth0"], standalone_mode=False)
    cli.main(["up", "eth0", "--api-connections", "9", "--api-max-body", "2"], standalone_mode=False)
    assert asked == [Limits(), Limits(connections=9, body_bytes=2 << 20)]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--api-connections", "0"),
        ("--api-connections", "many"),
        ("--api-requests", "-1"),
        ("--api-requests", "1025"),
        ("--api-requests", "016"),
        ("--api-max-body", "0"),
        ("--api-head-timeout", "0s"),
        ("--api-body-timeout", "-1s"),
        ("--api-idle-timeout", "soon"),
    ],
)
def test_a_limit_of_the_api_that_makes_no_sense_is_refused(option: str, value: str):
    with pytest.raises(click.UsageError):
        cli.main(["up", "eth0", f"{option}={value}"], standalone_mode=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_range_that_the_help_shows_has_an_end(name: str):
    shown = COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=name))
    assert re.findall(r"\[?x ?[<>]=? ?None\]?", shown) == []
