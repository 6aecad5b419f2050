"""What llama-server's own clients send besides OpenAI's routes: `/infill`, `/tokenize`, `/detokenize`; both ways.

Fields after https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md. Clients of a server with one model name
none, so `model` may be missing. Fields that are not known here are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from ...runtime.questions import Detokenize, Detokenized, Rendered, Tokenize, Tokenized
from ...runtime.request import FileText, FillPrompt, GenerateRequest, Sampling
from ..errors import Failure
from .lora import AdapterBodies, to_choices

_INT32_MAX = 2**31 - 1
_HEARTBEAT = b": waiting\n\n"

TokenId = Annotated[int, Meta(ge=0, le=_INT32_MAX)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Snippet(msgspec.Struct, frozen=True):
    """Another file, or a part of one."""

    text: str
    filename: str = "tmp"


class InfillBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /infill`."""

    input_prefix: str
    input_suffix: str
    input_extra: list[Snippet] | None = None
    prompt: str | None = None
    """What already stands in the gap; it follows the prefix."""
    model: str | None = None
    stream: bool | None = None
    n_predict: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    """None and -1 are as many as the context holds; 0 only computes the prompt, so that the next request finds it done."""
    stop: str | list[str] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    cache_prompt: bool | None = None
    lora: AdapterBodies | None = None
    response_fields: list[str] | None = None
    """Only these are answered, as "content" or "timings/prompt_n"; None and [] are all."""


class TokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /tokenize`."""

    content: str | list[str | TokenId] | None = None
    add_special: bool | None = None
    parse_special: bool | None = None
    """Not given, it is true."""
    with_pieces: bool | None = None
    model: str | None = None


class DetokenizeBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /detokenize`."""

    tokens: list[TokenId] | None = None
    model: str | None = None


class Piece(msgspec.Struct, frozen=True):
    """One token and what it stands for."""

    id: int
    piece: str | list[int]
    """Its text, or its bytes where they are not whole UTF-8."""


class TokenizeAnswer(msgspec.Struct, frozen=True):
    """The answer of `/tokenize`."""

    tokens: list[int | Piece]


class DetokenizeAnswer(msgspec.Struct, frozen=True):
    """The answer of `/detokenize`."""

    content: str


class TemplateAnswer(msgspec.Struct, frozen=True):
    """The answer of `/apply-template`."""

    prompt: str


class Timings(msgspec.Struct, frozen=True):
    """How long it took; the tokens of the prompt are those that had to be computed."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class InfillChunk(msgspec.Struct, frozen=True):
    """One event of a streamed answer but the last."""

    content: str
    tokens_predicted: int
    tokens_evaluated: int
    index: int = 0
    tokens: tuple[int, ...] = ()
    stop: bool = False


class InfillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer, or the last event of a streamed one."""

    content: str
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    stop_type: str
    """`limit`, or `eos`, also where it was a stop string."""
    timings: Timings
    index: int = 0
    tokens: tuple[int, ...] = ()
    stop: bool = True
    truncated: bool = False


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong, in llama-server's form."""

    code: int
    message: str
    type: str


class ErrorEvent(msgspec.Struct, frozen=True):
    """The event of an error that comes after the head."""

    error: ErrorBody


INFILL = msgspec.json.Decoder(InfillBody)
TOKENIZE = msgspec.json.Decoder(TokenizeBody)
DETOKENIZE = msgspec.json.Decoder(DetokenizeBody)


def to_infill_request(body: InfillBody, model: str) -> GenerateRequest:
    """Translates a body for the model that serves it."""
    default = Sampling()
    given = {
        name: value
        for name in (
            "temperature", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty",
        )
        if (value := getattr(body, name)) is not None
    }  # fmt: skip
    sampling = msgspec.structs.replace(
        default,
        **given,
        top_k=default.top_k if body.top_k is None else max(0, body.top_k),
        seed=body.seed if body.seed is not None and body.seed >= 0 else None,
    )
    stop = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
    files = tuple(FileText(snippet.filename, snippet.text) for snippet in body.input_extra or ())
    return GenerateRequest(
        model=model,
        prompt=FillPrompt(body.input_prefix + (body.prompt or ""), body.input_suffix, files),
        sampling=sampling,
        max_tokens=None if body.n_predict is None or body.n_predict < 0 else max(1, body.n_predict),
        stop=tuple(filter(None, stop)),
        cache_prompt=body.cache_prompt is not False,
        lora=to_choices(body.lora),
    )


def to_tokenize(body: TokenizeBody) -> Tokenize:
    """Translates a body."""
    content = (body.content,) if isinstance(body.content, str) else tuple(body.content or ())
    return Tokenize(content, whole=bool(body.add_special), control=body.parse_special is not False)


def to_tokenize_answer(body: TokenizeBody, answer: Tokenized) -> TokenizeAnswer:
    """Translates an answer."""
    if not body.with_pieces:
        return TokenizeAnswer(list(answer.token_ids))
    return TokenizeAnswer(
        [Piece(number, _text_or_bytes(piece)) for number, piece in zip(answer.token_ids, answer.pieces, strict=True)]
    )


def to_detokenize(body: DetokenizeBody) -> Detokenize:
    """Translates a body."""
    return Detokenize(tuple(body.tokens or ()))


def to_detokenize_answer(answer: Detokenized) -> DetokenizeAnswer:
    """Translates an answer."""
    return DetokenizeAnswer(answer.text)


def to_template_answer(answer: Rendered) -> TemplateAnswer:
    """Translates an answer."""
    return TemplateAnswer(answer.text)


class Infill:
    """One answer of `/infill`, whole or as server-sent events."""

    def __init__(self, body: InfillBody) -> None:
        self._fields = body.response_fields
        self._silent = body.n_predict == 0
        self._model = body.model or ""
        self._prompt_tokens = 0
        self._predicted = 0
        self._texts: list[str] = []
        self._finished: Finished | None = None

    def take(self, batch: Iterable[Event]) -> str:
        """Takes events in; gives their text."""
        texts: list[str] = []
        for event in batch:
            match event:
                case Admitted():
                    self._model = event.model
                    self._prompt_tokens = event.prompt_tokens
                case TextDelta():
                    self._predicted += 1
                    texts.append("" if self._silent else event.text)
                case ReasoningDelta() | CallBegun() | CallDelta():
                    pass  # these routes take texts, in which nothing is told apart
                case Finished():
                    self._finished = event
        text = "".join(texts)
        self._texts.append(text)
        return text

    def whole(self) -> bytes:
        """Gives the whole answer."""
        return self._last("".join(self._texts))

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        """Gives an event for the text that arrived."""
        text = self.take(batch)
        if not text:
            return _HEARTBEAT
        return _event(msgspec.json.encode(InfillChunk(text, self._predicted, self._prompt_tokens)))

    def heartbeat(self) -> bytes:
        """Gives a comment."""
        return _HEARTBEAT

    def ending(self) -> bytes:
        """Gives the last event."""
        return _event(self._last(""))

    def failing(self, failure: Failure) -> bytes:
        """Gives the event of an error; nothing follows it."""
        return _event(msgspec.json.encode(ErrorEvent(ErrorBody(failure.status, failure.message, failure.kind))))

    def _last(self, content: str) -> bytes:
        finished = self._finished or Finished(0, "stop", self._prompt_tokens, self._predicted)
        predicted = 0 if self._silent else finished.completion_tokens
        answer = InfillAnswer(
            content=content,
            model=self._model,
            tokens_predicted=predicted,
            tokens_evaluated=finished.prompt_tokens,
            tokens_cached=finished.prompt_tokens + predicted,
            stop_type="limit" if finished.reason == "length" else "eos",
            timings=_timings(finished, predicted),
        )
        return msgspec.json.encode(_pick(answer, self._fields) if self._fields else answer)


def _timings(finished: Finished, predicted: int) -> Timings:
    computed = finished.prompt_tokens - finished.cached_tokens
    prompt_ms, predicted_ms = 1000 * finished.prefill_s, 1000 * finished.decode_s
    return Timings(
        cache_n=finished.cached_tokens,
        prompt_n=computed,
        prompt_ms=prompt_ms,
        prompt_per_token_ms=prompt_ms / computed if computed else 0.0,
        prompt_per_second=computed / finished.prefill_s if finished.prefill_s else 0.0,
        predicted_n=predicted,
        predicted_ms=predicted_ms,
        predicted_per_token_ms=predicted_ms / predicted if predicted else 0.0,
        predicted_per_second=predicted / finished.decode_s if finished.decode_s else 0.0,
    )


def _pick(answer: InfillAnswer, fields: Iterable[str]) -> dict[str, object]:
    """Keeps the fields that are wanted, under their whole paths; one that is not there is left out."""
    known: dict[str, object] = msgspec.to_builtins(answer)
    timings: dict[str, object] = msgspec.to_builtins(answer.timings)
    known |= {f"timings/{name}": value for name, value in timings.items()}
    return {path: known[path] for path in fields if path in known}


def _text_or_bytes(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
