"""Further names for models that clients made, with what goes with them; kept in a file of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

from .config import AliasConfig
from .errors import ConfigError

log = logging.getLogger(__name__)

FILE_NAME = "made-aliases.json"


class MadeAlias(AliasConfig, frozen=True, omit_defaults=True):
    """What a name that a client made stands for."""

    system: str = ""
    """The system message of conversations that have none."""
    parameters: dict[str, float | str | list[str]] = msgspec.field(default_factory=dict[str, float | str | list[str]])
    """How tokens are chosen where a request does not say it, by Ollama's names."""


class MadeAliases:
    """The names that clients made: in memory, and in a file that is written with each change."""

    def __init__(self, path: Path) -> None:
        """Touches nothing yet."""
        self._path = path
        self._aliases: dict[str, MadeAlias] = {}

    @property
    def all(self) -> Mapping[str, MadeAlias]:
        """Every one by its name."""
        return self._aliases

    def read(self) -> None:
        """Reads the file; blocks. One that is damaged is put aside."""
        try:
            self._aliases = msgspec.json.decode(self._path.read_bytes(), type=dict[str, MadeAlias])
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", self._path, error)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            aside = self._path.with_name(self._path.name + ".damaged")
            log.warning("%s is damaged and put aside as %s: %s", self._path, aside.name, error)
            self._path.replace(aside)

    def write(self, name: str, alias: MadeAlias | None) -> None:
        """Adds or changes a name, or removes it with None; blocks. Raises ConfigError where it cannot be written down."""
        aliases = {known: stands_for for known, stands_for in self._aliases.items() if known != name}
        if alias is not None:
            aliases[name] = alias
        draft = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(aliases)))
            draft.replace(self._path)
        except OSError as error:
            raise ConfigError(f"cannot be written: {error}", path=self._path) from error
        self._aliases = aliases
