"""What LM Studio's SDKs are told of models on a WebSocket, and how they name them.

After the schemas of https://github.com/lmstudio-ai/lmstudio-js, `packages/lms-shared-types`. Numbers that they demand and that
are not known are 0 there.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ...runtime.models.model import ModelStatus
from .lmstudio_facts import Domain, takes_tools, to_bits, to_container, to_domain, to_longest, to_publisher, to_size


class ModelQuery(msgspec.Struct, frozen=True):
    """What a model must be; one without an identifier and a path is any in memory."""

    identifier: str | None = None
    path: str | None = None


class QuerySpecifier(msgspec.Struct, frozen=True, tag_field="type", tag="query"):
    """A model by what it must be."""

    query: ModelQuery


class ReferenceSpecifier(msgspec.Struct, frozen=True, tag_field="type", tag="instanceReference", rename="camel"):
    """A model in memory by its reference."""

    instance_reference: str


Specifier = QuerySpecifier | ReferenceSpecifier


class Quantization(msgspec.Struct, frozen=True):
    """How weights are stored."""

    name: str
    bits: int


class ModelInfo(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A model on the disk; what is unset is not known, or not so for models that give vectors."""

    type: Domain
    model_key: str
    format: str
    display_name: str
    publisher: str
    path: str
    """The same as its key; a key may stand wherever a path is asked for."""
    size_bytes: int
    indexed_model_identifier: str
    device_identifier: None = None
    params_string: str | msgspec.UnsetType = msgspec.UNSET
    architecture: str | msgspec.UnsetType = msgspec.UNSET
    quantization: Quantization | msgspec.UnsetType = msgspec.UNSET
    vision: bool | msgspec.UnsetType = msgspec.UNSET
    trained_for_tool_use: bool | msgspec.UnsetType = msgspec.UNSET
    max_context_length: int


class InstanceInfo(ModelInfo, frozen=True, rename="camel", kw_only=True):
    """A model in memory."""

    identifier: str
    instance_reference: str
    ttl_ms: None = None
    last_used_time: None = None
    context_length: int
    """What is served, in tokens."""


class KvField(msgspec.Struct, frozen=True):
    """One setting."""

    key: str
    value: msgspec.Raw = msgspec.Raw(b"null")


class KvConfig(msgspec.Struct, frozen=True):
    """Settings, in LM Studio's form."""

    fields: tuple[KvField, ...] = ()


class KvLayer(msgspec.Struct, frozen=True, rename="camel"):
    """Settings of one origin."""

    layer_name: str = ""
    config: KvConfig = KvConfig()


class KvStack(msgspec.Struct, frozen=True):
    """Settings of several origins."""

    layers: tuple[KvLayer, ...] = ()


class ProcessingState(msgspec.Struct, frozen=True):
    """What a model is busy with."""

    status: Literal["idle", "generating"]
    queued: int = 0


class Version(msgspec.Struct, frozen=True):
    """Which version serves."""

    version: str
    build: int


class Loaded(msgspec.Struct, frozen=True):
    """A model came to memory, or was there."""

    type: Literal["success", "alreadyLoaded", "loadSuccess"]
    info: InstanceInfo


class LoadBegun(msgspec.Struct, frozen=True):
    """Which model is meant, or begins to be loaded."""

    type: Literal["resolved", "startLoading"]
    info: ModelInfo
    identifier: str


ProgressWord = Literal["progress", "loadProgress"]


class LoadProgress(msgspec.Struct, frozen=True):
    """How far loading has come."""

    type: ProgressWord
    progress: float


def to_info(status: ModelStatus, name: str) -> ModelInfo:
    """Shows a model on the disk, under a name of it."""
    model, header = status.model, status.model.header
    bits, writes = to_bits(header.quantization), to_domain(model) == "llm"
    return ModelInfo(
        type=to_domain(model),
        model_key=name,
        format=to_container(model),
        display_name=header.name or name,
        publisher=to_publisher(model),
        path=name,
        size_bytes=header.size_bytes,
        indexed_model_identifier=name,
        params_string=to_size(header.parameters) or msgspec.UNSET,
        architecture=header.architecture or msgspec.UNSET,
        quantization=Quantization(header.quantization, bits) if header.quantization and bits else msgspec.UNSET,
        vision=model.projector is not None if writes else msgspec.UNSET,
        trained_for_tool_use=takes_tools(model) if writes else msgspec.UNSET,
        max_context_length=to_longest(status) or 0,
    )


def to_instance(status: ModelStatus, name: str) -> InstanceInfo:
    """Shows a model in memory, under a name of it."""
    facts = msgspec.structs.asdict(to_info(status, name))
    return InstanceInfo(**facts, identifier=name, instance_reference=name, context_length=status.context_length or 0)


def to_load_config(status: ModelStatus) -> KvConfig:
    """Says how a model is held."""
    length = str(status.context_length or 0).encode()
    return KvConfig((KvField(f"{to_domain(status.model)}.load.contextLength", msgspec.Raw(length)),))


def to_state(status: ModelStatus) -> ProcessingState:
    """Says what a model is busy with."""
    return ProcessingState("generating" if status.running else "idle")


def named(specifier: Specifier) -> str | None:
    """Gives the name that a specifier has; None where any model in memory will do."""
    if isinstance(specifier, ReferenceSpecifier):
        return specifier.instance_reference
    return specifier.query.identifier or specifier.query.path
