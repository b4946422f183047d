# SPDX-License-Identifier: Apache-2.0
"""The access list of a VIP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, WithJsonSchema

from xdplb.control.answers.views import AccessView

from .base import RequestBody, ResponseBody
from .forms import PREFIXES
from .long_list import in_parts

__all__ = ["MOST_PREFIXES", "AccessIn", "AccessOut", "AccessPatch"]

MOST_PREFIXES = 500_000
"""Of each kind. How many fit also depends on the lists of other VIPs."""

ALLOW = "Prefixes of allowed sources. If there are any, sources in none of the prefixes are denied."
DENY = "Prefixes of denied sources. A prefix in both lists is denied."

_Prefixes = Annotated[
    list[Annotated[str, WithJsonSchema(PREFIXES)]], Field(max_length=MOST_PREFIXES), in_parts(MOST_PREFIXES)
]


class AccessIn(RequestBody):
    """An access list. The longest prefix that contains the source decides."""

    allow: _Prefixes = Field(default=[], description=ALLOW, examples=[["198.51.100.0/24"]])
    deny: _Prefixes = Field(default=[], description=DENY, examples=[["192.0.2.7"]])


class AccessPatch(RequestBody):
    """A JSON merge patch (RFC 7396): an omitted list stays, null empties it."""

    allow: _Prefixes | None = Field(default=None, description=ALLOW)
    deny: _Prefixes | None = Field(default=None, description=DENY)

    def changes(self) -> dict[str, list[str] | None]:
        """Return what was sent, nulls included."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class AccessOut(ResponseBody):
    """An access list. If both are empty, packets from any source are accepted."""

    allow: list[str] = Field(description=ALLOW, examples=[["198.51.100.0/24"]])
    deny: list[str] = Field(description=DENY, examples=[["192.0.2.7/32"]])

    @classmethod
    def of(cls, view: AccessView) -> AccessOut:
        """Return the body for the manager's view."""
        return cls(allow=view.access.allow.texts(), deny=view.access.deny.texts())
