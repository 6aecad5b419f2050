from __future__ import annotations

import pytest
from textual.color import Color

from impetus.tui.theming import DEFAULT_THEME, Palette, read_palettes

PALETTES = read_palettes()


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(color: str) -> float:
        parts = [value / 255 for value in Color.parse(color).rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_there_are_enough_palettes_and_the_default_comes_first():
    assert PALETTES[0].name == DEFAULT_THEME
    assert len(PALETTES) >= 4
    assert any(not palette.dark for palette in PALETTES)
    assert "impetus-high-contrast" in {palette.name for palette in PALETTES}


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
def test_every_palette_states_the_same_variables(palette: Palette):
    assert set(palette.variables) == set(PALETTES[0].variables)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
def test_text_can_be_read(palette: Palette):
    colors, least = palette.colors, 7.0 if palette.name == "impetus-high-contrast" else 4.5
    for background in (colors.background, colors.surface):
        assert contrast(colors.foreground, background) >= 7
        words = (colors.primary, colors.success, colors.warning, colors.error, palette.variables["dim"])
        for word in words:
            assert contrast(word, background) >= least
    assert contrast(colors.foreground, palette.variables["cursor"]) >= 7
    assert contrast(colors.background, colors.primary) >= 4.5
    for name, color in palette.variables.items():
        if name.startswith(("series-", "memory-")) and name != "memory-free":
            assert contrast(color, colors.background) >= 3
