# SPDX-License-Identifier: Apache-2.0
"""The windows of `xdplb top` over its table: what a change would do, before it is made; and the keys."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ["Confirm", "Keys"]

_KEYS = """\
Enter     the backends of the VIP under the cursor, and why each is as it is
Escape    back; ends a filter
x         where packets are dropped or passed, and why
/         filter: only rows with these words
s  r      sort by the next column; turn the order (or click a heading)
d  u      drain the backend under the cursor; undrain it. The effect is shown
          first. Needs the role operate or admin
p         pause, and go on
q         quit

STATE     of a backend; STATUS of a VIP. UP: how many backends serve, of how many
PKT/S     packets per second; BIT/S bits; NEW/S new flows
SHARE     of the packets of all VIPs, or of the VIP's
P50 P99   half of the TCP handshakes took less, 99 % did
"""


class Confirm(ModalScreen[bool]):
    """Asks whether to make a change, and shows what it would do. Only y makes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "do it"),
        Binding("n,escape,q", "answer(False)", "leave it"),
    ]

    def __init__(self, question: str, effect: str) -> None:
        super().__init__()
        self._question = question
        self._effect = effect

    def compose(self) -> ComposeResult:
        """Show the question, the effect, and the keys."""
        with VerticalScroll(classes="window"):
            yield Static(Text(self._question, "bold"))
            yield Static(Text(self._effect), id="effect")
            yield Static(Text("y: do it    n or Escape: leave it", "bold"))

    def action_answer(self, answer: bool) -> None:
        """Close the window with this answer."""
        self.dismiss(answer)


class Keys(ModalScreen[None]):
    """Lists the keys and the columns."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "close")]

    def compose(self) -> ComposeResult:
        """Show the list."""
        with VerticalScroll(classes="window"):
            yield Static(Text(_KEYS))
