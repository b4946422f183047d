# SPDX-License-Identifier: Apache-2.0
"""The answer to a dry run, and to a change that asks for its effect."""

from __future__ import annotations

from pydantic import Field

from xdplb.control.plan.sentences import sentences, settings_sentences
from xdplb.control.writing.request import Outcome

from .base import ResponseBody, Warnings, warnings_of
from .impact import ImpactOut

__all__ = ["DryRunOut", "changes_of"]


class DryRunOut(ResponseBody):
    """What a change would do, with `dry_run=true`, which changes nothing; or what it did, with `impact=true`."""

    would_change: bool = Field(description="False: everything is already as requested.")
    changed: bool = Field(description="Whether anything was changed; never in a dry run.")
    changes: list[str] = Field(
        description="A sentence for each thing that would change, or has changed.",
        examples=[["VIP 203.0.113.10:443/tcp is added"]],
    )
    warnings: Warnings
    impact: ImpactOut = Field(description="What it does to traffic, as data.")

    @classmethod
    def of(cls, outcome: Outcome, *, made: bool = False) -> DryRunOut:
        """Return the body for the outcome of a dry run, or of a change that was `made`."""
        return cls(
            would_change=outcome.is_change,
            changed=made and outcome.is_change,
            changes=changes_of(outcome),
            warnings=warnings_of(outcome),
            impact=ImpactOut.of(outcome.impact),
        )


def changes_of(outcome: Outcome) -> list[str]:
    """Return a sentence for each thing that a change does."""
    before, after = outcome.before.desired.settings, outcome.after.desired.settings
    return [*settings_sentences(before, after), *sentences(outcome.impact)]
