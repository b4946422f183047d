# SPDX-License-Identifier: Apache-2.0
"""All that is typed on a page of the documentation is typed by a test, or the test says why it cannot be."""

from __future__ import annotations

import pytest

from tests.netns.page_part import Part
from tests.netns.page_parts import PAIR, PARTS, QUICKSTART, TROUBLESHOOTING
from tests.netns.page_parts_by_task import BY_TASK
from tests.netns.page_parts_cli import CLI_PARTS
from tests.netns.test_traffic_recipe import RECIPE
from tests.page import PAGES, commands_in, commands_of

FOLLOWED = (*PARTS, *CLI_PARTS, *BY_TASK, QUICKSTART, TROUBLESHOOTING, PAIR, RECIPE)

PAGE = """
# A page

On the balancer, this shows `xdplb status` and `a.toml`:

    xdplb status          # all of it
    xdplb vip add web \\
        --forward dr

    $ xdplb vip ls
    VIP
    $ true

```toml
port = 1
```

## Further

- In a list:

      curl http://localhost/

```python
print(1)
```
"""


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_typed_by_one_test(page: str) -> None:
    for command in commands_of(page):
        parts = [part.name for part in FOLLOWED if part.page == page and command in part.commands()]
        assert len(parts) == 1, f"{page}, {command.heading}: {command.line}: {parts or 'no part'} in page_parts.py"


@pytest.mark.parametrize("part", FOLLOWED, ids=lambda part: part.name)
def test_what_is_said_of_a_page_is_on_it(part: Part) -> None:
    assert not part.stale()
    assert all(len(why.split()) > 2 for why in part.untried.values()), "why it cannot be typed in a lab"


def test_what_is_typed_is_told_from_what_is_shown() -> None:
    commands = list(commands_in(PAGE, spans=True))
    assert [(command.heading, command.line) for command in commands] == [
        ("A page", "xdplb status"),
        ("A page", "xdplb status"),
        ("A page", "xdplb vip add web --forward dr"),
        ("A page", "xdplb vip ls"),
        ("A page", "true"),
        ("Further", "curl http://localhost/"),
        ("Further", "print(1)"),
    ]
    assert commands[3].shown == "VIP"
    assert commands[4].shown is None


def test_a_page_that_says_something_else_is_noticed() -> None:
    part = Part("top.md", untried={"xdplb bottom": "is not there"}, places={"On the moon": ()}, values={"BASE": ""})
    assert part.stale() == ["xdplb bottom", "On the moon", "BASE"]
