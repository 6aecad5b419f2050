"""What OpenAI's clients are answered: events to whole answers, and the parts that chunks are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ...runtime.events import (
    Admitted,
    CallBegun,
    CallDelta,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    TopLogprob,
)
from ...runtime.formats.header import Ability
from ...runtime.models.model import ModelStatus
from ..errors import Failure

_LEAST_LOGPROB = -9999.0
"""What stands for minus infinity, which JSON has not."""


class Head(msgspec.Struct, frozen=True):
    """What every chunk and every whole answer begins with."""

    id: str
    object: str
    created: int
    """Seconds since 1970."""
    model: str
    """The id that serves the request."""
    system_fingerprint: str


class TopLogprobBody(msgspec.Struct, frozen=True):
    """One candidate at a position of a chat answer."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobBody(msgspec.Struct, frozen=True):
    """One position of a chat answer."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprobBody]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """The logprobs of a chat choice or of one of its chunks."""

    content: list[TokenLogprobBody]
    refusal: None = None


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """The logprobs of a completions choice or of one of its chunks, column by column."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]
    """Where each token begins in the choice's text, in characters."""


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """What became of the prompt's tokens."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """What the answer's tokens are."""

    reasoning_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Token counts; the choices of one prompt count it once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class FunctionAnswer(msgspec.Struct, frozen=True):
    """The function that is called."""

    name: str
    arguments: str
    """JSON text."""


class ToolCallAnswer(msgspec.Struct, frozen=True):
    """A call of a whole chat answer."""

    id: str
    function: FunctionAnswer
    type: Literal["function"] = "function"


class AssistantMessage(msgspec.Struct, frozen=True):
    """The message of a whole chat answer."""

    content: str | None
    """None where there are calls and no text."""
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    """What the model thought; missing where it did not."""
    tool_calls: list[ToolCallAnswer] | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """One choice of a whole chat answer."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class CompletionChoice(msgspec.Struct, frozen=True):
    """One choice of a whole completions answer, or of a chunk of one."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class ChatAnswer(Head, frozen=True, kw_only=True):
    """A whole answer of `/v1/chat/completions`."""

    choices: list[ChatChoice]
    usage: Usage


class CompletionAnswer(Head, frozen=True, kw_only=True):
    """A whole answer of `/v1/completions`."""

    choices: list[CompletionChoice]
    usage: Usage


class ModelEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of the list; what follows `owned_by` is not OpenAI's, some clients read it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int | None = None
    """What is served, else what the model was made for, in tokens."""
    max_model_len: int | None = None
    """The same, by the name that vLLM gave it."""
    ability: Ability | None = None
    """Whether it gives text, vectors or scores."""
    vision: bool = False
    """Whether it takes pictures."""
    parent: str | None = None
    """The model that an alias stands for."""
    tools: Literal["native", "generic"] | None = None
    """Of a loaded model: whether its own chat template knows tools, or it is told of them in the system message."""
    reasoning: bool = False
    """Of a loaded model: whether it is known to think before it answers."""


class ModelList(msgspec.Struct, frozen=True):
    """The answer of `/v1/models`."""

    data: list[ModelEntry]
    models: tuple[()] = ()
    """Codex reads a list of its own kind here. With entries it would take its instructions from them, so there are none."""
    object: Literal["list"] = "list"


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What is answered in place of anything else when something went wrong."""

    error: ErrorBody


@dataclass(slots=True)
class Tally:
    """Counts the tokens of an answer; its prompts' events come one prompt after the other."""

    prompts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def admit(self, event: Admitted) -> None:
        """Counts a prompt."""
        self.prompts += 1
        self.prompt_tokens += event.prompt_tokens

    def finish(self, event: Finished) -> None:
        """Counts a choice."""
        self.completion_tokens += event.completion_tokens
        self.reasoning_tokens += event.reasoning_tokens
        if event.index == 0:
            self.cached_tokens += event.cached_tokens

    def usage(self) -> Usage:
        """The counts as they are answered."""
        return Usage(
            self.prompt_tokens,
            self.completion_tokens,
            self.prompt_tokens + self.completion_tokens,
            PromptTokensDetails(self.cached_tokens),
            CompletionTokensDetails(self.reasoning_tokens),
        )


@dataclass(slots=True)
class CollectedCall:
    """A tool call as it grows."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class CollectedChoice:
    """One choice as it grows."""

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[CollectedCall] = field(default_factory=list[CollectedCall])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    reason: FinishReason = "stop"


class Collected:
    """Gathers one prompt's events for a whole answer."""

    def __init__(self, *, n: int, logprobs: bool) -> None:
        self.tally = Tally()
        self.choices = [CollectedChoice() for _ in range(n)]
        self.has_logprobs = logprobs
        self.model = ""

    def add(self, batch: Iterable[Event]) -> None:
        """Takes in what arrived."""
        for event in batch:
            match event:
                case TextDelta():
                    choice = self.choices[event.index]
                    choice.texts.append(event.text)
                    choice.logprobs.extend(event.logprobs)
                case Admitted():
                    self.model = event.model
                    self.tally.admit(event)
                case ReasoningDelta():
                    self.choices[event.index].thoughts.append(event.text)
                case CallBegun():
                    self.choices[event.index].calls.append(CollectedCall(event.id, event.name))
                case CallDelta():
                    self.choices[event.index].calls[event.call].arguments.append(event.text)
                case Finished():
                    self.choices[event.index].reason = event.reason
                    self.tally.finish(event)

    def keep_best(self, count: int) -> None:
        """Keeps so many choices, those whose tokens were likeliest on average, the best first."""
        if count < len(self.choices):
            self.choices = sorted(self.choices, key=_mean_logprob, reverse=True)[:count]


def _mean_logprob(choice: CollectedChoice) -> float:
    return sum(map(_logprob, choice.logprobs)) / max(1, len(choice.logprobs))


def to_chat_answer(head: Head, collected: Collected) -> ChatAnswer:
    """Makes the whole answer of a chat."""
    choices = [
        ChatChoice(
            index,
            _to_message(choice),
            to_chat_logprobs(choice.logprobs) if collected.has_logprobs else None,
            choice.reason,
        )
        for index, choice in enumerate(collected.choices)
    ]
    return ChatAnswer(
        head.id,
        head.object,
        head.created,
        collected.model,
        head.system_fingerprint,
        choices=choices,
        usage=collected.tally.usage(),
    )


def _to_message(choice: CollectedChoice) -> AssistantMessage:
    text = "".join(choice.texts)
    calls = [ToolCallAnswer(call.id, FunctionAnswer(call.name, "".join(call.arguments))) for call in choice.calls]
    return AssistantMessage(
        text if text or not calls else None,
        reasoning_content="".join(choice.thoughts) if choice.thoughts else msgspec.UNSET,
        tool_calls=calls or msgspec.UNSET,
    )


def to_completion_answer(head: Head, prompts: Sequence[Collected], *, echoes: Sequence[str] = ()) -> CompletionAnswer:
    """Makes the whole answer for one or more prompts; their choices are numbered through.

    Args:
        head: what the answer begins with.
        prompts: what came for each.
        echoes: a text for each prompt that its choices begin with; () is none.
    """
    choices: list[CompletionChoice] = []
    total = Tally()
    for at, collected in enumerate(prompts):
        echo = echoes[at] if echoes else ""
        for choice in collected.choices:
            logprobs = to_completion_logprobs(choice.logprobs, 0) if collected.has_logprobs else None
            choices.append(CompletionChoice(len(choices), echo + "".join(choice.texts), logprobs, choice.reason))
        total.prompt_tokens += collected.tally.prompt_tokens
        total.completion_tokens += collected.tally.completion_tokens
        total.cached_tokens += collected.tally.cached_tokens
        total.reasoning_tokens += collected.tally.reasoning_tokens
    model = prompts[0].model
    return CompletionAnswer(
        head.id, head.object, head.created, model, head.system_fingerprint, choices=choices, usage=total.usage()
    )


def to_model_entry(status: ModelStatus, *, created: int, alias: str | None = None) -> ModelEntry:
    """Shows a model as the list has it, or an alias of it."""
    context_length = status.served_context_length
    return ModelEntry(
        status.model.id if alias is None else alias,
        "model",
        created,
        status.model.store,
        context_length,
        context_length,
        status.model.header.ability,
        status.model.projector is not None,
        None if alias is None else status.model.id,
        status.tools,
        status.thinks,
    )


def to_error(failure: Failure) -> ErrorAnswer:
    """Puts a failure into OpenAI's error object."""
    return ErrorAnswer(ErrorBody(failure.message, failure.kind, failure.param, failure.code))


def text_of(token: TokenLogprob | TopLogprob) -> str:
    """A token's text; bytes that are no whole character are replaced."""
    return token.text.decode("utf-8", "replace")


def _logprob(token: TokenLogprob | TopLogprob) -> float:
    return max(token.logprob, _LEAST_LOGPROB)


def to_chat_logprobs(tokens: Iterable[TokenLogprob]) -> ChatLogprobs:
    """Puts logprobs into the chat endpoint's form."""
    return ChatLogprobs(
        [
            TokenLogprobBody(
                text_of(token),
                _logprob(token),
                list(token.text),
                [TopLogprobBody(text_of(top), _logprob(top), list(top.text)) for top in token.top],
            )
            for token in tokens
        ]
    )


def to_completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs:
    """Puts logprobs into the completions endpoint's form; `offset` is where the first token's text begins."""
    texts = [text_of(token) for token in tokens]
    offsets: list[int] = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    tops = [{text_of(top): _logprob(top) for top in token.top} for token in tokens]
    return CompletionLogprobs(texts, [_logprob(token) for token in tokens], tops, offsets)
