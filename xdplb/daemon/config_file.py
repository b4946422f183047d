# SPDX-License-Identifier: Apache-2.0
"""A config file against its schema and the rules of the control plane: all that is wrong with it, with its place.

It needs no daemon: the daemon asks here when it reads its file, and `xdplb config check` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from xdplb.config.document import Document, Format
from xdplb.config.faults import ConfigError, Fault
from xdplb.model.config import Config
from xdplb.model.errors import XdplbError
from xdplb_api.field_errors import json_pointer, sentence_of
from xdplb_api.hints import hint_for, schema_of
from xdplb_api.schemas.config import ConfigFile, ConfigFileVip, examined

__all__ = ["check_document", "config_schema"]


_SEE_ALL = "see /openapi.json"
"""The hint for a request where nothing better is known; of the fields in a file, these are texts."""


def check_document(document: Document) -> Config:
    """Return the configuration in a file that has been read. Raises ConfigError with all that is wrong with it.

    VIPs that break the schema are not held against the rules: what a misspelt field meant is not known.
    """
    try:
        config = ConfigFile.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(_all_faults(document, error)) from None
    vips, errors = examined(enumerate(config.vips))
    if errors:
        raise ConfigError([_rule_fault(document, each) for each in errors])
    return Config(vips, config.settings.wanted())


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of config files, from which editors complete."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "xdplb config file",
        **{name: value for name, value in ConfigFile.model_json_schema().items() if name != "title"},
    }


def _all_faults(document: Document, error: ValidationError) -> list[Fault]:
    """Return all that is wrong with a file that breaks the schema, also in VIPs that were not looked at any more."""
    refusals = error.errors(include_url=False)
    faults = [_schema_fault(document, each, each["loc"]) for each in refusals if not _is_in_a_vip(each["loc"])]
    vips = document.data.get("vips")
    right: list[tuple[int, ConfigFileVip]] = []
    for number, vip in enumerate(vips if isinstance(vips, list) else ()):
        try:
            right.append((number, ConfigFileVip.model_validate(vip)))
        except ValidationError as wrong:
            told = wrong.errors(include_url=False)
            faults += [_schema_fault(document, each, ("vips", number, *each["loc"])) for each in told]
    return faults + [_rule_fault(document, each) for each in examined(right)[1]]


def _is_in_a_vip(place: tuple[str | int, ...]) -> bool:
    return place[:1] == ("vips",) and len(place) > 1


def _schema_fault(document: Document, error: Mapping[str, Any], place: tuple[str | int, ...]) -> Fault:
    """Return a fault for an error of pydantic about what is at `place`."""
    within = ".".join(_names(place[:-1])) or "a config file"
    detail = sentence_of({**error, "loc": ("file", *place)}, within)
    is_unknown = error["type"] == "extra_forbidden"
    return document.fault(json_pointer(place), detail, _hint(document.format, error, place), at_key=is_unknown)


def _hint(written: Format, error: Mapping[str, Any], place: tuple[str | int, ...]) -> str:
    is_toml = written is Format.TOML
    match error["type"]:
        case "list_type" if isinstance(error.get("input"), dict):
            return f"begin each item with [[{'.'.join(_names(place))}]]" if is_toml else "begin each item with a dash"
        case "bool_type":
            return "write true or false, without quotes"
        case "missing" if place == ("vips",):
            return f"if there are to be no VIPs, write {'vips = []' if is_toml else 'vips: []'}"
        case _:
            hint = hint_for({**error, "loc": ("body", *place)}, schema_of(ConfigFile))
            return hint.replace("send a JSON object with", "give a table with").replace(
                _SEE_ALL, "write a text, in quotes"
            )


def _names(place: tuple[str | int, ...]) -> list[str]:
    """Return the names in a place, without the numbers of items."""
    return [step for step in place if isinstance(step, str)]


def _rule_fault(document: Document, error: XdplbError) -> Fault:
    """Return a fault for an error of the rules, whose second problem is what it is in conflict with."""
    pointer, *others = (problem.pointer for problem in error.problems)
    return document.fault(pointer, error.detail, error.hint, other=others[0] if others else "")
