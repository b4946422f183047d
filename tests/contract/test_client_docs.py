# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/client.md. Its examples are run in tests/netns."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import xdplb.client
from xdplb.client import Client

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text(encoding="utf-8")
NOUNS = {name: type(noun) for name, noun in vars(Client(socket_path="none")).items() if name[0] != "_"}


@pytest.mark.parametrize("name", NOUNS)
def test_every_method_is_there(name: str) -> None:
    told = re.search(rf"^\| `client.{name}` \| (.*) \|$", PAGE, re.MULTILINE)
    assert told
    methods = {method for method, _ in inspect.getmembers(NOUNS[name], inspect.isfunction) if method[0] != "_"}
    assert methods <= set(re.findall(r"`(\w+)`", told[1]))


def test_what_the_client_itself_has_is_there() -> None:
    own = {method for method, _ in inspect.getmembers(Client, inspect.isfunction) if method[0] != "_"}
    assert not {method for method in own if f"`{method}`" not in PAGE} - {"close"}


def test_every_exception_is_there() -> None:
    raised = {name for name in xdplb.client.__all__ if name.endswith("Error")}
    assert set(re.findall(r"^\| `(\w+Error)` \|", PAGE, re.MULTILINE)) == raised
