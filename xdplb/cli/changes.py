# SPDX-License-Identifier: Apache-2.0
"""What all commands that change something share: options, the request, and the message about the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from xdplb.client import Answer, Client, How
from xdplb.model.errors import NotFoundError

from .impact import print_impact
from .output import line, note, print_json
from .params import Connection, dry_run_option, if_generation_option, output_option

__all__ = ["Change", "changing", "tell_dry_run", "warn"]

Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Change:
    """One change requested on the command line: which daemon to ask, dry run or not, and how to print."""

    client: Client
    dry_run: bool
    as_json: bool
    if_generation: int | None = None

    @property
    def how(self) -> How:
        """How the client is to make it."""
        return {"dry_run": self.dry_run, "if_generation": self.if_generation}

    def made(self, answer: Answer[Body]) -> Answer[Body]:
        """Print the warnings of the answer to it, and return the answer."""
        warn(answer.warnings)
        return answer

    def create(self, answer: Answer[Any], what: str) -> None:
        """Say that `what` was added, or that the same exists already."""
        self.tell(self.made(answer), f"{what} added" if answer.created else f"{what} already exists")

    def update(
        self,
        ask: Callable[[], Answer[Any]],
        what: str,
        *,
        of: Callable[[], Answer[Any]],
        done: tuple[str, str] = ("changed", "is unchanged"),
    ) -> None:
        """Ask for it. Say `done[0]` if that changed the generation of what `of` returns, else `done[1]`."""
        before = None if self.dry_run else of().generation
        answer = self.made(ask())
        changed = self.dry_run or (answer.generation or of().generation) != before
        self.tell(answer, f"{what} {done[0] if changed else done[1]}")

    def remove(self, ask: Callable[[], Answer[None]], what: str) -> None:
        """Ask for it: to remove something. It is no error if it does not exist."""
        try:
            answer = self.made(ask())
        except NotFoundError as error:
            note(f"nothing to remove: {error.detail}")
            return
        self.tell(answer, f"{what} removed")

    def tell(self, answer: Answer[Any], message: str) -> None:
        """Print the answer: its body as JSON, or `message`, or what a dry run would change."""
        if self.as_json:
            if answer.body:
                print_json(answer.body)
        elif self.dry_run:
            outcome = answer.dry_run()
            tell_dry_run(outcome["changes"] if outcome["would_change"] else [])
            if (impact := outcome.get("impact")) is not None:  # what is no part of the state has no effect on traffic
                print_impact(impact)
        else:
            note(message)


def warn(sentences: Sequence[str]) -> None:
    """Print warnings to stderr, one line each."""
    for sentence in sentences:
        note(f"warning: {sentence}")


def tell_dry_run(sentences: Sequence[str], *, warnings: Sequence[str] = (), as_json: bool = False) -> None:
    """Print what would change, one line each, or as JSON like the API's answer to a dry run; warnings to stderr."""
    warn(warnings)
    if as_json:
        told = [{"detail": sentence} for sentence in warnings]
        print_json({"would_change": bool(sentences), "changes": list(sentences), "warnings": told})
        return
    for sentence in sentences:
        line(f"would change: {sentence}")
    if not sentences:
        click.echo("nothing would change")


def changing(*, conditional: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --dry-run, -o and, if `conditional`, --if-generation to a command, which gets them as a Change."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def invoke(
            connection: Connection, /, *, dry_run: bool, as_json: bool, if_generation: int | None = None, **given: Any
        ) -> None:
            function(Change(connection.client(), dry_run, as_json, if_generation), **given)

        command = dry_run_option(output_option(click.pass_obj(invoke)))
        return if_generation_option(command) if conditional else command

    return decorate
