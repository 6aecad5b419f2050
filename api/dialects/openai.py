"""What OpenAI's clients send: `/v1/chat/completions` and `/v1/completions`, to the runtime's request.

Fields after https://platform.openai.com/docs/api-reference, and some of llama-server's and our own. Fields that are not known
here are ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import (
    ChatPrompt,
    FillPrompt,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    Prompt,
    Role,
    TextPart,
    TextPrompt,
    TokenPrompt,
    ToolCall,
)
from .lora import AdapterBodies, to_choices
from .openai_format import FormBody, to_constraint
from .openai_sampling import TokenId, to_sampling

MAX_CHOICES = 128
"""The most choices of one completions body, over all its prompts."""
_INT32_MAX = 2**31 - 1

Count = Annotated[int, Meta(ge=1, le=2**53)]
Alternatives = Annotated[int, Meta(ge=0, le=20)]

WireRole = Literal["system", "developer", "user", "assistant", "tool", "function"]
_ROLES: dict[WireRole, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class TextPartBody(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Text in a message's list of parts."""

    text: str


class RefusalPartBody(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """What the assistant said when it would not answer."""

    refusal: str


class ImageUrl(msgspec.Struct, frozen=True):
    """Where a picture is."""

    url: str


class ImagePartBody(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """A picture in a message's list of parts."""

    image_url: ImageUrl | str


PartBody = TextPartBody | RefusalPartBody | ImagePartBody


class FunctionCallBody(msgspec.Struct, frozen=True):
    """The function of an earlier call."""

    name: str
    arguments: str | None = None
    """JSON text."""


class ToolCallBody(msgspec.Struct, frozen=True):
    """A call the assistant made."""

    function: FunctionCallBody
    id: str | None = None


class MessageBody(msgspec.Struct, frozen=True):
    """One turn as it is sent."""

    role: WireRole
    content: str | list[PartBody] | None = None
    name: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCallBody | None = None
    """The older form of one call without an id."""


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream says besides its text."""

    include_usage: bool | None = None


class GenerationBody(FormBody, frozen=True, kw_only=True):
    """What both endpoints share."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    max_tokens: Count | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    num_ctx: Count | None = None
    """The client's own bound on prompt and answer together; the model is held as it is."""
    cache_prompt: bool | None = None
    """Not given, it is true."""
    draft_tokens: Annotated[int, Meta(ge=0, le=64)] | None = None
    """At most so many tokens are guessed ahead; 0 is none."""
    lora: AdapterBodies | None = None
    """[] is none, also where `model` is an alias with adapters."""
    echo_tps: Annotated[float, Meta(ge=0, le=1e9)] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatBody(GenerationBody, frozen=True, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[MessageBody], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    """Wins over the older `max_tokens`."""
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None


class CompletionBody(GenerationBody, frozen=True, kw_only=True):
    """The body of `POST /v1/completions`."""

    prompt: str | list[str | TokenId | list[TokenId]]
    logprobs: Alternatives | None = None
    best_of: Count | None = None
    suffix: str | None = None
    echo: bool | None = None


class ConversationBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /apply-template`."""

    messages: Annotated[list[MessageBody], Meta(min_length=1)]
    model: str | None = None


CHAT = msgspec.json.Decoder(ChatBody)
COMPLETION = msgspec.json.Decoder(CompletionBody)
CONVERSATION = msgspec.json.Decoder(ConversationBody)


def to_chat_request(body: ChatBody) -> GenerateRequest:
    """Translates a chat body; raises InvalidRequest for what the types alone cannot tell."""
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs", code="invalid_value")
    return _request(
        body,
        ChatPrompt(to_messages(body.messages)),
        max_tokens=body.max_completion_tokens or body.max_tokens,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def to_messages(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """Translates the turns of a conversation; raises InvalidRequest."""
    return tuple(_message(message, f"messages[{at}]") for at, message in enumerate(bodies))


def to_completion_requests(body: CompletionBody) -> tuple[GenerateRequest, ...]:
    """Translates a completions body, one request for each prompt; raises InvalidRequest."""
    if body.echo:
        raise InvalidRequest("'echo' is not supported by this server.", param="echo", code="unsupported_parameter")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise InvalidRequest(
            "'best_of' other than 'n' is not supported by this server.", param="best_of", code="unsupported_value"
        )
    prompts = _prompts(body.prompt)
    if body.suffix:
        prompts = tuple(_gap(prompt, body.suffix) for prompt in prompts)
    if len(prompts) * (body.n or 1) > MAX_CHOICES:
        raise InvalidRequest(f"'prompt' times 'n' gives more than {MAX_CHOICES} choices.", param="prompt", code="invalid_value")
    return tuple(_request(body, prompt, max_tokens=body.max_tokens, top_logprobs=body.logprobs) for prompt in prompts)


def _gap(prompt: Prompt, suffix: str) -> FillPrompt:
    if not isinstance(prompt, TextPrompt):
        raise InvalidRequest("'suffix' goes with a prompt that is text.", param="suffix", code="invalid_value")
    return FillPrompt(prompt.text, suffix)


def _request(body: GenerationBody, prompt: Prompt, *, max_tokens: int | None, top_logprobs: int | None) -> GenerateRequest:
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return GenerateRequest(
        model=body.model,
        prompt=prompt,
        sampling=to_sampling(body),
        max_tokens=min(max_tokens, _INT32_MAX) if max_tokens is not None else None,
        stop=tuple(text for text in stop if text),
        top_logprobs=top_logprobs,
        n=body.n or 1,
        constraint=to_constraint(body),
        context_limit=min(body.num_ctx, _INT32_MAX) if body.num_ctx is not None else None,
        draft_tokens=body.draft_tokens,
        cache_prompt=body.cache_prompt is not False,
        lora=to_choices(body.lora),
        echo_tps=body.echo_tps,
    )


def _message(body: MessageBody, place: str) -> Message:
    calls = [ToolCall(call.id or "", call.function.name, call.function.arguments or "") for call in body.tool_calls or ()]
    if body.function_call is not None:
        calls.append(ToolCall("", body.function_call.name, body.function_call.arguments or ""))
    if isinstance(body.content, str):
        parts: tuple[Part, ...] = (TextPart(body.content),)
    else:
        parts = tuple(_part(part, f"{place}.content[{at}]") for at, part in enumerate(body.content or ()))
    return Message(_ROLES[body.role], parts, body.name, tuple(calls), body.tool_call_id)


def _part(body: PartBody, place: str) -> Part:
    match body:
        case TextPartBody():
            return TextPart(body.text)
        case RefusalPartBody():
            return TextPart(body.refusal)
        case ImagePartBody():
            url = body.image_url if isinstance(body.image_url, str) else body.image_url.url
            return _picture(url, f"{place}.image_url")


def _picture(url: str, place: str) -> ImagePart:
    """Decodes a `data:` URL (RFC 2397); nothing is ever fetched."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InvalidRequest(
            f"'{place}': a picture must be a 'data:image/...;base64,...' URL; this server fetches nothing from elsewhere.",
            param=place,
            code="invalid_value",
        )
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"'{place}': not valid base64.", param=place, code="invalid_value") from error
    return ImagePart(decoded, head.removeprefix("data:").partition(";")[0])


def _prompts(prompt: str | list[str | int | list[int]]) -> tuple[Prompt, ...]:
    """One prompt for a text or a list of token ids, several for a list of either."""
    if isinstance(prompt, str):
        return (TextPrompt(prompt),)
    texts = [item for item in prompt if isinstance(item, str)]
    token_ids = [item for item in prompt if isinstance(item, int)]
    token_lists = [item for item in prompt if isinstance(item, list)]
    if texts and len(texts) == len(prompt):
        return tuple(TextPrompt(text) for text in texts)
    if token_ids and len(token_ids) == len(prompt):
        return (TokenPrompt(tuple(token_ids)),)
    if token_lists and len(token_lists) == len(prompt) and all(token_lists):
        return tuple(TokenPrompt(tuple(item)) for item in token_lists)
    reason = (
        "texts, token ids and lists of token ids cannot be mixed"
        if prompt and all(token_lists)
        else "an empty list is no prompt"
    )
    raise InvalidRequest(f"'prompt': {reason}.", param="prompt", code="invalid_value")
