"""What the names in requests stand for: models, aliases from the settings and from clients, and adapters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from .config import AliasConfig
from .errors import InvalidRequest, UnknownModel
from .made_aliases import MadeAlias, MadeAliases
from .models.adapter import AdapterFile, choose_adapters
from .models.model import Model
from .models.registry import Registry
from .request import Adapter, AdapterChoice

_DEFAULT_TAG = ":latest"
"""What Ollama's clients put behind a name without a tag."""
_HOST = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co|registry\.ollama\.ai)/(?:library/)?", re.IGNORECASE)
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
    """Looks names up among the aliases of the settings, those of clients, and the models on the disk, in this order.

    Args:
        registry: the models.
        aliases: those of the settings.
        made: those of clients; `read_made` reads them.
    """

    def __init__(self, registry: Registry, aliases: Mapping[str, AliasConfig], made: MadeAliases) -> None:
        self._registry = registry
        self._settings = aliases
        self._made = made
        self._one_write = asyncio.Lock()
        self._aliases: dict[str, AliasConfig] = {}
        self._folded: dict[str, str] = {}
        self._gather()

    def read_made(self) -> None:
        """Reads the aliases that clients made; blocks."""
        self._made.read()
        self._gather()

    async def make(self, name: str, alias: MadeAlias) -> None:
        """Gives a model a further name, for good.

        Raises:
            InvalidRequest: the name is taken by a model, or by the settings.
            ConfigError: it cannot be written down.
        """
        known = self.find_alias(name)
        if known in self._settings:
            raise InvalidRequest(f"'{name}' is an alias of the settings; change it there.", code="name_taken")
        if any(model.id.casefold() == name.casefold() for model in self._registry.models):
            raise InvalidRequest(f"'{name}' is a model here; choose another name.", code="name_taken")
        await self._write(known or name, alias)

    async def take_back(self, name: str) -> bool:
        """Takes back a name that a client made; False where the name is no alias.

        Raises:
            InvalidRequest: it is of the settings.
            ConfigError: that cannot be written down.
        """
        alias = self.find_alias(name)
        if alias is None:
            return False
        if alias in self._settings:
            raise InvalidRequest(f"'{name}' is an alias of the settings; remove it there.", code="model_not_removable")
        await self._write(alias, None)
        return True

    @property
    def adapters(self) -> tuple[AdapterFile, ...]:
        """Every adapter on the disk, by number."""
        return self._registry.adapters

    def resolve(self, name: str) -> Model:
        """Finds the model that a name stands for; one with a tag, as "smollm2:latest", is also looked for without it.

        Raises:
            UnknownModel: none does; carries all names there are.
        """
        alias = self.find_alias(name)
        try:
            return self._find(name) if alias is None else self._registry.resolve(self._aliases[alias].model)
        except UnknownModel as error:
            if alias is not None:
                raise UnknownModel(error.model, error.known, alias=alias) from None
            raise UnknownModel(name, (*self._aliases, *error.known)) from None

    def find_alias(self, name: str) -> str | None:
        """Gives the alias that is meant by a name, as it was written down; None where it is none."""
        folded = name.casefold()
        return self._folded.get(folded) or self._folded.get(folded.removesuffix(_DEFAULT_TAG))

    def stands_for(self, name: str) -> AliasConfig | None:
        """Says what an alias is; None where the name is none."""
        alias = self.find_alias(name)
        return None if alias is None else self._aliases[alias]

    def aliases(self) -> dict[str, Model]:
        """The aliases whose model is on the disk, and that model."""
        found: dict[str, Model] = {}
        for name, alias in self._aliases.items():
            try:
                found[name] = self._registry.resolve(alias.model)
            except UnknownModel:
                continue
        return found

    def find_ids(self, names: Iterable[str]) -> frozenset[str]:
        """The ids of the models that names stand for; names of none are left out."""
        ids: set[str] = set()
        for name in names:
            with suppress(UnknownModel):
                ids.add(self.resolve(name).id)
        return frozenset(ids)

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

    def _gather(self) -> None:
        made = {name: alias for name, alias in self._made.all.items() if name not in self._settings}
        self._aliases = {**self._settings, **made}
        self._folded = {name.casefold(): name for name in reversed(self._aliases)}

    async def _write(self, name: str, alias: MadeAlias | None) -> None:
        async with self._one_write:
            await asyncio.to_thread(self._made.write, name, alias)
        self._gather()

    def _find(self, name: str) -> Model:
        try:
            return self._registry.resolve(name)
        except UnknownModel:
            for spelling in _other_spellings(name):
                try:
                    return self._registry.resolve(spelling)
                except UnknownModel:
                    continue
            if (model := self._find_by_repository(name)) is not None:
                return model
            raise

    def _find_by_repository(self, name: str) -> Model | None:
        """Finds a model by where it was downloaded from: "owner/repo", or with a quantisation or a file behind it."""
        repo, _, tag = _HOST.sub("", name, count=1).casefold().partition(":")
        for model in self._registry.models:
            marks = {"", "latest", model.path.name.casefold(), (model.header.quantization or "").casefold()}
            if model.repo is not None and model.repo.casefold() == repo and tag in marks:
                return model
        return None


def _other_spellings(name: str) -> Iterator[str]:
    """How a name with a tag may be an id: "qwen3:8b" begins "Qwen3-8B-Q4_K_M"."""
    bare = _HOST.sub("", name, count=1)
    base, colon, tag = bare.rpartition(":")
    if colon and base:
        yield base if tag.casefold() == "latest" else f"{base}-{tag}"
    elif bare != name:
        yield bare
