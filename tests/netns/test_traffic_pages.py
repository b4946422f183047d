# SPDX-License-Identifier: Apache-2.0
"""What is typed on each page of the documentation does there what the page says, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xdplb.dataplane.single import pass_program

from .page_lab import PageLab
from .page_part import Part
from .page_parts import PARTS
from .page_reader import Reader


@pytest.fixture(scope="module")
def lab() -> Iterator[PageLab]:
    with pass_program() as program, PageLab(port_program=program.fileno()) as lab:
        yield lab


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_all_that_is_typed_on_a_page_does_what_it_says(lab: PageLab, part: Part) -> None:
    lab.begin(part.options, has_web_servers=part.has_web_servers)
    reader = Reader(lab, part)
    try:
        reader.follow()
    finally:
        reader.close()
