"""The pane of settings: the theme to choose, the ports to answer on, and what holds now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import getters, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.reactive import reactive

from ..intents import ListenIntent, ThemeIntent
from ..source import Endpoint, Source
from ..theming import Palette
from ..views import port_facts, port_rows
from ..widgets.facts import Fact, Facts
from ..widgets.table import Cell, Column, Row, Table
from .pane import Pane

_SECRET = {"api_key"}


class SettingsPane(Pane):
    """Themes and ports at the left, all settings at the right."""

    TITLE = "Settings"
    FOCUS = "#themes"
    HELP: ClassVar[str | None] = """\
Enter on a theme uses it from now on and writes it to the settings file. Enter on a port makes Impetus answer there too, \
where clients of Ollama and LM Studio look by themselves, or lets go of it; one that another program holds is had as soon \
as that is gone. All other settings stand in the file, each with a comment; they are read when Impetus starts."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "o",
            "listen(11434)",
            "Ollama's port",
            id="settings.ollama_port",
            tooltip="Answer on port 11434, where Ollama's clients look, or let go of it",
        ),
        Binding(
            "m",
            "listen(1234)",
            "LM Studio's port",
            id="settings.lm_studio_port",
            tooltip="Answer on port 1234, where LM Studio's clients look, or let go of it",
        ),
    ]

    ports = getters.query_one("#ports", Table)
    themes = getters.query_one("#themes", Table)
    facts = getters.query_one("#settings-facts", Facts)

    theme_name = reactive("", init=False, repaint=False)
    """The theme in use."""

    def __init__(self, source: Source, endpoint: Endpoint, palettes: Sequence[Palette], *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._palettes = tuple(palettes)

    def compose(self) -> ComposeResult:
        """Puts themes and ports beside the settings."""
        with Container(id="choices"):
            yield Table((Column("Theme", 0), Column("", 5)), id="themes")
            yield Table((Column("", 9), Column("Port", 6), Column("Usually", 0)), id="ports")
        yield Facts(id="settings-facts")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.themes.write_title("Theme")
        self.themes.write_subtitle("Enter uses it")
        self.ports.write_title("Answer here too")
        self.ports.write_subtitle("Enter switches")

    def show_all(self) -> None:
        """Brings everything up to date."""
        self.show_settings()

    def server_changed(self) -> None:
        """Shows how the ports fare."""
        self.show_settings()

    def watch_theme_name(self) -> None:
        """Moves the mark."""
        if self.is_mounted:
            self.show_settings()

    def show_settings(self) -> None:
        """Sets the themes, with a mark at the one in use, and the settings as they hold now."""
        self.themes.rows = tuple(
            Row(
                palette.name,
                (
                    Cell(f"{'●' if palette.name == self.theme_name else '○'} {palette.title}"),
                    Cell("dark" if palette.dark else "light", "dim"),
                ),
            )
            for palette in self._palettes
        )
        self.ports.rows = port_rows(self.endpoint.extra_ports())
        self.facts.write_title("Settings that hold now")
        self.facts.write_subtitle(str(self.source.config_path))
        self.facts.facts = tuple(self._settings())

    @on(Table.Selected, "#themes")
    def choose(self, event: Table.Selected) -> None:
        """Uses a theme."""
        event.stop()
        self.post_message(ThemeIntent(event.key))

    @on(Table.Selected, "#ports")
    def switch(self, event: Table.Selected) -> None:
        """Answers on a port, or lets go of it."""
        event.stop()
        self.action_listen(int(event.key))

    def action_listen(self, port: int) -> None:
        """Asks the app to answer on a port, or to let go of it."""
        self.post_message(ListenIntent(port))

    def _settings(self) -> list[Fact]:
        source = self.source
        facts: list[Fact] = [
            ("file", str(source.config_path), ""),
            ("models in", source.config.models.dir or str(source.home.models_dir), ""),
            *port_facts(self.endpoint.extra_ports()),
            ("", "", ""),
        ]
        for section in source.config.__struct_fields__:
            values: dict[str, object] = msgspec.to_builtins(getattr(source.config, section))
            for place, (name, value) in enumerate(values.items()):
                shown = "(set)" if name in _SECRET and value else msgspec.json.encode(value).decode()
                facts.append((section if place == 0 else "", f"{name} = {shown}", ""))
        return facts
