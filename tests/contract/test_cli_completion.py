# SPDX-License-Identifier: Apache-2.0
"""What Tab offers: names that the daemon knows, in the form that each shell takes; in bash, by a real bash."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xdplb.cli.main import run

from .cli_harness import WEB, Daemon, running_daemon

IPV6 = "[2001:db8::10]:443/tcp"
DNS = "203.0.113.10:53/tcp+udp"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("completion")) as running:
        running.ok("vip", "add", WEB, "--name", "web")
        running.ok("vip", "add", IPV6, "--forward", "ipip")
        running.ok("vip", "add", DNS)
        running.ok("backend", "add", "web", "10.0.0.11")
        running.ok("backend", "add", "web", "10.0.0.12")
        running.ok("backend", "add", IPV6, "2001:db8:1::11")
        running.ok("health", "add", "web", "--type", "tcp")
        running.ok("token", "add", "ci", "--role", "read", "--write", str(running.folder / "token"))
        yield running


class Tab:
    """What the script of a shell gets from xdplb when Tab is pressed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self._monkeypatch, self._capture = monkeypatch, capture

    def told(self, shell: str, socket: Path, words: str, word: str = "") -> str:
        """Return it for these words; `word` says in the way of the shell which one is not whole yet."""
        given = {"_XDPLB_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": word}
        with self._monkeypatch.context() as only_now:
            for name, value in {"XDPLB_SOCKET": str(socket), **given}.items():
                only_now.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                run([])
        out, err = self._capture.readouterr()
        assert (end.value.code, err) == (0, b"")
        return out.decode()

    def offers(self, socket: Path, line: str) -> set[str]:
        """Return what may follow the line, which ends where Tab is pressed."""
        return {each.partition(",")[2] for each in self.told("bash", socket, line).splitlines() if each}


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Tab:
    return Tab(monkeypatch, capsysbinary)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("xdplb vip show ", {"web", WEB, IPV6, DNS}),
        ("xdplb vip show w", {"web"}),
        ("xdplb vip show 203.0.113.10:4", {WEB}),
        ("xdplb vip show '[2001:", {IPV6}),
        ("xdplb vip add ", set()),
        ("xdplb vip access show w", {"web"}),
        ("xdplb explain 198.51.100.7:40000 w", {"web"}),
        ("xdplb stats w", {"web"}),
        ("xdplb events --vip w", {"web"}),
        ("xdplb status --vip w", {"web"}),
        ("xdplb capture web 203.0.113.10:5", {DNS}),
        ("xdplb backend ls w", {"web"}),
        ("xdplb backend set web ", {"10.0.0.11", "10.0.0.12"}),
        (f"xdplb backend show {WEB} ", {"10.0.0.11", "10.0.0.12"}),
        ("xdplb backend add web ", set()),
        (f"xdplb backend rm '{IPV6}' ", {"2001:db8:1::11"}),
        ("xdplb backend drain w", {"web"}),
        ("xdplb backend drain web ", {"10.0.0.11", "10.0.0.12"}),
        ("xdplb backend drain web 10.0.0.11 ", set()),
        ("xdplb backend undrain --all-vips 10", {"10.0.0.11", "10.0.0.12"}),
        ("xdplb backend show none ", set()),
        ("xdplb health rm web ", {"tcp"}),
        ("xdplb health probe web 10.0.0.12", {"10.0.0.12"}),
        ("xdplb token rm ", {"ci"}),
        ("xdplb vip sh", {"show"}),
    ],
)
def test_names_are_those_that_may_come_there(tab: Tab, daemon: Daemon, line: str, names: set[str]) -> None:
    assert tab.offers(daemon.socket, line) == names


def test_nodes(tab: Tab, daemon: Daemon) -> None:
    (node,) = tab.offers(daemon.socket, "xdplb node show ")
    assert daemon.ok("node", "show", node)


def test_the_daemon_is_the_one_that_is_named_before(tab: Tab, daemon: Daemon, tmp_path: Path) -> None:
    assert tab.offers(tmp_path / "none", f"xdplb --socket {daemon.socket} vip show w") == {"web"}


def test_without_a_daemon_nothing_is_offered_or_printed(tab: Tab, tmp_path: Path) -> None:
    assert tab.offers(tmp_path / "none", "xdplb vip show ") == set()


def test_zsh_and_fish_get_what_a_name_stands_for(tab: Tab, daemon: Daemon) -> None:
    zsh = tab.told("zsh", daemon.socket, "xdplb vip show ", word="3").splitlines()
    assert set(zip(zsh[::3], zsh[1::3], zsh[2::3], strict=True)) == {
        ("plain", "web", WEB),
        ("plain", WEB.replace(":", r"\:"), "web"),
        ("plain", IPV6, "_"),
        ("plain", DNS, "_"),
    }
    fish = tab.told("fish", daemon.socket, "xdplb vip show w", word="w")
    assert fish.splitlines() == [f"plain,web\t{WEB}"]


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("xdplb vip show 203.0.113.10", {WEB, DNS}),
        ("xdplb vip show 203.0.113.10:", {"443/tcp", "53/tcp+udp"}),
        ("xdplb vip show 203.0.113.10:4", {"443/tcp"}),
        ("xdplb backend show 203.0.113.10:443/tcp ", {"10.0.0.11", "10.0.0.12"}),
        ("xdplb vip show '[2001:db8", {IPV6}),
        ("xdplb vip show [2001:db8::10]:", {"443/tcp"}),
    ],
)
def test_bash_takes_a_key_though_it_breaks_words_at_colons(daemon: Daemon, line: str, replies: set[str]) -> None:
    command = Path(sys.executable).with_name("xdplb")
    program = (
        f'source <(_XDPLB_COMPLETE=bash_source "{command}")\n'
        f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
        f'_xdplb_completion "{command}"\n'
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    # COMP_WORDBREAKS has its value in a bash that somebody types into.
    told = subprocess.run(
        ["bash", "--norc", "-c", f"COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:'\n{program}"],
        env=os.environ | {"XDPLB_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
    assert set(told.stdout.splitlines()) == replies
