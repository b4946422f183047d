# SPDX-License-Identifier: Apache-2.0
"""Access lists: each prefix once and in order, and which one is wrong where one is."""

from __future__ import annotations

import pytest

from xdplb.model.access import AccessList
from xdplb.model.errors import InvalidError


def test_a_list_is_the_same_in_whatever_order_it_is_given():
    one = AccessList.parse(["198.51.100.0/24"], ["192.0.2.7", "192.0.2.0/24", "192.0.2.7/32"], 4)
    assert one == AccessList.parse(["198.51.100.0/24"], ["192.0.2.0/24", "192.0.2.7"], 4)
    assert [str(prefix) for prefix in one.deny] == ["192.0.2.0/24", "192.0.2.7/32"]


def test_an_empty_list_is_none():
    assert not AccessList()
    assert AccessList.parse([], ["2001:db8::/32"], 6)


@pytest.mark.parametrize(
    ("allow", "deny", "pointer"),
    [
        (["192.0.2.0/24", "192.0.2.1/24"], [], "/allow/1"),
        ([], ["192.0.2.0/24"] * 17 + ["example.org"], "/deny/17"),
        ([], ["2001:db8::/32"], "/deny/0"),
    ],
)
def test_a_prefix_that_cannot_be_is_named_by_its_place(allow: list[str], deny: list[str], pointer: str):
    with pytest.raises(InvalidError) as raised:
        AccessList.parse(allow, deny, 4)
    assert [problem.pointer for problem in raised.value.problems] == [pointer]
    assert raised.value.hint
