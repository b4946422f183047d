# SPDX-License-Identifier: Apache-2.0
"""What all bodies share: strict parsing, and the types that several of them use."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from xdplb.control.plan.impact import Warned
from xdplb.control.plan.sentences import warning_sentence
from xdplb.control.writing.request import Outcome
from xdplb.model.address import IPAddress
from xdplb.model.backend import parse_backend_address
from xdplb.model.errors import InvalidError
from xdplb.model.vip import Forward, Protocol, VipKey

from .forms import ADDRESS, ADDRESSES

__all__ = [
    "ForwardWord",
    "Generation",
    "HostAddress",
    "HostAddresses",
    "ObservedGeneration",
    "ReadOnly",
    "RequestBody",
    "ResponseBody",
    "WarningOut",
    "Warnings",
    "refused",
    "warning_headers",
    "warnings_of",
]


class RequestBody(BaseModel):
    """A JSON object a client sends: strict types, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


ReadOnly = Annotated[
    Any,
    Field(
        exclude=True,
        description="Read-only: answers have it, and what is sent is ignored.",
        json_schema_extra={"readOnly": True},
    ),
]
"""A field of answers that requests may have too, so that what a GET returned can be sent back; its default is None."""


class ResponseBody(BaseModel):
    """A JSON object the API sends."""

    model_config = ConfigDict(frozen=True)


def refused(error: InvalidError) -> PydanticCustomError:
    """Return the model's error as one of pydantic's, which names the field."""
    return PydanticCustomError("invalid", "{reason}", {"reason": error.detail, "hint": error.hint})


def _host_address(value: object) -> IPAddress:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a string")
    try:
        return parse_backend_address(value)
    except InvalidError as error:
        raise refused(error) from error


HostAddress = Annotated[IPAddress, BeforeValidator(_host_address), WithJsonSchema(ADDRESS, mode="validation")]
"""The address of a backend that a client sends."""


def _host_addresses(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "must be a string")
    try:
        return VipKey.of(value, 0, Protocol.TCP).addresses_text
    except InvalidError as error:
        raise refused(error) from error


HostAddresses = Annotated[str, BeforeValidator(_host_addresses), WithJsonSchema(ADDRESSES, mode="validation")]
"""A unicast address or prefix that a client sends, in this API's spelling."""

ForwardWord = Annotated[Forward, Field(strict=False)]
"""How packets reach a backend, in its JSON spelling."""

Generation = Annotated[int, Field(description="The number of the last change to it; also its ETag.", examples=[7])]
ObservedGeneration = Annotated[
    int,
    Field(
        description="The generation that the data plane has. If it equals `generation`, the configuration is in effect."
    ),
]


class WarningOut(ResponseBody):
    """What whoever asks for a change may have overlooked. It refuses nothing."""

    code: str = Field(description="The kind of warning, for programs.", examples=["no_backend"])
    vip: str = Field(description="The VIP that it is about.", examples=["203.0.113.10:443/tcp"])
    backends: list[str] = Field(description="The backends that it is about; empty if it is about the VIP itself.")
    detail: str = Field(description="The warning, as a sentence.")

    @classmethod
    def of(cls, warned: Warned) -> WarningOut:
        """Return the body for a warning of the manager."""
        return cls(
            code=warned.concern,
            vip=str(warned.vip),
            backends=[str(backend) for backend in warned.backends],
            detail=warning_sentence(warned),
        )


Warnings = Annotated[
    list[WarningOut], Field(description="What may have been overlooked; also in the header `Xdplb-Warnings`.")
]

WARNINGS_HEADER = "Xdplb-Warnings"
_MOST_IN_HEADER = 8


def warnings_of(outcome: Outcome) -> list[WarningOut]:
    """Return the warnings about a change."""
    return [WarningOut.of(warned) for warned in outcome.impact.warnings]


def warning_headers(outcome: Outcome) -> dict[str, str]:
    """Return the header with the warnings about a change, none without a warning: an empty 204 has them too.

    Its value is JSON. It names at most a few warnings and backends, since header lines are limited in length.
    """
    shown = [
        {**warning.model_dump(mode="json"), "backends": warning.backends[:_MOST_IN_HEADER]}
        for warning in warnings_of(outcome)[:_MOST_IN_HEADER]
    ]
    return {WARNINGS_HEADER: json.dumps(shown)} if shown else {}
