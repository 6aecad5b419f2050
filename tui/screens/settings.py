"""The pane of settings: the theme to choose, and what holds now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import getters, on
from textual.app import ComposeResult
from textual.reactive import reactive

from ..intents import ThemeIntent
from ..source import Endpoint, Source
from ..theming import Palette
from ..widgets.facts import Fact, Facts
from ..widgets.table import Cell, Column, Row, Table
from .pane import Pane

_SECRET = {"api_key"}


class SettingsPane(Pane):
    """Themes at the left, all settings at the right."""

    TITLE = "Settings"
    FOCUS = "#themes"
    HELP: ClassVar[str | None] = """\
Enter on a theme uses it from now on and writes it to the settings file. All other settings stand in that file, each \
with a comment; they are read when Impetus starts."""

    themes = getters.query_one("#themes", Table)
    facts = getters.query_one("#settings-facts", Facts)

    theme_name = reactive("", init=False, repaint=False)
    """The theme in use."""

    def __init__(self, source: Source, endpoint: Endpoint, palettes: Sequence[Palette], *, id: str) -> None:  # noqa: A002
        super().__init__(source, endpoint, id=id)
        self._palettes = tuple(palettes)

    def compose(self) -> ComposeResult:
        """Puts the themes beside the settings."""
        yield Table((Column("Theme", 0), Column("", 5)), id="themes")
        yield Facts(id="settings-facts")

    def on_mount(self) -> None:
        """Writes the titles."""
        self.themes.write_title("Theme")
        self.themes.write_subtitle("Enter uses it")

    def show_all(self) -> None:
        """Brings everything up to date."""
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
        self.facts.write_title("Settings that hold now")
        self.facts.write_subtitle(str(self.source.config_path))
        self.facts.facts = tuple(self._settings())

    @on(Table.Selected, "#themes")
    def choose(self, event: Table.Selected) -> None:
        """Uses a theme."""
        event.stop()
        self.post_message(ThemeIntent(event.key))

    def _settings(self) -> list[Fact]:
        source = self.source
        facts: list[Fact] = [
            ("file", str(source.config_path), ""),
            ("models in", source.config.models.dir or str(source.home.models_dir), ""),
            ("", "", ""),
        ]
        for section in source.config.__struct_fields__:
            values: dict[str, object] = msgspec.to_builtins(getattr(source.config, section))
            for place, (name, value) in enumerate(values.items()):
                shown = "(set)" if name in _SECRET and value else msgspec.json.encode(value).decode()
                facts.append((section if place == 0 else "", f"{name} = {shown}", ""))
        return facts
