"""A screen over the control screen: where the prompt of a request came from, and why not more of it was reused."""

from __future__ import annotations

from typing import ClassVar

from textual import getters
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ...runtime.journal import RequestRecord
from ..format import one_line
from ..prefix_views import prefix_facts, prefix_sides
from ..widgets.facts import Facts
from ..widgets.lines import TONES
from ..widgets.origin_bar import OriginBar
from ..widgets.sides import Sides


class ExplainScreen(ModalScreen[None]):
    """Shows a request's prefix report until a key is pressed; keeps it fresh while it is open."""

    AUTO_FOCUS = "#explain-sides"
    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,e,enter", "dismiss", "Close", id="explain.close", tooltip="Back to where you were"),
    ]

    bar = getters.query_one("#explain-bar", OriginBar)
    facts = getters.query_one("#explain-facts", Facts)
    sides = getters.query_one("#explain-sides", Sides)

    def __init__(self, record: RequestRecord) -> None:
        super().__init__()
        self._record = record

    def compose(self) -> ComposeResult:
        """Puts the bar above the words, and the texts below them."""
        with Vertical(classes="dialog -broad"):
            yield OriginBar(id="explain-bar")
            yield Facts(id="explain-facts")
            yield Sides(id="explain-sides")
            yield Static("↑ ↓ scroll · Escape closes", classes="dialog-keys", markup=False)

    def on_mount(self) -> None:
        """Writes the title and begins to look again each second."""
        # As content, because Textual reads markup in plain strings.
        title = Content(one_line(f"The prompt of {self._record.id} · {self._record.model}"))
        self.query_one(".dialog", Vertical).border_title = title  # pyright: ignore[reportAttributeAccessIssue]
        self._show()
        self.set_interval(1.0, self._show)

    def _show(self) -> None:
        self.bar.report = self._record.prefix
        self.facts.facts = prefix_facts(self._record)
        self.sides.sides = prefix_sides(self._record)
