"""What the names in requests stand for: models, aliases from the settings, and adapters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .config import AliasConfig
from .errors import InvalidRequest, UnknownModel
from .models.adapter import AdapterFile, choose_adapters
from .models.model import Model
from .models.registry import Registry
from .request import Adapter, AdapterChoice

_COMMON = re.compile(
    r"(?:(?:openai|anthropic|google)/)?(?:(?:chat)?gpt-\d.*|chatgpt-.*|o\d(?:-.*)?|codex-.*|claude-.*|gemini-.*)"
    r"|default|local-model",
    re.IGNORECASE,
)
"""Hosted models, whose weights nobody has, and words for any model; gpt-oss is not among them."""


def is_common(name: str) -> bool:
    """Whether clients ask by this name for whatever model there is."""
    return not name or _COMMON.fullmatch(name) is not None


class Names:
    """Looks names up in the settings' aliases first, then among the models on the disk."""

    def __init__(self, registry: Registry, aliases: Mapping[str, AliasConfig]) -> None:
        self._registry = registry
        self._aliases = aliases
        self._folded = {name.casefold(): name for name in aliases}

    @property
    def adapters(self) -> tuple[AdapterFile, ...]:
        """Every adapter on the disk, by number."""
        return self._registry.adapters

    def resolve(self, name: str) -> Model:
        """Finds the model that a name stands for.

        Raises:
            UnknownModel: none does; carries all names there are.
        """
        alias = self.find_alias(name)
        try:
            return self._registry.resolve(name if alias is None else self._aliases[alias].model)
        except UnknownModel as error:
            if alias is not None:
                raise UnknownModel(error.model, error.known, alias=alias) from None
            raise UnknownModel(name, (*self._aliases, *error.known)) from None

    def find_alias(self, name: str) -> str | None:
        """Gives the alias that is meant by a name, as the settings write it; None where it is none."""
        return self._folded.get(name.casefold())

    def aliases(self) -> dict[str, Model]:
        """The aliases whose model is on the disk, and that model."""
        found: dict[str, Model] = {}
        for name, alias in self._aliases.items():
            try:
                found[name] = self._registry.resolve(alias.model)
            except UnknownModel:
                continue
        return found

    def choose_adapters(self, name: str, model: Model, wanted: Sequence[AdapterChoice] | None) -> tuple[Adapter, ...]:
        """Finds the adapters that a request names, or else those of its alias.

        Raises:
            InvalidRequest: there is no such adapter, or it does not fit the model.
        """
        if wanted is not None:
            return choose_adapters(wanted, model, self.adapters)
        alias = self.find_alias(name)
        if alias is None or not self._aliases[alias].lora:
            return ()
        choices = [AdapterChoice(adapter, scale) for adapter, scale in self._aliases[alias].lora.items()]
        try:
            return choose_adapters(choices, model, self.adapters, param=f"aliases.{alias}.lora")
        except InvalidRequest as error:
            raise InvalidRequest(f"The settings' {error.message}", param="model", code=error.code) from None
