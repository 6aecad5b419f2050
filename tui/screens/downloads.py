"""The pane that gets models from the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from textual import getters, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Input, Static

from ...runtime.errors import ImpetusError
from ..format import NOTHING, clean, count, size
from ..intents import CancelIntent, PullIntent
from ..source import Endpoint, HubFile, HubModel, Source
from ..views import download_rows
from ..widgets.table import Cell, Column, Row, Table
from .pane import Pane

_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_REFERENCE = re.compile(r"[\w.-]+/[\w.-]+:\S+")

MODEL_COLUMNS = (
    Column("Repository", 0),
    Column("Downloads", 11, right=True, from_width=56),
    Column("Likes", 6, right=True, from_width=66),
    Column("Quants", 24, from_width=84),
)
FILE_COLUMNS = (Column("Quant", 9), Column("Size", 9, right=True), Column("File", 0))
DOWNLOAD_COLUMNS = (
    Column("Download", 0),
    Column("State", 13),
    Column("", 12, from_width=96),
    Column("", 5, right=True),
    Column("Size", 9, right=True, from_width=72),
    Column("Rate", 11, right=True, from_width=84),
    Column("", 26, from_width=110),
)


class DownloadsPane(Pane):
    """Search, results, files, and the downloads themselves."""

    TITLE = "Downloads"
    FOCUS = "#hub-models"
    HELP: ClassVar[str | None] = """\
Gets models from the Hugging Face Hub. This is the one pane that needs the internet. `/` goes to the field: type words to \
search, or the name `owner/repo` to see its files at once, or `owner/repo:Q4_K_M` to download without looking. Enter on a \
repository lists its models in every format that is served, the one for this machine first; Enter on one downloads it with all \
that it needs. A download that was cancelled or failed goes on where it stopped."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="downloads.search", tooltip="Go to the search field"),
        Binding("p", "pull", "Pull", id="downloads.pull", tooltip="Download what is under the cursor"),
        Binding("x", "cancel", "Cancel", id="downloads.cancel", tooltip="End the download under the cursor"),
        Binding(
            "escape", "leave", "Leave field", show=False, id="downloads.leave", tooltip="From the search field to the results"
        ),
    ]

    search = getters.query_one("#search", Input)
    results = getters.query_one("#hub-models", Table)
    files = getters.query_one("#hub-files", Table)
    transfers = getters.query_one("#transfers", Table)

    def __init__(self, source: Source, endpoint: Endpoint, *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._repo: str | None = None

    def compose(self) -> ComposeResult:
        """Puts the field on top, the Hub's lists beside each other, the downloads below."""
        with Container(id="search-row"):
            yield Input(placeholder="Search, or owner/repo, or owner/repo:Q4_K_M", id="search", select_on_focus=False)
            yield Static("⇅ needs the internet", classes="online-note", markup=False)
        with Container(id="hub"):
            yield Table(MODEL_COLUMNS, id="hub-models", hint="Press / and type what you look for.")
            yield Table(FILE_COLUMNS, id="hub-files", hint="Enter on a repository lists its files.")
        yield Table(DOWNLOAD_COLUMNS, id="transfers", hint="Nothing was downloaded in this session.")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.query_one("#search-row").border_title = "Hugging Face Hub"
        self.search.cursor_blink = False
        self.results.write_title("Repositories")
        self.files.write_title("Files")
        self.transfers.write_title("Downloads")

    def downloads_changed(self) -> None:
        """Sets the table of downloads."""
        downloads = self.source.downloads()
        self.transfers.rows = download_rows(downloads)
        active = sum(download.state in {"queued", "checking", "downloading"} for download in downloads)
        self.transfers.write_subtitle(f"{active} under way · Enter shows one" if downloads else "")

    @on(Input.Submitted, "#search")
    def submit(self, event: Input.Submitted) -> None:
        """Searches, lists or downloads, by what was typed."""
        event.stop()
        text = event.value.strip()
        if _REFERENCE.fullmatch(text):
            self.post_message(PullIntent(text))
            self.transfers.focus()
        elif _REPO.fullmatch(text):
            self.list_files(text)
        elif text:
            self.find(text)

    @on(Table.Selected, "#hub-models")
    def open_repo(self, event: Table.Selected) -> None:
        """Lists the files of the repository that was chosen."""
        event.stop()
        self.list_files(event.key)

    @on(Table.Selected, "#hub-files")
    def pull_file(self, event: Table.Selected) -> None:
        """Downloads the file that was chosen."""
        event.stop()
        self.post_message(PullIntent(f"{self._repo}:{event.key}"))

    def action_search(self) -> None:
        """Goes to the search field."""
        self.search.focus()

    def action_leave(self) -> None:
        """Leaves the search field."""
        (self.results if self.results.rows else self.transfers).focus()

    def action_pull(self) -> None:
        """Downloads the file under the cursor, or what the repository under it recommends itself with."""
        if self.files.has_focus and self.files.cursor is not None:
            self.post_message(PullIntent(f"{self._repo}:{self.files.cursor}"))
        elif self.results.has_focus and self.results.cursor is not None:
            self.post_message(PullIntent(self.results.cursor))

    def action_cancel(self) -> None:
        """Ends the download under the cursor."""
        if self.transfers.cursor is not None:
            self.post_message(CancelIntent(self.transfers.cursor))

    @work(exclusive=True, group="hub", exit_on_error=False)
    async def find(self, query: str) -> None:
        """Searches the Hub and shows what it finds."""
        self._await(self.results, f"Searching for '{query}'…")
        try:
            found = await self.source.search_hub(query)
        except ImpetusError as error:
            self._fail(self.results, error)
            return
        self.results.hint = f"Nothing was found for '{query}'."
        self.results.rows = _model_rows(found)
        self.results.write_subtitle(f"{len(found)} found")
        if found:
            self.results.focus()

    @work(exclusive=True, group="hub", exit_on_error=False)
    async def list_files(self, repo: str) -> None:
        """Asks the Hub what a repository holds and shows it."""
        self._repo = repo
        self.files.write_title(repo)
        self._await(self.files, "Asking the Hub…")
        try:
            found = await self.source.hub_files(repo)
        except ImpetusError as error:
            self._fail(self.files, error)
            return
        self.files.hint = "This repository holds no model in a format that is served."
        self.files.rows = _file_rows(found)
        self.files.write_subtitle(f"{len(found)} to choose from")
        if found:
            self.files.focus()

    def _await(self, table: Table, words: str) -> None:
        table.rows = ()
        table.hint = words
        table.write_subtitle("")

    def _fail(self, table: Table, error: ImpetusError) -> None:
        table.hint = f"✗ {error.message}"
        self.notify(clean(error.message), title="The Hub", severity="error", markup=False)


def _model_rows(models: Sequence[HubModel]) -> tuple[Row, ...]:
    return tuple(
        Row(
            model.repo,
            (
                Cell(f"{model.repo} (gated)" if model.gated else model.repo),
                Cell(count(model.downloads), "dim"),
                Cell(count(model.likes), "dim"),
                Cell(" ".join(model.quantizations or model.formats) or NOTHING, "dim"),
            ),
        )
        for model in models
    )


def _file_rows(found: Sequence[HubFile]) -> tuple[Row, ...]:
    return tuple(
        Row(
            file.name,
            (Cell(file.quantization or file.format, "strong"), Cell(size(file.size_bytes)), Cell(file.name, "dim")),
        )
        for file in found
    )
