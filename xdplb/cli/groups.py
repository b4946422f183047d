# SPDX-License-Identifier: Apache-2.0
"""Groups of commands that suggest the right word for a misspelt one."""

from __future__ import annotations

from difflib import get_close_matches

import click

from .watching import with_times

__all__ = ["Command", "Group", "UnknownCommandError"]


class UnknownCommandError(click.UsageError):
    """A word that is not a command of its group; `hint` suggests one."""

    def __init__(self, word: str, ctx: click.Context, known: list[str]) -> None:
        super().__init__(f"{ctx.command_path} has no command {word!r}", ctx)
        matches = get_close_matches(word, known, n=1, cutoff=0.5)
        meant = f"did you mean {ctx.command_path} {matches[0]}?" if matches else ""
        self.hint = meant or f"one of: {', '.join(known)}"


class Command(click.Command):
    """A command whose --watch may be given without a time."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments apart, as click does."""
        if any(parameter.name == "watch" for parameter in self.params):
            args = with_times(args)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group whose error for an unknown command suggests one."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with, and its arguments."""
        word = args[0]
        if not word.startswith("-") and self.get_command(ctx, word) is None and not ctx.resilient_parsing:
            raise UnknownCommandError(word, ctx, self.list_commands(ctx))
        return super().resolve_command(ctx, args)
