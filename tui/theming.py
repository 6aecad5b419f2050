"""Palettes: the files in `themes/palettes` as Textual themes."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import msgspec
from textual.theme import Theme

DEFAULT_THEME = "impetus-dark"


class BaseColors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The colours every Textual theme has, as "#rrggbb"."""

    primary: str
    secondary: str
    accent: str
    warning: str
    error: str
    success: str
    foreground: str
    background: str
    surface: str
    """Behind bars, fields and dialogs."""
    panel: str
    """Behind the title."""


class Palette(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One palette file."""

    name: str
    title: str
    """What people read in the list of themes."""
    dark: bool
    colors: BaseColors
    variables: dict[str, str]
    """What our stylesheets need beyond them."""

    def to_theme(self) -> Theme:
        """Gives the palette as Textual takes it."""
        return Theme(
            name=self.name,
            dark=self.dark,
            variables=dict(self.variables),
            primary=self.colors.primary,
            secondary=self.colors.secondary,
            accent=self.colors.accent,
            warning=self.colors.warning,
            error=self.colors.error,
            success=self.colors.success,
            foreground=self.colors.foreground,
            background=self.colors.background,
            surface=self.colors.surface,
            panel=self.colors.panel,
        )


def read_palettes() -> tuple[Palette, ...]:
    """Reads all palettes, the default one first; a few kilobytes."""
    folder = files("impetus.themes.palettes")
    found = [
        msgspec.convert(tomllib.loads(entry.read_text(encoding="utf-8")), Palette)
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    ]
    return tuple(sorted(found, key=lambda palette: (palette.name != DEFAULT_THEME, palette.name)))
