"""The messages of the WebSocket `/impetus/v1/live`: JSON objects that `type` tells apart."""

from __future__ import annotations

import msgspec

from ...hw.sample import Sample
from .control import AddressEntry, DownloadEntry, GovernorEntry, ModelEntry, RequestEntry, StatusAnswer


class FullStatus(StatusAnswer, frozen=True, tag_field="type", tag="status"):
    """Everything; the first message, and again where a reader was too slow for single news."""


class Changed(msgspec.Struct, frozen=True, tag_field="type", tag="changed"):
    """Models, downloads, ports, governors or the tokens of running requests are different; lists are whole."""

    models: list[ModelEntry]
    running: list[RequestEntry]
    downloads: list[DownloadEntry]
    addresses: list[AddressEntry]
    governors: list[GovernorEntry]


class Sampled(msgspec.Struct, frozen=True, tag_field="type", tag="sample"):
    """The machine was read once more."""

    sample: Sample
    tokens_per_s: float
    """Of all models, over the last complete second."""


class RequestMoved(msgspec.Struct, frozen=True, tag_field="type", tag="request"):
    """A request came, reached another stage or ended."""

    request: RequestEntry


LiveMessage = FullStatus | Changed | Sampled | RequestMoved


def to_full_status(status: StatusAnswer) -> FullStatus:
    """Makes a message of a status."""
    return FullStatus(**msgspec.structs.asdict(status))


def to_changed(status: StatusAnswer) -> Changed:
    """Gives what changes more often than the rest of a status."""
    return Changed(status.models, status.running, status.downloads, status.addresses, status.governors)
