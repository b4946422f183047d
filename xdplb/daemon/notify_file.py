# SPDX-License-Identifier: Apache-2.0
"""The file that says which commands and webhooks get which events: `xdplb up --notify FILE`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from xdplb.config.document import Document, read_document
from xdplb.config.faults import ConfigError, Fault
from xdplb.control.events import KINDS, Level
from xdplb.control.history.kept_event import KeptEvent
from xdplb.model.errors import InvalidError
from xdplb.model.vip import VipKey
from xdplb_api.field_errors import json_pointer, sentence_of

__all__ = ["OWN_KINDS", "Target", "read_notify_file"]

OWN_KINDS = frozenset(kind for kind in KINDS if kind.startswith("notify_"))
"""Kinds that are about notifications: nobody is notified of them, or each would make the next one."""

_MOST_TARGETS = 32


def _refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{sentence}", {"sentence": sentence})


def _kind(text: str) -> str:
    if text not in KINDS or text in OWN_KINDS:
        raise _refused(f"there is no kind of event {text!r} to be notified of; docs/events.md lists them")
    return text


def _vip(text: str) -> str:
    try:
        return str(VipKey.parse(text))
    except InvalidError as error:
        raise _refused(error.detail) from None


def _words(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words[0].startswith("/"):
        raise _refused(f"command should begin with a path such as /etc/xdplb/notify.sh, not {words[0]!r}")
    if any("\0" in word for word in words):
        raise _refused("command has a null character")
    return words


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_right = False
    if not is_right or parts.username is not None or any(not "!" <= each <= "~" for each in text):
        raise _refused("url should be one such as https://alerts.example.net/xdplb, without user and password")
    return text


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        is_name = name.replace("-", "").isalnum() and name.isascii()
        if not is_name or not value.isascii() or not value.isprintable():
            raise _refused(f"the header {name!r} cannot be sent: use printable ASCII")
        if name.lower() in {"host", "content-length", "content-type", "transfer-encoding", "connection"}:
            raise _refused(f"the header {name} is set by xdplb")
    return headers


class Target(BaseModel):
    """A command or a webhook, and the events that it gets.

    `kinds` and `vips` are any of these, all if there are none; `level` is this serious or more so. A command runs as
    `user`, for `timeout_seconds` at most; a webhook must answer in that time, and gets `headers`, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=100), AfterValidator(_words)] | None = None
    url: Annotated[str, Field(max_length=2000, strict=True), AfterValidator(_url)] | None = None
    kinds: tuple[Annotated[str, AfterValidator(_kind)], ...] = ()
    level: Literal["critical", "error", "warning", "notice", "info", "debug"] = "info"
    vips: tuple[Annotated[str, AfterValidator(_vip)], ...] = ()
    user: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    headers: Annotated[dict[str, str], AfterValidator(_headers)] | None = None
    timeout_seconds: Annotated[float, Field(ge=0.1, le=300, strict=True, allow_inf_nan=False)] = 10.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise _refused("give either command or url")
        if self.url is not None and self.user is not None:
            raise _refused("user is for a command, and this is a url")
        if self.command is not None and self.headers is not None:
            raise _refused("headers are for a url, and this is a command")
        return self

    @property
    def name(self) -> str:
        """What it is called in events and metrics: the path of the command, or the URL without its query."""
        return self.command[0] if self.command is not None else str(self.url).partition("?")[0]

    def wants(self, event: KeptEvent) -> bool:
        """Return whether it gets this event."""
        if self.kinds and event.kind not in self.kinds:
            return False
        if event.level > Level[self.level.upper()]:
            return False
        return not self.vips or event.vip in self.vips or any(vip in self.vips for vip, _ in event.about)


class _File(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    notify: Annotated[tuple[Target, ...], Field(max_length=_MOST_TARGETS)]


def read_notify_file(path: Path) -> tuple[Target, ...]:
    """Return the targets in a file. ConfigError if something is wrong with it, with line and column.

    Others may not be able to write to it, since whoever writes it can have commands run as any user.
    """
    name = str(path)
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError([Fault(name, None, f"it cannot be read: {error.strerror}", "give its path")]) from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError([Fault(name, None, "it is no regular file", "give the path of a file that stays")])
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        detail = "other users may write to it, and could have commands run as any user"
        raise ConfigError([Fault(name, None, detail, f"chown root {name}; chmod go-w {name}")])
    document = read_document(name)
    try:
        return _File.model_validate(document.data).notify
    except ValidationError as error:
        raise ConfigError([_fault(document, each) for each in error.errors(include_url=False)]) from None


def _fault(document: Document, error: object) -> Fault:
    assert isinstance(error, dict)
    place = error["loc"]
    kind = "list_type" if error["type"] == "tuple_type" else error["type"]
    within = "[[notify]]" if place[:1] == ("notify",) else "a notify file"
    detail = sentence_of({**error, "type": kind, "loc": ("file", *place)}, within)
    hint = "begin each item with [[notify]]" if place in {("notify",), ()} else "docs/notify.md has all fields"
    return document.fault(json_pointer(place), detail, hint, at_key=kind == "extra_forbidden")
