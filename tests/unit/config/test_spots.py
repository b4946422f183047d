# SPDX-License-Identifier: Apache-2.0
"""Where keys and values of TOML and YAML are: at each spot, the text is what the library has read there."""

import json
from contextlib import suppress
from typing import Any

import pytest
import tomli
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.config.dump import toml_text, yaml_text
from xdplb.config.faults import ConfigError, Spot
from xdplb.config.spots import Spots, below
from xdplb.config.toml_spots import toml_spots
from xdplb.config.toml_text import toml_data
from xdplb.config.yaml_text import yaml_data, yaml_spots

# Without what JSON writes as two escapes, which YAML does not take, and what no text may have.
LETTERS = st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cc"])
TEXTS = st.text(LETTERS, max_size=8)
KEYS = st.one_of(st.from_regex(r"[a-z0-9_-]{1,4}", fullmatch=True), st.text(LETTERS, max_size=4))
SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def leaves(value: Any, pointer: str = ""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, below(pointer, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, below(pointer, place))
    else:
        yield pointer, value


def rest_at(text: str, spot: Spot) -> str:
    return "\n".join(text.split("\n")[spot.line - 1 :])[spot.column - 1 :]


@settings(max_examples=50)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_each_value_of_toml_is_at_its_spot(data: dict[str, Any]):
    text = toml_text(data, {})
    assert toml_data(text, "f") == data
    spots = toml_spots(text)
    assert not spots.duplicates
    for pointer, value in leaves(data):
        rest = rest_at(text, spots.values[pointer])
        written = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        assert rest.startswith(written), (text, pointer)


@settings(max_examples=50)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_each_value_of_yaml_is_at_its_spot(data: dict[str, Any]):
    text = json.dumps(data, ensure_ascii=True, indent=2)
    spots = yaml_spots(text)
    for pointer, value in leaves(data):
        assert rest_at(text, spots.values[pointer]).startswith(json.dumps(value)), (text, pointer)


TOML = """\
title = 'x'   # a comment = 3
"a b".c = [ 1, # one
  "#]", {d = 1.5, e.f = 1979-05-27 07:32:00}]
[vips]
s = \"\"\"a
"b\"\"\"\"
[[lists]]
[[lists.inner]]
k = true
[[lists.inner]]
k = false
[lists.one]
z = 0x1f
[[lists]]
[[lists.inner]]
k = inf
"""


def test_spots_of_toml_of_all_forms():
    tomli.loads(TOML)
    spots = toml_spots(TOML)
    found = {pointer: (spot.line, spot.column) for pointer, spot in spots.values.items()}
    expected = {
        "/title": (1, 9), "/a b/c": (2, 11), "/a b/c/0": (2, 13), "/a b/c/1": (3, 3), "/a b/c/2": (3, 9),
        "/a b/c/2/d": (3, 14), "/a b/c/2/e/f": (3, 25), "/vips": (4, 1), "/vips/s": (5, 5), "/lists": (7, 1),
        "/lists/0": (7, 1), "/lists/0/inner": (8, 1), "/lists/0/inner/0": (8, 1), "/lists/0/inner/0/k": (9, 5),
        "/lists/0/inner/1/k": (11, 5), "/lists/0/one/z": (13, 5), "/lists/1": (14, 1), "/lists/1/inner/0/k": (16, 5),
    }  # fmt: skip
    assert {pointer: found.get(pointer) for pointer in expected} == expected
    assert spots.of_key("/lists/0/one") == Spot(12, 8)
    assert spots.of_value("/lists/1/missing") == Spot(14, 1)


YAML = """\
# a comment
vips:
- address: &a 203.0.113.10
  limits: &l {packets: 5}
- address: *a
  limits: {<<: *l, packets: 6}
"""


def test_spots_of_yaml_with_aliases():
    assert yaml_data(YAML, "f") == {"vips": [{"address": "203.0.113.10", "limits": {"packets": n}} for n in (5, 6)]}
    spots = yaml_spots(YAML)
    assert spots.of_value("/vips/1/address") == Spot(5, 12)
    assert spots.of_key("/vips/1/limits/packets") == Spot(6, 20)


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("on", "on"), ("22:22", "22:22"), ("080", "080"), ("0x10", "0x10"), ("true", True), ("~", None),
     ("1.5", 1.5), ("-3", -3), ("'5'", "5"), ("1_0", "1_0"),
     ("!!str 5", "5"), ("2001:db8::1", "2001:db8::1"), ("2026-01-01", "2026-01-01")],
)  # fmt: skip
def test_plain_words_of_yaml_are_those_of_yaml_1_2(text: str, value: object):
    assert yaml_data(f"a: {text}", "f") == {"a": value}


def refused(read, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, "f")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = ", "f:1:5: this is not TOML: invalid value"),
        ("a = 1\na = 2\n", "f:2:1: a is given twice (the other one: line 1)"),
        ("[a]\nb = 1\n[c]\n[a]\nb = 1", "f:4:2: a is given twice (the other one: line 1)"),
        ("[[a]]\n[a]\n", "f:2:2: a is given twice (the other one: line 1)"),
        ("a = {b = 1, b = 2}", "f:1:13: b is given twice (the other one: line 1)"),
        ("a = " + "9" * 5000, "f: a number has too many digits"),
        ("a = " + "[" * 100_000, "f: arrays and inline tables are nested too deep"),
    ],
)
def test_what_is_not_toml_is_told_with_its_place(text: str, told: str):
    assert refused(toml_data, text) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "f:2:1: this is not YAML: did not find expected ',' or ']'"),
        ("a: 1\na: 2\nb: {c: 1, c: 2}", "f:2:1: a is given twice (the other one: line 1)"),
        ("a: !!python/object/apply:os.system [x]", "f:1:4: the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: *b", "f:1:4: there is no anchor &b before this"),
        ("a: &a [*a]", "f:1:8: there is no anchor &a before this"),
        ("--- {}\n--- {}", "f:2:1: a second document begins"),
        ("[" * 500, "f:1:101: the data is nested too deep"),
        ("? [a]\n: b", "f:1:3: a key must be a text"),
        ("a: 1\n\tb: 2", "f:2:1: this is not YAML: found a tab character"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_place(text: str, told: str):
    assert refused(yaml_data, text)[0].startswith(told)


def test_aliases_that_stand_for_billions_of_values_are_refused():
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    assert "there are more than 2000000 values" in refused(yaml_data, bomb)[0]


@settings(max_examples=50)
@given(st.one_of(st.text(max_size=60), st.text("[]{}=\"'.#\n ab1,\\", max_size=60)))
def test_any_text_is_read_or_refused(text: str):
    assert isinstance(toml_spots(text), Spots)
    for read in (toml_data, yaml_data):
        with suppress(ConfigError):
            read(text, "f")


def test_the_yaml_of_data_is_read_as_the_same_by_others_too():
    data = {"a": ["no", "22:22", 5, 1.5, True], "b": {"c": "é"}}
    assert yaml.safe_load(yaml_text(data)) == yaml_data(yaml_text(data), "f") == data
