"""Which model is meant where none is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .config import Config, ServerConfig
from .errors import UnknownModel
from .loopback import is_loopback
from .models.model import Model, ModelStatus
from .naming import Names


def first_model(config: Config, models: Iterable[Model]) -> str | None:
    """The configured model, else the one model there is, else the starter."""
    if config.models.default:
        return config.models.default
    servable = [
        model for model in models if model.problem is None and model.store != "builtin" and model.header.ability == "text"
    ]
    starters = [model for model in servable if model.store == "starter"]
    if len(servable) == 1 or starters:
        return (starters or servable)[0].id
    return None


def takes_common_names(server: ServerConfig) -> bool:
    """Whether names that clients use for any model stand for the one that is meant."""
    return server.common_names == "on" or (server.common_names == "auto" and is_loopback(server.host))


def find_meant(config: Config, names: Names, models: Iterable[Model], statuses: Sequence[ModelStatus]) -> Model | None:
    """The model that is meant by a name for any: the configured one, else the one in memory, else the one there is."""
    try:
        if config.models.default:
            return names.resolve(config.models.default)
        here = [
            status.model
            for status in statuses
            if status.state in {"ready", "loading"} and status.model.header.ability == "text"
        ]
        if here:
            return here[0] if len(here) == 1 else None
        first = first_model(config, models)
        return None if first is None else names.resolve(first)
    except UnknownModel:
        return None
