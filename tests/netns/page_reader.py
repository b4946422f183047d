# SPDX-License-Identifier: Apache-2.0
"""Somebody who does what a page of the documentation says, on the hosts of a lab, in the page's order."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import select
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.page import Command
from tests.waiting import until

from .balancer import READY_SECONDS
from .own_folders import REPOSITORY, OwnFolders
from .page_lab import PageLab
from .page_part import Part
from .terminal import Terminal

__all__ = ["Reader", "read"]

_SECONDS = 60
_ENDLESS = {"xdplb dashboard*": "", "xdplb top*": "", "*--watch*": ""}
_BEGUN = {"*xdplb capture *": b"capturing;", "tcpdump *": b"listening on"}
"""What must be shown before Ctrl-C, if anything else is shown before it."""

_SHOWN_URL = re.compile(r"http://\S+")
_OPEN = "curl -sS --max-time 10 -o /dev/null -w '%{http_code}' "
_PYTHON = """
import json, sys
told = {}
for line in sys.stdin:
    try:
        exec(compile(json.loads(line), "page", "exec"), told)
        print("\\0done", flush=True)
    except BaseException as error:
        print(f"{error!r}\\n\\0failed\\n\\0done", flush=True)
"""


class Reader:
    """Follows one part in a lab."""

    def __init__(self, lab: OwnFolders, part: Part) -> None:
        self._lab, self._part = lab, part
        self._terminals: dict[str, Terminal] = {}
        self._before = list(part.before)
        self._daemons: dict[str, subprocess.Popen[Any]] = {}
        self._python: subprocess.Popen[str] | None = None
        self._told: list[tuple[str, str, str]] = []

    def follow(self, *headings: str) -> None:
        """Do all of the part, or what is under these headings of it."""
        assert not self._part.stale(), f"{self._part.page} has nothing of this any more: {self._part.stale()}"
        while self._before:
            self.sh(*self._before.pop(0))
        for command in self._part.commands():
            if (not headings or command.heading in headings) and self._part.of(self._part.untried, command) is None:
                self._do(command)

    def said(self, pattern: str, host: str | None = None) -> list[str]:
        """Return what commands printed, on each host or on this one, in their order."""
        found = [told for line, at, told in self._told if fnmatch.fnmatchcase(line, pattern) and host in (None, at)]
        assert found, f"{self._part.page}: nobody typed {pattern}"
        return found

    def close(self) -> None:
        """End what was started and goes on."""
        for process in [*self._daemons.values(), *filter(None, [self._python])]:
            process.terminate()
            process.wait()
        for terminal in self._terminals.values():
            terminal.close()

    def sh(self, host: str, lines: str, *, code: int = 0) -> str:
        """Type lines on a host, where the lines before have left it; return what they print."""
        ended, told = self._terminal(host).type(lines)
        assert ended == code, f"{self._part.page}, {host}: {lines}\n{told}\nends with {ended}"
        return told

    def _do(self, command: Command) -> None:
        text = self._with_values(command.text)
        hosts = self._hosts(command)
        for host in hosts:
            self._terminal(host)  # what a thread starts would end with it
        if len(hosts) == 1:
            said = [self._type(hosts[0], command, text)]
        else:
            with ThreadPoolExecutor(len(hosts)) as people:
                said = list(people.map(lambda host: self._type(host, command, text), hosts))
        self._told += [(command.line, host, each) for host, each in zip(hosts, said, strict=True)]
        if command.shown is not None:
            for each in said:
                assert _blurred(command.shown).fullmatch(_plain(each)), (
                    f"{self._part.page} shows of {text}\n{command.shown}\nand it prints\n{each}"
                )
        then = self._part.of(self._part.then, command)
        if isinstance(then, str):
            self.sh(hosts[0], then)
        elif then is not None:
            then(self._lab)

    def _type(self, host: str, command: Command, text: str) -> str:
        if command.is_python:
            return self._run_python(host, text, self._part.of(self._part.endless, command))
        if re.match(r"(sudo )?xdplb up ", text):
            return self._up(host, text)
        endless = self._part.of({**_ENDLESS, **self._part.endless}, command)
        if endless is not None:
            return self._until_it_shows(host, command, text, endless)
        return self.sh(host, text, code=self._part.of(self._part.exits, command) or 0)

    def _up(self, host: str, text: str) -> str:
        """Start a daemon in the place of the one that runs, and wait until it is ready."""
        if earlier := self._daemons.get(host):
            earlier.terminate()
            earlier.wait()
        self.sh(host, "systemctl stop xdplb")
        log = self._lab.folder / f"{host}.log"
        with log.open("w") as file:
            daemon = self._lab.popen(host, self._terminal(host).beside(text), stdout=file, stderr=file)
        self._daemons[host] = daemon
        end = time.monotonic() + READY_SECONDS
        while self._lab.run(host, ["xdplb", "status", "--wait", "--timeout", "5s"], check=False).returncode:
            assert daemon.poll() is None, f"{self._part.page}: {text}\n{log.read_text()}"
            assert time.monotonic() < end, f"{self._part.page}: {text} is not ready\n{log.read_text()}"
        return log.read_text()

    def _until_it_shows(self, host: str, command: Command, text: str, meanwhile: str) -> str:
        """Run what goes on for ever on a terminal, until it has shown something, and end it as somebody does there."""
        terminal, side = os.openpty()
        argv = ["env", "TERM=xterm", "COLUMNS=100", "LINES=30", "setsid", "--ctty", *self._terminal(host).beside(text)]
        running = self._lab.popen(host, argv, stdin=side, stdout=side, stderr=side)
        os.close(side)
        is_top = text.startswith("xdplb top")
        begun = self._part.of(_BEGUN, command) or b""
        shown = b""

        def has_shown() -> bool:
            nonlocal shown
            if meanwhile:
                self.sh("balancer", meanwhile)
            assert running.poll() is None, f"{self._part.page}: {text}\n{shown.decode()}"
            shown += _read(terminal)
            return bool(shown.strip()) and begun in shown

        def has_ended() -> bool:
            nonlocal shown
            if is_top:  # what is typed before it reads keys is lost
                os.write(terminal, b"q")
            shown += _read(terminal)
            return running.poll() is not None

        try:
            until(has_shown, _SECONDS)
            if text.startswith("xdplb dashboard"):
                (url,) = _SHOWN_URL.findall(shown.decode())
                assert self.sh(host, f"{_OPEN} '{url}'") == "200"
            if not is_top:
                os.write(terminal, b"\x03")
            until(has_ended, _SECONDS)
            said = f"{self._part.page}: {text}\n{shown.decode()}\nends with {running.returncode}"
            assert running.returncode == (self._part.of(self._part.exits, command) or 0), said
        finally:
            running.kill()
            running.wait()
            os.close(terminal)
        return shown.decode()

    def _run_python(self, host: str, text: str, meanwhile: str | None) -> str:
        """Run a block in the process that has run those before it; what goes on for ever, until it shows something."""
        if self._python is None:
            argv = self._terminal(host).beside(f"{sys.executable} -uc {shlex.quote(_PYTHON)}")
            self._python = self._lab.popen(
                host, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        to, told = self._python.stdin, self._python.stdout
        assert to is not None
        assert told is not None
        to.write(json.dumps(text) + "\n")
        to.flush()

        def has_shown() -> bool:
            self.sh("balancer", meanwhile or "")
            return bool(select.select([told], [], [], 0.1)[0])

        if meanwhile is not None:
            until(has_shown, _SECONDS)
            return str(told.readline())
        lines = list(iter(told.readline, "\0done\n"))
        assert "\0failed\n" not in lines, f"{self._part.page}:\n{text}\n{''.join(lines)}"
        return "".join(lines)

    def _terminal(self, host: str) -> Terminal:
        """Return the host's terminal, which begins in what looks like a clone of the repository."""
        if host not in self._terminals:
            name = re.sub("[^a-z]+", "-", self._part.name.lower())
            self._terminals[host] = terminal = Terminal(self._lab, host, self._lab.home_of(host) / f"{name}-{host}")
            terminal.type(f"ln -s {REPOSITORY}/* .")
        return self._terminals[host]

    def _hosts(self, command: Command) -> tuple[str, ...]:
        for said in (command.line, command.comment, command.where):
            found = list({hosts for words, hosts in self._part.places.items() if words in said})
            assert len(found) <= 1, f"{self._part.page}: several places in “{said}”"
            if found:
                return found[0]
        assert self._part.host, f"{self._part.page}: where is {command.line} typed?"
        return (self._part.host,)

    def _with_values(self, text: str) -> str:
        for name, value in self._part.values.items():
            text = text.replace(name, value)
        return text


def read(lab: PageLab, part: Part) -> None:
    """Do all of a part, in a lab that is made ready for it."""
    lab.begin(part.options, has_web_servers=part.has_web_servers)
    reader = Reader(lab, part)
    try:
        reader.follow()
    finally:
        reader.close()


def _plain(text: str) -> str:
    """Return a text without what differs from one run to the next: numbers, and how wide columns are."""
    lines = (re.sub(r"\d[\d ]*\d|\d", "0", " ".join(line.split())) for line in text.strip().splitlines())
    return "".join(f"{line}\n" for line in lines)


def _blurred(shown: str) -> re.Pattern[str]:
    """Return what a text must match to be what a page shows: `…` is any words, or alone in a line any lines."""
    lines = _plain(shown).splitlines()
    exact = (".*".join(map(re.escape, line.split("…"))) + "\n" for line in lines)
    return re.compile("".join("(?:.*\n)*" if line == ".*\n" else line for line in exact))


def _read(terminal: int) -> bytes:
    """Return what a terminal has shown within a moment."""
    ready, _, _ = select.select([terminal], [], [], 0.1)
    try:
        return os.read(terminal, 65536) if ready else b""
    except OSError:  # the other side is closed
        return b""
