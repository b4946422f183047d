# SPDX-License-Identifier: Apache-2.0
"""The options of `up`: each is under a heading of the help, and a wrong one is named in what is said of it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from xdplb.cli.main import cli
from xdplb.cli.up import command
from xdplb.daemon.options import DaemonOptions
from xdplb.model.announcing import Announcing
from xdplb.model.store_address import StoreAddress
from xdplb.peers.addresses import Place


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DaemonOptions]:
    """What the daemon is asked for, which does not run."""
    options: list[DaemonOptions] = []
    monkeypatch.setattr("xdplb.daemon.run.run", lambda given, _parts: options.append(given))
    return options


def up(*given: str) -> None:
    cli.main(["up", "eth0", *given], standalone_mode=False)


def test_every_option_is_under_a_heading_and_no_heading_is_empty():
    options = [each for each in command.params if isinstance(each, click.Option)]
    places = {each.opts[0]: command.section_of(each) for each in options}
    assert [name for name, title in places.items() if not title] == []
    assert set(places.values()) == set(command.sections)
    named = [begin for begins in command.sections.values() for begin in begins]
    assert [begin for begin in named if not any(name.startswith(begin) for name in places)] == []


def test_the_help_has_the_headings():
    shown = command.get_help(click.Context(command, info_name="up"))
    assert all(f"\n{title}:\n" in shown for title in command.sections)
    assert shown.index("--peer-listen") < shown.index("--announce-table") < shown.index("--api-requests")


def test_what_is_not_given_is_not_there(asked: list[DaemonOptions]):
    up()
    only = asked[0]
    assert (only.store, only.peers, only.url, only.announcing) == (None, None, "", Announcing())


def test_what_is_given_comes_as_values(asked: list[DaemonOptions], tmp_path: Path):
    up("--store", "etcd://192.0.2.1/x", "--advertise-url", "https://lb1:8443", "--announce-table", "211")
    up("--peer-listen", "::", "--peer", "2001:db8::3", "--peer", "[2001:db8::3]:4815", "--peer-key-file", str(tmp_path))
    first, second = asked
    assert first.store is not None
    assert first.store.address == StoreAddress.parse("etcd://192.0.2.1/x")
    assert (first.url, first.announcing.table) == ("https://lb1:8443", 211)
    assert second.peers is not None
    assert (second.peers.listen, second.peers.peers) == ((Place("::", 4815),), (Place("2001:db8::3", 4815),))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--node", "LB 1"),
        ("--node", ""),
        ("--advertise-url", "lb1:8443"),
        ("--advertise-url", "ftp://lb1"),
        ("--advertise-url", "https://lb1:0"),
        ("--advertise-url", "https://lb1:x"),
        ("--advertise-url", "https://lb1 /"),
        ("--store", "http://192.0.2.1/x"),
        ("--store", "etcd://192.0.2.1:99999/x"),
        ("--peer", "lb2"),
        ("--peer", "192.0.2.1:0"),
        ("--peer-listen", "lb1"),
        ("--peer-listen", "127.0.0.1:99999"),
        ("--announce-table", "255"),
        ("--announce-table", "-1"),
        ("--announce-protocol", "2"),
        ("--announce-protocol", "256"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(asked: list[DaemonOptions], option: str, value: str):
    with pytest.raises(click.BadParameter) as refused:
        up(option, value)
    assert f"'{option}'" in refused.value.format_message()
    assert not asked


def test_a_store_and_a_config_file_exclude_each_other(asked: list[DaemonOptions]):
    with pytest.raises(click.UsageError, match="--store and --config exclude each other"):
        up("--store", "etcd://192.0.2.1/x", "--config", "config.toml")
    assert not asked
