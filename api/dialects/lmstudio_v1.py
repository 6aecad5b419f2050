"""LM Studio's REST API for models, `/api/v1/models…`, and how all of `/api/v1` words errors.

After https://lmstudio.ai/docs/developer/rest/list, `…/load`, `…/unload`, `…/download` and `…/download-status`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import DownloadError, InvalidRequest
from ...runtime.models.download import Download, DownloadState
from ...runtime.models.model import ModelStatus
from ...runtime.models.reference import parse_reference
from ...runtime.tuning.wishes import LoadWishes
from ..errors import Failure
from .lmstudio_facts import Domain, takes_tools, to_bits, to_domain, to_longest, to_publisher, to_size

Name = Annotated[str, Meta(min_length=1, max_length=1024)]
ErrorType = Literal["invalid_request", "model_not_found", "job_not_found", "internal_error"]
JobStatus = Literal["downloading", "completed", "failed"]

_JOB_STATES: dict[DownloadState, JobStatus] = {"done": "completed", "failed": "failed", "cancelled": "failed"}
_SHOWN_FORMATS = {"gguf", "mlx"}


class LoadBody(msgspec.Struct, frozen=True):
    """The body of `POST /api/v1/models/load`; flash attention and where the context memory lies are the plan's business."""

    model: Name
    context_length: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """At most what the model was made for; the answer says what is served."""
    eval_batch_size: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    echo_load_config: bool | None = None

    def wishes(self) -> LoadWishes | None:
        """Gives how the model is to be held; None where nothing was said."""
        return LoadWishes(self.context_length, self.eval_batch_size).or_none()


class UnloadBody(msgspec.Struct, frozen=True):
    """The body of `POST /api/v1/models/unload`."""

    instance_id: Name


class DownloadBody(msgspec.Struct, frozen=True):
    """The body of `POST /api/v1/models/download`."""

    model: Name
    """`owner/repo`, or the address of one on the Hub."""
    quantization: Annotated[str, Meta(max_length=100)] | None = None


class InstanceConfig(msgspec.Struct, frozen=True):
    """How a model is held."""

    context_length: int
    """What is served, in tokens."""


class Instance(msgspec.Struct, frozen=True):
    """A model in memory."""

    id: str
    config: InstanceConfig


class Quantization(msgspec.Struct, frozen=True):
    """How a model's weights are stored."""

    name: str | None
    bits_per_weight: int | None


class Capabilities(msgspec.Struct, frozen=True):
    """What a model can do besides writing text."""

    vision: bool
    trained_for_tool_use: bool


class ModelEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of the list."""

    type: Domain
    publisher: str
    key: str
    display_name: str
    quantization: Quantization | None
    size_bytes: int
    params_string: str | None
    loaded_instances: list[Instance]
    max_context_length: int | None
    """What the model was made for, in tokens."""
    format: str | None
    architecture: str | None = None
    capabilities: Capabilities | None = None


class ModelList(msgspec.Struct, frozen=True):
    """The answer of `GET /api/v1/models`."""

    models: list[ModelEntry]


class LoadAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model is in memory."""

    type: Domain
    instance_id: str
    load_time_seconds: float
    status: Literal["loaded"]
    load_config: InstanceConfig | None = None


class UnloadAnswer(msgspec.Struct, frozen=True):
    """A model is not in memory any more."""

    instance_id: str


class JobAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a download stands; what is not known is left out."""

    job_id: str
    status: JobStatus
    bytes_per_second: float | None = None
    estimated_completion: str | None = None
    """As times are written after ISO 8601."""
    completed_at: str | None = None
    total_size_bytes: int | None = None
    downloaded_bytes: int | None = None
    started_at: str | None = None
    error: str | None = None
    """Why it failed; not LM Studio's field."""


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """LM Studio's error object."""

    type: ErrorType
    message: str
    code: str | None = None
    param: str | None = None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What is answered in place of anything else when something went wrong."""

    error: ErrorBody


LOAD = msgspec.json.Decoder(LoadBody)
UNLOAD = msgspec.json.Decoder(UnloadBody)
DOWNLOAD = msgspec.json.Decoder(DownloadBody)


def to_model_list(listed: Iterable[tuple[str | None, ModelStatus]]) -> ModelList:
    """Shows models and aliases as the list has them."""
    return ModelList([_entry(status, alias or status.model.id) for alias, status in listed])


def to_load_answer(status: ModelStatus, name: str, *, echo: bool) -> LoadAnswer:
    """Says that a model is in memory, under the name that it was asked for by."""
    config = InstanceConfig(status.context_length or 0)
    return LoadAnswer(to_domain(status.model), name, status.load_s or 0.0, "loaded", config if echo else None)


def to_reference(body: DownloadBody) -> str:
    """Gives what is to be downloaded, as the runtime takes it; raises InvalidRequest where it names nothing."""
    reference = f"{body.model}:{body.quantization}" if body.quantization else body.model
    try:
        parse_reference(reference)
    except DownloadError as error:
        raise InvalidRequest(error.message, param="model", code="invalid_value") from error
    return reference


def to_job_answer(download: Download, now: datetime) -> JobAnswer:
    """Shows a download."""
    status = _JOB_STATES.get(download.state, "downloading")
    rate = download.rate_bytes_per_s if status == "downloading" else None
    finish = None
    if rate and download.total_bytes is not None:
        finish = now + timedelta(seconds=(download.total_bytes - download.done_bytes) / rate)
    return JobAnswer(
        job_id=download.id,
        status=status,
        bytes_per_second=rate,
        estimated_completion=_written(finish),
        completed_at=_written(_time(download.ended_epoch_s)) if status == "completed" else None,
        total_size_bytes=download.total_bytes,
        downloaded_bytes=download.done_bytes,
        started_at=_written(_time(download.started_epoch_s)),
        error=download.error,
    )


def to_error(failure: Failure) -> ErrorAnswer:
    """Puts a failure into LM Studio's error object."""
    return ErrorAnswer(ErrorBody(_error_type(failure), failure.message, failure.code, failure.param))


def _error_type(failure: Failure) -> ErrorType:
    if failure.code == "model_not_found":
        return "model_not_found"
    if failure.code == "job_not_found":
        return "job_not_found"
    return "invalid_request" if failure.status < 500 else "internal_error"


def _entry(status: ModelStatus, name: str) -> ModelEntry:
    model, header = status.model, status.model.header
    domain = to_domain(model)
    loaded = status.state == "ready" and status.context_length is not None
    return ModelEntry(
        type=domain,
        publisher=to_publisher(model),
        key=name,
        display_name=header.name or name,
        quantization=Quantization(header.quantization, to_bits(header.quantization)) if header.quantization else None,
        size_bytes=header.size_bytes,
        params_string=to_size(header.parameters),
        loaded_instances=[Instance(name, InstanceConfig(status.context_length or 0))] if loaded else [],
        max_context_length=to_longest(status),
        format=header.format if header.format in _SHOWN_FORMATS else None,
        architecture=header.architecture if domain == "llm" else None,
        capabilities=Capabilities(model.projector is not None, takes_tools(model)) if domain == "llm" else None,
    )


def _time(epoch_s: float | None) -> datetime | None:
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s, UTC)


def _written(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
