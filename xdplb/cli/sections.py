# SPDX-License-Identifier: Apache-2.0
"""A command with so many options that its help has them under headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

__all__ = ["SectionedCommand"]


class SectionedCommand(click.Command):
    """Shows its options under `sections`: headings, each with how the names of its options begin."""

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.sections = sections

    def section_of(self, option: click.Option) -> str:
        """Return the heading that an option is under: of the longest beginning that it has, "" if it has none."""
        name = option.opts[0]
        found = [
            (len(each), title) for title, begins in self.sections.items() for each in begins if name.startswith(each)
        ]
        return max(found, default=(0, ""))[1]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options below their headings; those without one come last."""
        shown: dict[str, list[tuple[str, str]]] = {title: [] for title in [*self.sections, ""]}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                shown[self.section_of(parameter)].append(record)
        for title, records in shown.items():
            if records:
                with formatter.section(title or "Other options"):
                    formatter.write_dl(records)
