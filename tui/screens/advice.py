"""The pane of recommendations: which models suit this machine, and what another Mac would bring."""

from __future__ import annotations

from typing import ClassVar, Final

from textual import getters, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import reactive
from textual.widgets import Input, Static

from ...runtime.errors import ImpetusError
from ...runtime.models.model import ModelStatus
from ...runtime.models.recommended import Task
from ...runtime.tuning.recommend import Recommendation, Recommendations
from ...runtime.tuning.recommend_here import mark_on_disk
from ..advice_views import CONTEXT, TASKS, advice_facts, advice_rows, note_facts, upgrade_facts
from ..format import clean
from ..intents import ModelIntent, PullIntent
from ..source import Endpoint, Source
from ..widgets.bars import Tab, TabBar
from ..widgets.facts import Facts
from ..widgets.table import Column, Table
from .pane import Pane

COLUMNS = (
    Column("Model", 0),
    Column("Quant", 6),
    Column("Size", 9, right=True),
    Column("Memory", 9, right=True, from_width=100),
    Column("Writes/s", 11, right=True),
    Column("Reads/s", 13, right=True, from_width=116),
    Column("Longest", 8, right=True, from_width=90),
    Column("Can", 23, from_width=140),
    Column("Here", 13),
)
_ANY: Final = "any"
_LOOKING: Final = "Looking at the machine…"


class AdvicePane(Pane):
    """What to recommend for or to search, what is recommended, the one under the cursor, and other Macs."""

    TITLE = "Advice"
    FOCUS = "#advice-models"
    HELP: ClassVar[str | None] = """\
Which models of a dated list that comes with Impetus suit this machine, the best first, each in the most precise quantisation \
that fits with 16K tokens of context and writes fast enough. f, or a click above the table, changes what for. Speeds are \
predicted, a range in tokens per second; below, a model that ran here tells how fast it was. What is on the disk is \
marked: Enter or l loads it. Enter or p downloads what is not: that needs the internet. Below stands what another Mac would \
bring.

`/` goes to the field: words and Enter look through the most downloaded models that the Hugging Face Hub finds instead, which \
needs the internet too; below stands what does not suit, and why. f, or Enter in the empty field, goes back to the list. \
Nothing is asked of the internet by itself."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "next_task", "For…", id="advice.task", tooltip="Recommend for chat, for code, for embeddings, or for any"),
        Binding("slash", "search", "Search", id="advice.search", tooltip="Search the Hub for what suits; needs the internet"),
        Binding("l", "load", "Load", id="advice.load", tooltip="Load the recommended model, if it is on the disk"),
        Binding("p", "pull", "Pull", id="advice.pull", tooltip="Download the recommended model; needs the internet"),
        Binding("escape", "leave", "Leave field", show=False, id="advice.leave", tooltip="From the search field to the models"),
    ]

    tasks = getters.query_one("#advice-tasks", TabBar)
    search = getters.query_one("#advice-search", Input)
    table = getters.query_one("#advice-models", Table)
    facts = getters.query_one("#advice-facts", Facts)
    upgrades = getters.query_one("#advice-upgrades", Facts)

    advised_for: reactive[Task | None] = reactive(None, repaint=False, init=False)
    """What for; None is for any."""
    searched_for: reactive[str | None] = reactive(None, repaint=False, init=False)
    """The words that the Hub was asked for; None shows the list."""

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._found: Recommendations | None = None
        self._asked: object = None
        """What the newest question to the runtime was about: the task, the machine and the models on the disk."""

    def compose(self) -> ComposeResult:
        """Puts the choice on top, the models below it, then the one under the cursor and the other Macs."""
        with Container(id="advice-choice"):
            yield TabBar(id="advice-tasks")
            yield Input(placeholder="Search the Hub", id="advice-search", select_on_focus=False)
            yield Static("⇅ needs the internet", classes="online-note", markup=False)
        yield Table(COLUMNS, id="advice-models", hint=_LOOKING)
        yield Facts(id="advice-facts")
        yield Facts(id="advice-upgrades")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.tasks.tabs = (Tab(_ANY, "Anything", ""), *(Tab(task, title, "") for task, title in TASKS.items()))
        self.search.cursor_blink = False

    def models_changed(self) -> None:
        """Asks anew where machine or models are others, but never the Hub; else shows how the models stand."""
        about = (self.advised_for, self.searched_for, self.source.profile, *self._statuses())
        if about != self._asked:
            self._asked = about
            if self.searched_for is None:
                self.ask()
            elif self._found is not None:
                self._found = mark_on_disk(self._found, [status.model for status in self.source.statuses()])
        self._show()

    def downloads_changed(self) -> None:
        """Shows how far downloads are."""
        self._show()

    def watch_advised_for(self) -> None:
        """Asks for another task."""
        self.models_changed()

    def watch_searched_for(self) -> None:
        """Empties the table, and searches or goes back to the list."""
        self._found = None
        self.table.rows = ()
        self.models_changed()
        if self.searched_for is not None:
            self.find(self.searched_for)

    @on(Input.Submitted, "#advice-search")
    def submit(self, event: Input.Submitted) -> None:
        """Searches for what was typed; the same words once more, too."""
        event.stop()
        words = event.value.strip()
        if words and words == self.searched_for:
            self.find(words)
        self.searched_for = words or None

    @on(TabBar.Chosen)
    def choose_clicked(self, event: TabBar.Chosen) -> None:
        """Recommends for what was clicked, out of the list."""
        event.stop()
        self._leave_search()
        self.advised_for = next((task for task in TASKS if task == event.pane), None)

    @on(Table.Selected, "#advice-models")
    def take_chosen(self, event: Table.Selected) -> None:
        """Loads the model that was chosen, or downloads it."""
        event.stop()
        model = self._model()
        if model is not None and model.on_disk is not None and model.on_disk.suits:
            self.action_load()
        else:
            self.action_pull()

    @on(Table.Highlighted, "#advice-models")
    def show_highlighted(self, event: Table.Highlighted) -> None:
        """Shows the facts of another model."""
        event.stop()
        self._show_facts()

    def action_next_task(self) -> None:
        """Recommends for the next task, or goes back from a search to the list."""
        if self.searched_for is not None:
            self._leave_search()
            return
        order: list[Task | None] = [None, *TASKS]
        self.advised_for = order[(order.index(self.advised_for) + 1) % len(order)]

    def action_search(self) -> None:
        """Goes to the search field."""
        self.search.focus()

    def action_leave(self) -> None:
        """Leaves the search field."""
        self.table.focus()

    def action_load(self) -> None:
        """Asks the app to load the model under the cursor."""
        model = self._model()
        if model is not None and model.on_disk is not None:
            self.post_message(ModelIntent("load", model.on_disk.id))
        elif model is not None:
            self.notify("It is not on the disk; p downloads it.", title=model.model, markup=False)

    def action_pull(self) -> None:
        """Asks the app to download the model under the cursor."""
        model = self._model()
        if model is not None and model.on_disk is not None and model.on_disk.suits:
            self.notify("It is on the disk; l loads it.", title=model.model, markup=False)
        elif model is not None:
            self.post_message(PullIntent(model.pull))

    @work(exclusive=True, group="advice", exit_on_error=False)
    async def ask(self) -> None:
        """Asks the runtime what suits, and shows it."""
        self._found = await self.source.recommend(self.advised_for)
        self._show()

    @work(exclusive=True, group="advice", exit_on_error=False)
    async def find(self, words: str) -> None:
        """Searches the Hub for what suits, and shows it."""
        self.table.hint = f"Searching for '{words}'…"
        try:
            self._found = await self.source.recommend(None, words)
        except ImpetusError as error:
            self.table.hint = f"✗ {error.message}"
            self.notify(clean(error.message), title="The Hub", severity="error", markup=False)
            return
        self._show()
        if self._found.models:
            self.table.focus()

    def _leave_search(self) -> None:
        self.search.value = ""
        self.searched_for = None

    def _show(self) -> None:
        words = self.searched_for
        self.tasks.active = (self.advised_for or _ANY) if words is None else ""
        self.upgrades.write_title("Another Mac would bring" if words is None else "Found, but not for this machine")
        found = self._found
        if found is None:
            self.upgrades.facts = ()
            self._show_facts()
            return
        downloads = {download.reference.casefold(): download for download in self.source.downloads()}
        nothing = (
            "Nothing on the list suits this machine." if words is None else "Nothing that the Hub finds suits this machine."
        )
        self.table.hint = _LOOKING if self.source.profile is None else nothing
        self.table.rows = advice_rows(found.models, self._statuses(), downloads)
        self.table.write_title(f"What suits {found.machine}")
        predicted = "predicted, " if any(model.decode is not None for model in found.models) else ""
        origin = f"list of {found.as_of}" if words is None else f"'{words}' on the Hub"
        self.table.write_subtitle(f"{origin} · {predicted}with {CONTEXT}")
        if words is not None:
            self.upgrades.facts = note_facts(found.notes)
        else:
            self.upgrades.facts = () if self.source.profile is None else upgrade_facts(found.upgrades)
        self._show_facts()

    def _show_facts(self) -> None:
        model = self._model()
        self.facts.write_title("Details" if model is None else f"{model.model} {model.quantization}")
        if model is None or self._found is None:
            self.facts.facts = ()
            return
        held = None if model.on_disk is None else self._statuses().get(model.on_disk.id)
        self.facts.facts = advice_facts(model, held, self._found.notes if self.searched_for is None else ())

    def _model(self) -> Recommendation | None:
        """The one under the cursor."""
        models = () if self._found is None else self._found.models
        return next((model for model in models if model.pull == self.table.cursor), None)

    def _statuses(self) -> dict[str, ModelStatus]:
        return {status.model.id: status for status in self.source.statuses()}
