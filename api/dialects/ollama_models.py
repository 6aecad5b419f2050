"""What Ollama's clients are told of models, and how they ask for, copy, make and remove them.

Fields after https://github.com/ollama/ollama/blob/main/docs/api.md; fields that are not known here are ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ...runtime.config import AliasConfig
from ...runtime.errors import InvalidRequest
from ...runtime.made_aliases import MadeAlias
from ...runtime.models.download import Download
from ...runtime.models.model import Model, ModelStatus
from .ollama import Preset
from .ollama_answers import to_time
from .ollama_options import NULL, Options, merge

API_VERSION = "0.18.0"
"""Which Ollama's API this is: GitHub Copilot wants 0.6.4, Codex 0.13.4, Claude Code 0.14.0 or newer."""
Capability = Literal["completion", "tools", "vision", "thinking", "insert", "embedding"]
FOREVER = "2300-01-01T00:00:00Z"
"""When a model leaves that stays; Ollama's command line writes "Forever" for times that far away."""
_THINKING_MARKS = (
    "<think>",
    "</think>",
    "enable_thinking",
    "reasoning_effort",
    "reasoning_content",
    "[THINK]",
    "<|channel",
)
"""What a chat template has one of where its model thinks before it answers."""
_BILLION, _MILLION = 1_000_000_000, 1_000_000


class VersionAnswer(msgspec.Struct, frozen=True):
    """The answer of `/api/version`."""

    version: str = API_VERSION


class Details(msgspec.Struct, frozen=True):
    """What a model is, in short; "" is unknown."""

    parent_model: str
    """The model that an alias stands for."""
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of `/api/tags`."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details
    capabilities: list[Capability]
    context_length: int | None = None
    """What is served, or would be; left out where it is unknown, as the next one."""
    max_context_length: int | None = None
    """What the model was made for."""


class RunningEntry(ModelEntry, frozen=True, kw_only=True, omit_defaults=True):
    """One model of `/api/ps`."""

    size_vram: int
    """How much of it is in the memory of a GPU."""
    expires_at: str


class TagsAnswer(msgspec.Struct, frozen=True):
    """The answer of `/api/tags`."""

    models: list[ModelEntry]


class RunningAnswer(msgspec.Struct, frozen=True):
    """The answer of `/api/ps`."""

    models: list[RunningEntry]


class ShowAnswer(msgspec.Struct, frozen=True):
    """The answer of `/api/show`."""

    modelfile: str
    parameters: str
    template: str
    """The model's own chat template, in Jinja; names `.Suffix` where the model fills gaps, as clients look for that."""
    system: str
    license: str
    details: Details
    model_info: dict[str, str | int]
    capabilities: list[Capability]
    modified_at: str


class NameBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the routes that take a model's name, by either field."""

    model: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str:
        """The name; raises InvalidRequest where there is none."""
        wanted = (self.model or self.name or "").strip()
        if not wanted:
            raise InvalidRequest("The field 'model' is missing.", param="model", code="missing_required_parameter")
        return wanted


class PullBody(NameBody, frozen=True, kw_only=True):
    """The body of `POST /api/pull`."""

    stream: bool | None = None
    """Not given, it is true."""


class CopyBody(msgspec.Struct, frozen=True):
    """The body of `POST /api/copy`."""

    source: str
    destination: str


class CreateBody(NameBody, frozen=True, kw_only=True):
    """The body of `POST /api/create`."""

    base: str | None = msgspec.field(default=None, name="from")
    system: str | None = None
    parameters: Options | None = None
    stream: bool | None = None
    template: str | None = None
    files: msgspec.Raw = NULL
    adapters: msgspec.Raw = NULL
    messages: msgspec.Raw = NULL
    quantize: str | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far something has come."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None


NAME = msgspec.json.Decoder(NameBody)
PULL = msgspec.json.Decoder(PullBody)
COPY = msgspec.json.Decoder(CopyBody)
CREATE = msgspec.json.Decoder(CreateBody)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model under one of its names."""

    name: str
    """As clients ask for it: its id, or an alias."""
    status: ModelStatus
    modified_epoch_s: float
    planned_context: int | None
    """What it would be loaded with."""
    alias: AliasConfig | None = None
    """None where the name is the model's id."""

    @property
    def model(self) -> Model:
        """The model itself."""
        return self.status.model

    @property
    def context_length(self) -> int | None:
        """What is served while it is loaded, else what would be."""
        return self.status.context_length or self.planned_context or self.model.header.context_length


def to_entry(facts: Facts) -> ModelEntry:
    """Shows a model as `/api/tags` has it."""
    return ModelEntry(
        name=facts.name,
        model=facts.name,
        modified_at=to_time(facts.modified_epoch_s),
        size=facts.model.header.size_bytes,
        digest=to_digest(facts.model),
        details=to_details(facts),
        capabilities=to_capabilities(facts.model),
        context_length=facts.context_length,
        max_context_length=facts.model.header.context_length,
    )


def to_running_entry(facts: Facts, *, on_gpu: bool, leaves_epoch_s: float | None) -> RunningEntry:
    """Shows a loaded model; None for when it leaves is never."""
    entry = msgspec.structs.asdict(to_entry(facts))
    entry["size"] = size = facts.status.memory_bytes or facts.model.header.size_bytes
    expires_at = FOREVER if leaves_epoch_s is None else to_time(leaves_epoch_s)
    return RunningEntry(**entry, size_vram=size if on_gpu else 0, expires_at=expires_at)


def to_show(facts: Facts) -> ShowAnswer:
    """Shows a model in full."""
    header, preset = facts.model.header, to_preset(facts.alias)
    template = header.chat_template or "{{ .Prompt }}"
    if header.fills_gaps:
        template += "{# .Prompt, .Suffix: fills gaps #}"
    parameters = to_parameters(facts, preset.options)
    lines = [f"FROM {facts.model.id}", *(f"PARAMETER {line}" for line in parameters)]
    if preset.system:
        lines.append(f'SYSTEM """{preset.system}"""')
    return ShowAnswer(
        modelfile="\n".join(lines) + "\n",
        parameters="\n".join(parameters),
        template=template,
        system=preset.system,
        license="",
        details=to_details(facts),
        model_info=_to_info(facts),
        capabilities=to_capabilities(facts.model),
        modified_at=to_time(facts.modified_epoch_s),
    )


def to_parameters(facts: Facts, options: Options) -> list[str]:
    """Writes parameters as Ollama does, a line each; `num_ctx` is the context that is served."""
    lines = [] if facts.context_length is None else [f"num_ctx {facts.context_length}"]
    for name, value in _given(options).items():
        if name == "stop":
            lines += [f"stop {json.dumps(text, ensure_ascii=False)}" for text in options.stops]
        else:
            lines.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return lines


def to_capabilities(model: Model) -> list[Capability]:
    """Says what a model can; tools are offered to every one that writes text, by a general form where its template has none."""
    if model.header.ability != "text":
        return ["embedding"] if model.header.ability == "embedding" else []
    capabilities: list[Capability] = ["completion", "tools"]
    if model.projector is not None:
        capabilities.append("vision")
    if any(mark in (model.header.chat_template or "") for mark in _THINKING_MARKS):
        capabilities.append("thinking")
    if model.header.fills_gaps:
        capabilities.append("insert")
    return capabilities


def to_details(facts: Facts) -> Details:
    """Says in short what a model is."""
    header = facts.model.header
    family = header.architecture or header.format
    parent = "" if facts.alias is None else facts.model.id
    size = to_size(header.parameters)
    return Details(parent, header.format, family, [family], size, header.quantization or "")


def to_size(parameters: int | None) -> str:
    """Writes a number of parameters: "1.7B", "135M"; "" is unknown."""
    if parameters is None:
        return ""
    if parameters >= _BILLION:
        return f"{parameters / _BILLION:.1f}".removesuffix(".0") + "B"
    return f"{round(parameters / _MILLION)}M"


def to_digest(model: Model) -> str:
    """Gives what stands for a model's bytes as long as its file stays the same; its bytes are not read for it."""
    return hashlib.sha256(f"{model.path}\n{model.header.size_bytes}".encode("utf-8", "surrogateescape")).hexdigest()


def to_preset(alias: AliasConfig | None) -> Preset:
    """Gives what an alias brings along; nothing where it is of the settings, or none."""
    if not isinstance(alias, MadeAlias):
        return Preset()
    return Preset(alias.system, msgspec.convert(alias.parameters, Options))


def to_made_alias(body: CreateBody, base: str, under: AliasConfig | None) -> MadeAlias:
    """Makes what a new name stands for.

    Args:
        body: what a client wants.
        base: the id of the model.
        under: what the name that it is made from is an alias of; what goes with that holds where nothing else is given.

    Raises:
        InvalidRequest: something is wanted that is not kept.
    """
    for name, wanted in (("files", body.files), ("adapters", body.adapters), ("messages", body.messages)):
        if bytes(wanted).strip() not in (b"null", b"{}", b"[]"):
            raise _unsupported(name, "put GGUF files, of models and of adapters, into the models folder")
    if body.quantize or body.template:
        name = "quantize" if body.quantize else "template"
        raise _unsupported(name, "a name can have a system message and parameters of its own")
    preset = to_preset(under)
    options = merge(body.parameters, preset.options)
    return MadeAlias(
        model=base,
        lora={} if under is None else under.lora,
        system=preset.system if body.system is None else body.system,
        parameters=msgspec.convert(_given(options), dict[str, float | str | list[str]]),
    )


def to_copy(base: str, under: AliasConfig | None) -> MadeAlias:
    """Makes what a copy stands for: the model, and what goes with the name that is copied."""
    return to_made_alias(CreateBody(), base, under)


def to_new_name(name: str) -> str:
    """Checks a name that a client wants to give; raises InvalidRequest."""
    name = name.strip().removesuffix(":latest")
    if not name or len(name) > 255 or not name.isprintable():
        raise InvalidRequest("A name needs 1 to 255 printable characters.", param="model", code="invalid_value")
    return name


def to_progress(download: Download) -> Progress:
    """Says how far a download has come."""
    if download.total_bytes is None or download.file is None:
        return Progress("pulling manifest")
    digest = "sha256:" + hashlib.sha256(f"{download.repo}/{download.file}".encode()).hexdigest()
    if download.state == "checking" and download.done_bytes >= download.total_bytes:
        return Progress("verifying sha256 digest")
    return Progress(f"pulling {digest[7:19]}", digest, download.total_bytes, download.done_bytes)


def to_line(value: msgspec.Struct) -> bytes:
    """Writes one line of JSON."""
    return msgspec.json.encode(value) + b"\n"


def _to_info(facts: Facts) -> dict[str, str | int]:
    header = facts.model.header
    kind = header.architecture or header.format
    numbers: Sequence[tuple[str, int | None]] = (
        ("general.parameter_count", header.parameters),
        (f"{kind}.context_length", facts.context_length),
        (f"{kind}.embedding_length", header.embedding_length),
        (f"{kind}.block_count", header.layers),
        (f"{kind}.feed_forward_length", header.feed_forward_length),
        (f"{kind}.attention.head_count", header.heads),
        (f"{kind}.attention.head_count_kv", header.kv_heads),
        (f"{kind}.vocab_size", header.vocabulary_size),
    )
    info: dict[str, str | int] = {"general.architecture": kind, "general.basename": facts.name}
    return info | {name: number for name, number in numbers if number is not None}


def _given(options: Options) -> dict[str, float | str | list[str]]:
    """The options that have a value, by their names."""
    return {name: value for name in options.__struct_fields__ if (value := getattr(options, name)) is not None}


def _unsupported(name: str, instead: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' is not supported by this server: {instead}.", param=name, code="unsupported_parameter")
