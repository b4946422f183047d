# SPDX-License-Identifier: Apache-2.0
"""What is typed on the pages for one task does there what the page says, in the order of the page."""

from __future__ import annotations

import pytest

from .page_lab import PageLab
from .page_part import Part
from .page_parts_by_task import BY_TASK
from .page_reader import read


@pytest.mark.parametrize("part", BY_TASK, ids=lambda part: part.name)
def test_all_that_is_typed_on_a_page_does_what_it_says(page_lab: PageLab, part: Part) -> None:
    read(page_lab, part)
