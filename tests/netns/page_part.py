# SPDX-License-Identifier: Apache-2.0
"""What a lab must have for a page of the documentation, or for some headings of one."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.page import Command, commands_of

__all__ = ["Part"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Part:
    """A page, or some headings of one, and what a lab must have for it. A command is named by a pattern of its line."""

    page: str
    headings: tuple[str, ...] = ()
    spans: bool = False
    """Whether commands within sentences are for the reader to type as well."""

    host: str | None = "balancer"
    """Where a command is typed, if nothing says otherwise; None: something must."""

    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """On which hosts a command is typed, by words beside it or in the sentence before it, or in itself."""

    options: str | None = ""
    """With which options the service runs when the page begins; None: it does not, and there is no state."""

    has_web_servers: bool = True
    """Whether the backends have web servers when the page begins."""

    before: tuple[tuple[str, str], ...] = ()
    """What the reader has done before, as host and lines."""

    values: Mapping[str, str] = field(default_factory=dict)
    """What stands for the reader's own names and addresses, or for a time of minutes."""

    untried: Mapping[str, str] = field(default_factory=dict)
    """The commands that cannot run in a lab, and why each of them cannot."""

    exits: Mapping[str, int] = field(default_factory=dict)
    """The exit codes of commands that end with another one than 0, as the page says."""

    endless: Mapping[str, str] = field(default_factory=dict)
    """What goes on until Ctrl-C, and what is done meanwhile on the balancer so that it shows something."""

    then: Mapping[str, Callable[[Any], object] | str] = field(default_factory=dict)
    """What must be so after a command, or is waited for: lines of shell for that host, or what is given the lab."""

    @property
    def name(self) -> str:
        """The page, and the first of its headings."""
        return "-".join([self.page, *self.headings[:1]])

    def commands(self) -> list[Command]:
        return commands_of(self.page, *self.headings, spans=self.spans)

    def of(self, sayings: Mapping[str, _T], command: Command) -> _T | None:
        """Return what one of these says of a command, None if nothing is said."""
        return next((said for pattern, said in sayings.items() if fnmatch.fnmatchcase(command.line, pattern)), None)

    def stale(self) -> list[str]:
        """Return what is said here of the page and is not on it any more."""
        commands = self.commands()
        lines = [command.line for command in commands]
        patterns = [*self.untried, *self.exits, *self.endless, *self.then]
        said = "\n".join(command.line + command.comment + command.where for command in commands)
        typed = "\n".join(command.text for command in commands)
        return [
            *(pattern for pattern in patterns if not fnmatch.filter(lines, pattern)),
            *(words for words in self.places if words not in said),
            *(value for value in self.values if value not in typed),
        ]
