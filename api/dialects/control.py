"""Impetus' own routes under `/impetus/v1`: what they take and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from ...hw.profile import CapabilityProfile
from ...hw.sample import Sample
from ...runtime.events import FinishReason, PrefixMiss
from ...runtime.formats.header import Format
from ...runtime.journal import RequestRecord, Stage
from ...runtime.models.download import Download
from ...runtime.models.model import ModelState, ModelStatus, Speed, StoreName
from ...runtime.scheduling.decisions import GovernorName, GovernorStatus, Kind
from ...runtime.scheduling.governors import Governors
from ...runtime.tuning.memory_budget import MemoryBudget
from ..extra_ports import LOOPBACK, ExtraPort, PortState


class ModelBody(msgspec.Struct, frozen=True):
    """The body of the routes that load and unload."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]


MODEL = msgspec.json.Decoder(ModelBody)


class ListenBody(msgspec.Struct, frozen=True):
    """The body of the route that opens further ports and lets go of them."""

    port: Annotated[int, Meta(ge=1024, le=65535)]
    on: bool


LISTEN = msgspec.json.Decoder(ListenBody)


class AddressEntry(msgspec.Struct, frozen=True):
    """One address where this server answers, or wants to."""

    url: str
    port: int
    state: PortState
    """`waiting`: another program holds the port, and it is tried again every few seconds."""
    problem: str | None
    """Who holds it."""
    clients: list[str]
    """Who came to one of the further ports, in the order of their first requests; of the main one nothing is kept."""


class ModelEntry(msgspec.Struct, frozen=True):
    """A model and what is done with it; null is what is not known, or not so now."""

    id: str
    state: ModelState
    format: Format
    store: StoreName
    size_bytes: int
    architecture: str | None
    quantization: str | None
    parameters: int | None
    trained_context_length: int | None
    """What the model was made for, in tokens."""
    context_length: int | None
    """What is served, while it is loaded."""
    engine: str | None
    pid: int | None
    load_s: float | None
    progress: float | None
    running: int
    failure: str | None
    problem: str | None
    """Why it cannot be served here."""
    vision: bool
    """Whether it takes pictures."""
    variant_of: str | None
    """The same model in a form that is served better here; null for the best one, and the only one."""
    decode: Speed | None
    """How fast it writes: `measured` on this machine, or `predicted` for 4,096 tokens of context."""
    prefill: Speed | None
    """How fast it reads a prompt."""


class RequestEntry(msgspec.Struct, frozen=True):
    """One request as the journal holds it."""

    id: str
    model: str
    client: str
    route: str
    stage: Stage
    at_epoch_s: float
    prompt_tokens: int | None
    completion_tokens: int
    cached_tokens: int | None
    """How many of the prompt's tokens were not computed again: the next two together."""
    ram_tokens: int | None
    disk_tokens: int | None
    computed_tokens: int | None
    """Null, as those before, until the prompt begins to be computed."""
    draft_tokens: int | None
    """How many tokens were guessed ahead."""
    accepted_tokens: int | None
    """How many of these were kept."""
    ttft_s: float | None
    decode_tps: float | None
    duration_s: float | None
    """From arrival to the end; null while it runs."""
    finish_reason: FinishReason | None
    error: str | None


class RequestDetails(RequestEntry, frozen=True):
    """One request with all that is known of it."""

    miss: PrefixMiss | None
    """Why not more of the prompt was reused; null where that could not be hoped for, or is not known."""


class DownloadEntry(msgspec.Struct, frozen=True):
    """One download."""

    id: str
    reference: str
    repo: str
    file: str | None
    state: str
    total_bytes: int | None
    done_bytes: int
    rate_bytes_per_s: float | None
    error: str | None


class GovernorEntry(msgspec.Struct, frozen=True):
    """What a governor does now, and why."""

    governor: GovernorName
    state: str
    """Of memory: normal, warn, critical; of heat: ok, warm, throttled, critical."""
    why: str
    actions: list[str]
    figures: list[str]


class DecisionEntry(msgspec.Struct, frozen=True):
    """One decision of a governor."""

    governor: GovernorName
    kind: Kind
    state: str
    text: str
    """What was decided and why, with the arithmetic."""
    actions: list[str]
    """What the governor does from then on."""
    at_epoch_s: float


class BudgetEntry(msgspec.Struct, frozen=True):
    """How the memory is divided, in bytes, before anybody's use is looked at."""

    total_bytes: int
    base_bytes: int
    system_bytes: int
    models_bytes: int
    why: str


class GovernorsAnswer(msgspec.Struct, frozen=True):
    """What is done about memory and heat, and why."""

    governors: list[GovernorEntry]
    decisions: list[DecisionEntry]
    """The newest first."""
    headroom: float
    """How much of its best speed the machine has now, 0 to 1."""
    headroom_estimated: bool
    """Whether that is a guess by the system's level, and not measured."""
    budget: BudgetEntry | None
    """Null where the memory is unknown."""


class StatusAnswer(msgspec.Struct, frozen=True):
    """Everything at a glance: what the dashboard's header and tables show."""

    version: str
    uptime_s: float
    url: str
    """As the asker reached it."""
    tokens_per_s: float
    """Of all models, over the last complete second."""
    profile: CapabilityProfile | None
    """The machine; null until it has been read."""
    sample: Sample | None
    """The machine's newest reading."""
    models: list[ModelEntry]
    running: list[RequestEntry]
    downloads: list[DownloadEntry]
    addresses: list[AddressEntry] = []
    """Where it listens: the main address first, then the further ports."""
    governors: list[GovernorEntry] = []
    """What is done about memory and heat now."""


class RequestsAnswer(msgspec.Struct, frozen=True):
    """The newest requests, newest first."""

    requests: list[RequestEntry]


class HealthAnswer(msgspec.Struct, frozen=True):
    """That the server answers."""

    status: str
    version: str


def to_address_entries(main_url: str, ports: Iterable[ExtraPort]) -> list[AddressEntry]:
    """Shows where the server listens."""
    main = AddressEntry(main_url, urlsplit(main_url).port or 80, "listening", None, [])
    return [main, *map(to_address_entry, ports)]


def to_address_entry(port: ExtraPort) -> AddressEntry:
    """Shows a further port."""
    return AddressEntry(f"http://{LOOPBACK}:{port.port}", port.port, port.state, port.problem, list(port.clients))


def to_model_entry(status: ModelStatus) -> ModelEntry:
    """Shows a model."""
    model, header = status.model, status.model.header
    return ModelEntry(
        id=model.id,
        state=status.state,
        format=header.format,
        store=model.store,
        size_bytes=header.size_bytes,
        architecture=header.architecture,
        quantization=header.quantization,
        parameters=header.parameters,
        trained_context_length=header.context_length,
        context_length=status.context_length,
        engine=status.engine,
        pid=status.pid,
        load_s=status.load_s,
        progress=status.progress,
        running=status.running,
        failure=status.failure,
        problem=model.problem,
        vision=model.projector is not None,
        variant_of=model.variant_of,
        decode=status.decode,
        prefill=status.prefill,
    )


def to_request_entry(record: RequestRecord) -> RequestEntry:
    """Shows a request."""
    prefix = record.prefix
    return RequestEntry(
        id=record.id,
        model=record.model,
        client=record.client,
        route=record.route,
        stage=record.stage,
        at_epoch_s=record.at_epoch_s,
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        cached_tokens=record.cached_tokens,
        ram_tokens=None if prefix is None else prefix.ram_tokens,
        disk_tokens=None if prefix is None else prefix.disk_tokens,
        computed_tokens=None if prefix is None else prefix.computed_tokens,
        draft_tokens=record.draft_tokens,
        accepted_tokens=record.accepted_tokens,
        ttft_s=record.ttft_s,
        decode_tps=record.decode_tps,
        duration_s=None if record.ended_s is None else record.ended_s - record.started_s,
        finish_reason=record.finish_reason,
        error=record.error,
    )


def to_request_details(record: RequestRecord) -> RequestDetails:
    """Shows all of a request."""
    entry = msgspec.structs.asdict(to_request_entry(record))
    return RequestDetails(**entry, miss=None if record.prefix is None else record.prefix.miss)


def to_request_entries(records: Iterable[RequestRecord]) -> list[RequestEntry]:
    """Shows requests."""
    return [to_request_entry(record) for record in records]


def to_governor_entries(statuses: Iterable[GovernorStatus]) -> list[GovernorEntry]:
    """Shows what the governors do."""
    return [
        GovernorEntry(status.governor, status.state, status.why, list(status.actions), list(status.figures))
        for status in statuses
    ]


def to_governors_answer(governors: Governors, budget: MemoryBudget | None, limit: int) -> GovernorsAnswer:
    """Shows what the governors do and what they decided of late."""
    headroom, estimated = governors.heat.headroom()
    return GovernorsAnswer(
        governors=to_governor_entries(governors.statuses()),
        decisions=[
            DecisionEntry(one.governor, one.kind, one.state, one.text, list(one.actions), one.at_epoch_s)
            for one in governors.decisions.newest(limit)
        ],
        headroom=headroom,
        headroom_estimated=estimated,
        budget=None
        if budget is None
        else BudgetEntry(budget.total_bytes, budget.base_bytes, budget.system_bytes, budget.models_bytes, budget.why),
    )


def to_download_entries(downloads: Sequence[Download]) -> list[DownloadEntry]:
    """Shows downloads."""
    return [
        DownloadEntry(
            id=download.id,
            reference=download.reference,
            repo=download.repo,
            file=download.file,
            state=download.state,
            total_bytes=download.total_bytes,
            done_bytes=download.done_bytes,
            rate_bytes_per_s=download.rate_bytes_per_s,
            error=download.error,
        )
        for download in downloads
    ]
