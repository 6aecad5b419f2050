"""Screens over the control screen: the details of a request, and the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from ..widgets.facts import Fact, Facts
from ..widgets.flow import Flow, Paragraph
from ..widgets.lines import TONES


class FactsScreen(ModalScreen[None]):
    """Shows labelled texts until a key is pressed; keeps them fresh while it is open."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "Close", id="dialog.close", tooltip="Back to where you were"),
    ]

    def __init__(self, title: str, read: Callable[[], Sequence[Fact]]) -> None:
        super().__init__()
        self._heading = title
        self._read = read

    def compose(self) -> ComposeResult:
        """Puts the facts into a frame."""
        with Vertical(classes="dialog"):
            yield Facts(id="dialog-facts")
            yield Static("Escape closes", classes="dialog-keys", markup=False)

    def on_mount(self) -> None:
        """Writes the title and begins to look again each second."""
        self.query_one(".dialog", Vertical).border_title = self._heading
        self._show()
        self.set_interval(1.0, self._show)

    def _show(self) -> None:
        self.query_one("#dialog-facts", Facts).facts = tuple(self._read())


class HelpScreen(ModalScreen[None]):
    """Says what the pane is for, and lists all keys that do something there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(TONES)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark,enter", "dismiss", "Close", id="help.close", tooltip="Back to where you were"),
    ]

    def __init__(self, title: str, text: str, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._heading = title
        self._text = text
        self._keys = tuple(keys)

    def compose(self) -> ComposeResult:
        """Puts text and keys into a frame."""
        with Vertical(classes="dialog"):
            yield Flow(id="help-flow")
            yield Static("↑ ↓ scroll · Escape closes", classes="dialog-keys", markup=False)

    def on_mount(self) -> None:
        """Fills the frame."""
        self.query_one(".dialog", Vertical).border_title = self._heading
        flow = self.query_one("#help-flow", Flow)
        flow.follow = False
        wide = max((len(key) for key, _ in self._keys), default=0)
        flow.fill(
            [
                Paragraph(self._text, "", " "),
                Paragraph(""),
                *(Paragraph(text, "", f"  {key:<{wide}}  ", "accent") for key, text in self._keys),
            ]
        )
