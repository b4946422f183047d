# SPDX-License-Identifier: Apache-2.0
"""What is typed on docs/reference/cli.md does there what the page says, example after example."""

from __future__ import annotations

import pytest

from .page_lab import PageLab
from .page_part import Part
from .page_parts_cli import CLI_PARTS
from .page_reader import read


@pytest.mark.parametrize("part", CLI_PARTS, ids=lambda part: part.name)
def test_all_that_is_typed_on_a_page_does_what_it_says(page_lab: PageLab, part: Part) -> None:
    read(page_lab, part)
