"""The messages of an answer on a WebSocket of LM Studio's SDKs.

After https://github.com/lmstudio-ai/lmstudio-js, `llmBackendInterface.ts`. An answer is fragments of text, in which thoughts
stand between their marks, and calls of tools; `success` is its last message, also where it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, ReasoningDelta, TextDelta
from ...runtime.models.model import ModelStatus
from .lmstudio_config import Marks
from .lmstudio_facts import Reckoning, StopReason
from .lmstudio_infos import InstanceInfo, KvConfig, to_instance, to_load_config
from .lmstudio_predict import CallRequest
from .lmstudio_socket import ErrorBody

ReasoningType = Literal["none", "reasoning", "reasoningStartTag", "reasoningEndTag"]


class Fragment(msgspec.Struct, frozen=True, rename="camel"):
    """New text."""

    content: str
    tokens_count: int
    reasoning_type: ReasoningType = "none"
    contains_drafted: bool = False
    is_structural: bool = False
    """Whether it is a mark rather than what the model has to say."""


class FragmentPacket(msgspec.Struct, frozen=True, tag_field="type", tag="fragment"):
    """New text comes."""

    fragment: Fragment


class PromptDetails(msgspec.Struct, frozen=True, rename="camel"):
    """How far a prompt is computed, in tokens."""

    cached_token_count: int
    total_prompt_token_count: int
    processed_prompt_token_count: int
    unprocessed_prompt_token_count: int


class PromptPacket(msgspec.Struct, frozen=True, tag_field="type", tag="promptProcessingProgress"):
    """The prompt is being computed."""

    progress: float
    details: PromptDetails


class CallStartPacket(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallGenerationStart", rename="camel"):
    """The model begins to call a tool."""

    tool_call_id: str


class CallNamePacket(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallGenerationNameReceived"):
    """Which tool it is."""

    name: str


class CallPiecePacket(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallGenerationArgumentFragmentGenerated"):
    """New text of the call's arguments."""

    content: str


class CallEndPacket(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallGenerationEnd", rename="camel"):
    """The call is whole."""

    tool_call_request: CallRequest


class CallFailedPacket(msgspec.Struct, frozen=True, tag_field="type", tag="toolCallGenerationFailed", rename="camel"):
    """The call's arguments are no object."""

    error: ErrorBody
    raw_content: str


class Stats(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an answer took, and why it ended."""

    stop_reason: StopReason
    prompt_tokens_count: int
    predicted_tokens_count: int
    total_tokens_count: int
    stop_string: str | None = None
    tokens_per_second: float | None = None
    time_to_first_token_sec: float | None = None
    total_time_sec: float | None = None
    total_draft_tokens_count: int | None = None
    accepted_draft_tokens_count: int | None = None


class SuccessPacket(msgspec.Struct, frozen=True, tag_field="type", tag="success", rename="camel"):
    """The answer is over."""

    stats: Stats
    model_info: InstanceInfo
    load_model_config: KvConfig
    prediction_config: KvConfig


Packet = (
    FragmentPacket
    | PromptPacket
    | CallStartPacket
    | CallNamePacket
    | CallPiecePacket
    | CallEndPacket
    | CallFailedPacket
    | SuccessPacket
)


class Packets:
    """Turns the events of an answer into messages."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._reckoning = Reckoning()
        self._given = 0
        """Pieces of the answer so far: its tokens, where it is stopped."""
        self._thinks = False
        self._call: CallBegun | None = None
        self._arguments: list[str] = []

    def take(self, batch: Iterable[Event]) -> list[Packet]:
        """Gives the messages for what arrived."""
        events = tuple(batch)
        self._reckoning.add(events)
        packets: list[Packet] = []
        for event in events:
            packets += self._turn(event)
            self._given += isinstance(event, (TextDelta, ReasoningDelta, CallDelta))
            match event:
                case Admitted():
                    details = PromptDetails(0, event.prompt_tokens, 0, event.prompt_tokens)
                    packets.append(PromptPacket(0.0, details))
                case TextDelta() if event.text:
                    packets.append(FragmentPacket(Fragment(event.text, 1)))
                case ReasoningDelta() if event.text:
                    packets.append(FragmentPacket(Fragment(event.text, 1, "reasoning")))
                case CallBegun():
                    self._call = event
                    packets += (CallStartPacket(event.id), CallNamePacket(event.name))
                case CallDelta():
                    self._arguments.append(event.text)
                    packets.append(CallPiecePacket(event.text))
                case _:
                    pass
        return packets

    def end(self, status: ModelStatus, name: str, config: KvConfig) -> SuccessPacket:
        """Gives the last message; an answer that did not finish by itself was stopped by its reader.

        Args:
            status: how the model stands.
            name: what it was asked for by.
            config: the settings that the client sent.
        """
        told = self._reckoning
        tokens = self._given if told.stop_reason == "userStopped" else told.completion_tokens
        stats = Stats(
            told.stop_reason,
            told.prompt_tokens,
            tokens,
            told.prompt_tokens + tokens,
            told.stop_text,
            told.tokens_per_s,
            told.prefill_s or None,
            told.prefill_s + told.decode_s or None,
            told.draft_tokens or None,
            told.accepted_tokens if told.draft_tokens else None,
        )
        return SuccessPacket(stats, to_instance(status, name), to_load_config(status), config)

    def _turn(self, event: Event) -> list[Packet]:
        """Closes what an event ends, and opens what it begins."""
        packets: list[Packet] = []
        if self._call is not None and not isinstance(event, CallDelta):
            packets.append(self._end_call(self._call))
        thinks = isinstance(event, ReasoningDelta)
        if thinks != self._thinks:
            self._thinks = thinks
            mark = self._marks.start_string if thinks else self._marks.end_string
            kind: ReasoningType = "reasoningStartTag" if thinks else "reasoningEndTag"
            packets.append(FragmentPacket(Fragment(mark, 0, kind, is_structural=True)))
        return packets

    def _end_call(self, call: CallBegun) -> Packet:
        written = "".join(self._arguments)
        self._call, self._arguments = None, []
        try:
            msgspec.json.decode(written or "{}", type=dict[str, msgspec.Raw])
        except msgspec.DecodeError as error:
            message = f"The arguments of the call of '{call.name}' are no JSON object: {error}."
            return CallFailedPacket(ErrorBody(message, message), written)
        return CallEndPacket(CallRequest("function", call.name, call.id, msgspec.Raw((written or "{}").encode())))
