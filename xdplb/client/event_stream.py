# SPDX-License-Identifier: Apache-2.0
"""Server-Sent Events, as they come over the wire (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["StreamMessage", "messages"]


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A message: its type (empty for an ordinary one), its data, and the id of the stream after it, if it has one."""

    type: str
    data: str
    id: str | None


def messages(chunks: Iterable[bytes]) -> Iterator[StreamMessage]:
    """Yield the messages in a body; one without data only has the id. Comments, and what is not whole, are left out."""
    fields: dict[str, list[str]] = {}
    for line in _lines(chunks):
        name, _, value = line.partition(":")
        if line and name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
        elif not line and fields:
            last = {name: values[-1] for name, values in fields.items()}
            yield StreamMessage(last.get("event", ""), "\n".join(fields.get("data", ())), last.get("id"))
            fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    begun = b""
    for chunk in chunks:
        *lines, begun = (begun + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").removesuffix("\r")
