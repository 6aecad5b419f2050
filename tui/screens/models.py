"""The pane of all models: what there is, what is loaded, and why something is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import getters, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from ..intents import ModelIntent, ModelVerb
from ..plan_views import plan_facts
from ..views import MEMORY_WIDTH, model_facts, model_rows
from ..widgets.facts import Facts
from ..widgets.table import Column, Table
from .pane import Pane

COLUMNS = (
    Column("Model", 0),
    Column("Format", 8, from_width=90),
    Column("Quant", 8, from_width=70),
    Column("Size", 9, right=True),
    Column("Context", 8, right=True, from_width=76),
    Column("State", 15),
    Column("Memory", MEMORY_WIDTH, right=True, from_width=100),
    Column("Engine", 24, from_width=140),
)


class ModelsPane(Pane):
    """A table of models and all facts of the one under the cursor."""

    TITLE = "Models"
    FOCUS = "#models-table"
    HELP: ClassVar[str | None] = """\
All models of the models folder, the Hugging Face cache and the starter package. Load one, unload it, or switch: that \
unloads every other one first. Below the table stands all that is known of the model under the cursor, why it failed or \
cannot be served, and how it would be held: each decision with its reason."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "ask('load')", "Load", id="models.load", tooltip="Load the model under the cursor"),
        Binding("u", "ask('unload')", "Unload", id="models.unload", tooltip="Take the model out of memory"),
        Binding("s", "ask('switch')", "Switch", id="models.switch", tooltip="Unload all others and load this one"),
        Binding("c", "ask('chat')", "Chat", id="models.chat", tooltip="Talk to the model in the chat pane"),
        Binding("r", "app.rescan", "Refresh", id="models.refresh", tooltip="Look for models on the disk again"),
    ]

    table = getters.query_one("#models-table", Table)
    facts = getters.query_one("#models-facts", Facts)

    def compose(self) -> ComposeResult:
        """Puts the facts under the table."""
        hint = "No model yet: press 7 for what suits this machine, 3 to search, or put one into the models folder and press r."
        yield Table(COLUMNS, id="models-table", hint=hint)
        yield Facts(id="models-facts")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.table.write_title("Models")
        self.facts.write_title("Details")

    def models_changed(self) -> None:
        """Sets the table and the facts."""
        statuses = self.source.statuses()
        self.table.rows = model_rows(statuses, self._process_bytes())
        ready = sum(status.state == "ready" for status in statuses)
        self.table.write_subtitle(f"{ready} of {len(statuses)} loaded" if statuses else "")
        self._show_facts()

    def sample_changed(self) -> None:
        """Sets what the processes hold."""
        self.table.rows = model_rows(self.source.statuses(), self._process_bytes())

    def action_ask(self, verb: ModelVerb) -> None:
        """Asks the app to do something with the model under the cursor."""
        if self.table.cursor is not None:
            self.post_message(ModelIntent(verb, self.table.cursor))

    @on(Table.Selected, "#models-table")
    def load_chosen(self, event: Table.Selected) -> None:
        """Loads the model that was chosen."""
        event.stop()
        self.post_message(ModelIntent("load", event.key))

    @on(Table.Highlighted, "#models-table")
    def show_highlighted(self, event: Table.Highlighted) -> None:
        """Shows the facts of another model."""
        event.stop()
        self._show_facts()

    def _show_facts(self) -> None:
        status = next((status for status in self.source.statuses() if status.model.id == self.table.cursor), None)
        self.facts.facts = () if status is None else (*model_facts(status), *plan_facts(self.source.plan_of(status.model.id)))
        self.facts.write_title("Details" if status is None else status.model.id)

    def _process_bytes(self) -> Mapping[int, int]:
        sample = self.source.monitor.latest
        return {} if sample is None else sample.process_bytes
