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
from .lora import to_choices
from .openai_format import to_constraint
from .openai_generation import Count, GenerationBody
from .openai_sampling import TokenId, to_sampling
from .openai_tools import ToolsBody, to_choice, to_thinking, to_tools

MAX_CHOICES = 128
"""The most choices of one completions body, over all its prompts."""
_INT32_MAX = 2**31 - 1

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
    arguments: str | dict[str, msgspec.Raw] | None = None
    """JSON text; some clients send the object itself."""


class ToolCallBody(msgspec.Struct, frozen=True):
    """A call the assistant made."""

    function: FunctionCallBody
    id: str | None = None


class MessageBody(msgspec.Struct, frozen=True):
    """One turn as it is sent."""

    role: WireRole
    content: str | list[PartBody] | None = None
    name: str | None = None
    reasoning_content: str | None = None
    """What the assistant thought; some clients send it back."""
    reasoning: str | None = None
    """Another name of it."""
    tool_calls: list[ToolCallBody] | None = None
    tool_call_id: str | None = None
    function_call: FunctionCallBody | None = None
    """The older form of one call without an id."""


class ChatBody(ToolsBody, frozen=True, kw_only=True):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[MessageBody], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    """Wins over the older `max_tokens`."""
    reasoning_format: str | None = None
    """`none` leaves thoughts in the text, where no tools are offered."""
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None


class CompletionBody(GenerationBody, frozen=True, kw_only=True):
    """The body of `POST /v1/completions`."""

    prompt: str | list[str | TokenId | list[TokenId]]
    logprobs: Alternatives | None = None
    best_of: Annotated[int, Meta(ge=1, le=16)] | None = None
    """So many choices are made, and the `n` of them that the model thinks likeliest are given."""
    suffix: str | None = None
    echo: bool | None = None
    """Whether each choice begins with its prompt."""


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
    tools = to_tools(body)
    mode, names = to_choice(body, tools)
    messages = to_messages(body.messages)
    prompt = ChatPrompt(
        messages,
        tools=tools,
        tool_mode=mode,
        tool_names=names,
        parallel_calls=body.parallel_tool_calls is not False,
        thinking=to_thinking(body),
        template_options=body.chat_template_kwargs or {},
        continues=messages[-1].role == "assistant" and not messages[-1].tool_calls,
    )
    return _request(
        body,
        prompt,
        split=bool(tools) or body.reasoning_format != "none",
        max_tokens=body.max_completion_tokens or body.max_tokens,
        top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def to_messages(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """Translates the turns of a conversation; raises InvalidRequest."""
    return tuple(_message(message, f"messages[{at}]") for at, message in enumerate(bodies))


def to_completion_requests(body: CompletionBody) -> tuple[GenerateRequest, ...]:
    """Translates a completions body, one request for each prompt; raises InvalidRequest."""
    choices = body.best_of or body.n or 1
    if choices < (body.n or 1):
        raise InvalidRequest("'best_of' is at least 'n'.", param="best_of", code="invalid_value")
    if body.stream and choices > (body.n or 1):
        raise InvalidRequest("'best_of' above 'n' cannot be streamed.", param="best_of", code="invalid_value")
    if body.echo and body.logprobs is not None:
        raise InvalidRequest(
            "'echo' with 'logprobs' is not supported: a prompt's own logprobs are not computed.",
            param="echo",
            code="unsupported_value",
        )
    prompts = _prompts(body.prompt)
    if body.suffix:
        prompts = tuple(_gap(prompt, body.suffix) for prompt in prompts)
    if len(prompts) * choices > MAX_CHOICES:
        raise InvalidRequest(
            f"'prompt' times 'n' or 'best_of' gives more than {MAX_CHOICES} choices.", param="prompt", code="invalid_value"
        )
    # The best are chosen by their logprobs.
    top_logprobs = 0 if body.logprobs is None and choices > (body.n or 1) else body.logprobs
    requests = (_request(body, prompt, max_tokens=body.max_tokens, top_logprobs=top_logprobs) for prompt in prompts)
    return tuple(msgspec.structs.replace(request, n=choices) for request in requests)


def _gap(prompt: Prompt, suffix: str) -> FillPrompt:
    if not isinstance(prompt, TextPrompt):
        raise InvalidRequest("'suffix' goes with a prompt that is text.", param="suffix", code="invalid_value")
    return FillPrompt(prompt.text, suffix)


def _request(
    body: GenerationBody, prompt: Prompt, *, max_tokens: int | None, top_logprobs: int | None, split: bool = True
) -> GenerateRequest:
    if max_tokens == 0:
        raise InvalidRequest("'max_tokens' is at least 1, or -1 for no limit.", param="max_tokens", code="invalid_value")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return GenerateRequest(
        model=body.model,
        prompt=prompt,
        sampling=to_sampling(body),
        max_tokens=min(max_tokens, _INT32_MAX) if max_tokens is not None and max_tokens > 0 else None,
        stop=tuple(text for text in stop if text),
        top_logprobs=top_logprobs,
        n=body.n or 1,
        constraint=to_constraint(body),
        context_limit=min(body.num_ctx, _INT32_MAX) if body.num_ctx is not None else None,
        draft_tokens=body.draft_tokens,
        cache_prompt=body.cache_prompt is not False,
        lora=to_choices(body.lora),
        split=split,
        echo_tps=body.echo_tps,
    )


def _message(body: MessageBody, place: str) -> Message:
    calls = [_call(call.id or "", call.function) for call in body.tool_calls or ()]
    if body.function_call is not None:
        calls.append(_call("", body.function_call))
    if isinstance(body.content, str):
        parts: tuple[Part, ...] = (TextPart(body.content),)
    else:
        parts = tuple(_part(part, f"{place}.content[{at}]") for at, part in enumerate(body.content or ()))
    reasoning = body.reasoning_content or body.reasoning or ""
    return Message(_ROLES[body.role], parts, body.name, tuple(calls), body.tool_call_id, reasoning)


def _call(call_id: str, body: FunctionCallBody) -> ToolCall:
    arguments = body.arguments or ""
    return ToolCall(call_id, body.name, arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode())


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
