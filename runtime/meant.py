"""Which model is meant where nobody names one: at the start, and by the names that clients use for any."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .config import Config
from .errors import UnknownModel
from .loopback import is_loopback
from .models.model import Model, ModelStatus


def first_model(config: Config, models: Sequence[Model]) -> str | None:
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


def takes_common_names(config: Config) -> bool:
    """Whether names of hosted models stand for the model that is here."""
    server = config.server
    return server.common_names == "on" or (server.common_names == "auto" and is_loopback(server.host))


def find_meant(config: Config, statuses: Sequence[ModelStatus], resolve: Callable[[str], Model]) -> Model | None:
    """The model that is meant by a name for any: the configured one, else the one in memory, else the one there is."""
    try:
        if config.models.default:
            return resolve(config.models.default)
        here = [
            status.model
            for status in statuses
            if status.state in {"ready", "loading"} and status.model.header.ability == "text"
        ]
        if here:
            return here[0] if len(here) == 1 else None
        first = first_model(config, [status.model for status in statuses])
        return None if first is None else resolve(first)
    except UnknownModel:
        return None
