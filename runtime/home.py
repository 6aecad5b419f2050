"""Where Impetus keeps what it writes, and where it looks for its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .config import Config, read_config


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one installation; none needs to exist before it is written to."""

    settings_path: Path
    """The user's impetus.toml."""
    models_dir: Path
    cache_dir: Path
    state_dir: Path
    """Logs and the journal."""


def find_home(impetus_home: str | None) -> Home:
    """Gives the folders: all in one where IMPETUS_HOME names it, else where the platform keeps such things."""
    if impetus_home:
        root = Path(impetus_home).expanduser().absolute()
        return Home(root / "impetus.toml", root / "models", root / "cache", root / "state")
    return Home(
        settings_path=platformdirs.user_config_path("impetus") / "impetus.toml",
        models_dir=Path.home() / ".impetus" / "models",
        cache_dir=platformdirs.user_cache_path("impetus"),
        state_dir=platformdirs.user_state_path("impetus"),
    )


def find_config(home: Home, *, named: Path | None, folder: Path) -> tuple[Config, Path]:
    """Reads the settings that hold here, and says which file changes are written to.

    The first of these that exists: the named file, impetus.toml in the folder, the user's own; else the defaults.

    Raises:
        ConfigError: that file is wrong, or the named one is missing.
    """
    if named is not None:
        return read_config(named), named
    for path in (folder / "impetus.toml", home.settings_path):
        if path.is_file():
            return read_config(path), path
    return Config(), home.settings_path
