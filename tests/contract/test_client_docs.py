# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/client.md, run as they stand, and its tables."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import xdplb.client
from xdplb.client import Client

from .cli_harness import Daemon

PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NOUNS = {name: type(noun) for name, noun in vars(Client(socket_path="none")).items() if name[0] != "_"}


def test_the_examples_run(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: dict[str, object] = {}
    for number, example in enumerate(EXAMPLES):
        here = example.replace("Client()", f"Client(socket_path={str(daemon.socket)!r})")
        exec(compile(here, f"example {number}", "exec"), told)
    client = told["client"]
    assert isinstance(client, Client)
    assert client.backends.get("web", "10.0.0.11").json()["weight"] == 2
    assert (tmp_path / "web.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    client.close()


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
