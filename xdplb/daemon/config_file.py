"""A config file against its schema and the rules of the control plane: all that is wrong with it, with its place.

It needs no daemon: the daemon asks here when it reads its file, and `xdplb config check` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from xdplb.config.document import Document, Format, read_document
from xdplb.config.faults import ConfigError, Fault
from xdplb.model.config import Config
from xdplb.model.errors import XdplbError
from xdplb.model.host import NO_HOST, Host
from xdplb_api.field_errors import json_pointer, sentence_of
from xdplb_api.hints import hint_for, schema_of
from xdplb_api.schemas.config import ConfigFile, ConfigFileVip, examined

__all__ = ["check_document", "config_schema", "read_config"]


_INSTEAD = {"send a JSON object with": "give a table with", "see /openapi.json": "see xdplb config schema"}
"""Words of hints for requests, and those for files."""


def read_config(file: str, host: Host = NO_HOST) -> Config:
    """Return the configuration in a file. Raises ConfigError with all that is wrong with it."""
    return check_document(read_document(file), host)


def check_document(document: Document, host: Host = NO_HOST) -> Config:
    """Return the configuration in a file that has been read. Raises ConfigError with all that is wrong with it.

    VIPs that break the schema are not held against the rules: what a misspelt field meant is not known.
    """
    try:
        config = ConfigFile.model_validate(document.data)
    except ValidationError as error:
        refusals = error.errors(include_url=False)
        faults = [_schema_fault(document, each) for each in refusals]
        wrong = {each["loc"][1] for each in refusals if each["loc"][:1] == ("vips",) and len(each["loc"]) > 1}
        faults += [_rule_fault(document, each) for each in examined(_others(document.data, wrong), host)[1]]
        raise ConfigError(faults) from None
    vips, errors = examined(enumerate(config.vips), host)
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


def _others(data: Mapping[str, Any], wrong: set[int | str]) -> Iterator[tuple[int, ConfigFileVip]]:
    """Yield the VIPs that do not break the schema, with their places."""
    vips = data.get("vips")
    for number, vip in enumerate(vips if isinstance(vips, list) else ()):
        if number in wrong:
            continue
        try:
            yield number, ConfigFileVip.model_validate(vip)
        except ValidationError:  # of a long list, only a part has been looked at
            continue


def _schema_fault(document: Document, error: Mapping[str, Any]) -> Fault:
    """Return a fault for an error of pydantic."""
    kind, place = error["type"], error["loc"]
    within = ".".join(str(step) for step in place[:-1] if isinstance(step, str)) or "a config file"
    told = {**error, "loc": ("file", *place)}
    pointer = json_pointer(place)
    hint = hint_for({**error, "loc": ("body", *place)}, schema_of(ConfigFile))
    for words, instead in _INSTEAD.items():
        hint = hint.replace(words, instead)
    if kind == "list_type" and isinstance(error.get("input"), dict):
        name = ".".join(str(step) for step in place if isinstance(step, str))
        hint = f"begin each item with [[{name}]]" if document.format is Format.TOML else "begin each item with a dash"
    elif kind == "bool_type":
        hint = "write true or false, without quotes"
    elif kind == "missing" and place == ("vips",):
        hint = "if there are to be no VIPs, write vips = []" if document.format is Format.TOML else "write vips: []"
    return document.fault(pointer, sentence_of(told, within), hint, at_key=kind == "extra_forbidden")


def _rule_fault(document: Document, error: XdplbError) -> Fault:
    """Return a fault for an error of the rules, whose second problem is what it is in conflict with."""
    pointer, *others = (problem.pointer for problem in error.problems)
    return document.fault(pointer, error.detail, error.hint, other=others[0] if others else "")
