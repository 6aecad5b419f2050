"""The models that clients are shown: those that can be served, and the settings' aliases of them."""

from __future__ import annotations

from ..runtime.models.model import ModelStatus
from ..runtime.runtime import Runtime

Listed = tuple[str | None, ModelStatus]
"""An alias, or None where a model stands under its own id, and how the model stands."""


async def list_models(runtime: Runtime) -> list[Listed]:
    """Gives every model that can be served, its aliases first; an alias hides a model of its name, as in requests."""
    await runtime.scanned.wait()
    statuses = {status.model.id: status for status in runtime.statuses() if status.model.problem is None}
    aliases = {name: statuses[model.id] for name, model in runtime.aliases().items() if model.id in statuses}
    hidden = {name.casefold() for name in aliases}
    return [*aliases.items(), *((None, status) for id_, status in statuses.items() if id_.casefold() not in hidden)]


async def find_listed(runtime: Runtime, name: str) -> Listed:
    """Finds what a name stands for; raises UnknownModel."""
    await runtime.scanned.wait()
    model = runtime.resolve(name)
    alias = next((alias for alias in runtime.aliases() if alias.casefold() == name.casefold()), None)
    return alias, find_status(runtime, model.id)


def find_status(runtime: Runtime, model_id: str) -> ModelStatus:
    """Says how a model stands that is known to be there."""
    return next(status for status in runtime.statuses() if status.model.id == model_id)
