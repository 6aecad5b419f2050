"""Events to OpenAI's whole answers and chunks, read back with OpenAI's own types."""

from __future__ import annotations

import json
import math

import msgspec
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from impetus.api.dialects.openai_answers import (
    ChatAnswer,
    Collected,
    CompletionAnswer,
    Head,
    to_chat_answer,
    to_completion_answer,
    to_error,
)
from impetus.api.dialects.openai_chunks import ChatStream, CompletionStream
from impetus.api.errors import Failure
from impetus.runtime.events import Admitted, Event, Finished, TextDelta, TokenLogprob, TopLogprob

HEAD = Head("chatcmpl-1", "chat.completion", 1_700_000_000, "asked", "impetus-0")
CHUNK_HEAD = Head("chatcmpl-1", "chat.completion.chunk", 1_700_000_000, "asked", "impetus-0")
TEXT_HEAD = Head("cmpl-1", "text_completion", 1_700_000_000, "asked", "impetus-0")
TRICKY = 'a "b"\n\u2028é😀\\'

TWO_CHOICES: list[Event] = [
    Admitted("served", 7, 100),
    TextDelta(0, TRICKY),
    TextDelta(1, "x"),
    TextDelta(0, "!"),
    Finished(1, "length", 7, 1, cached_tokens=7),
    Finished(0, "stop", 7, 2, cached_tokens=3),
]
SNOWMAN = "☃".encode()
WITH_LOGPROBS: list[Event] = [
    Admitted("served", 1, 100),
    TextDelta(0, "Hi", (TokenLogprob(5, b"Hi", -0.5, (TopLogprob(5, b"Hi", -0.5), TopLogprob(6, b"Ho", -math.inf))),)),
    TextDelta(0, "☃", (TokenLogprob(7, SNOWMAN[:1], -0.1), TokenLogprob(8, SNOWMAN[1:], -0.2))),
    Finished(0, "stop", 1, 3),
]


def collected(events: list[Event], *, n: int = 1, logprobs: bool = False) -> Collected:
    answer = Collected(n=n, logprobs=logprobs)
    answer.add(events)
    return answer


def read_chat(answer: ChatAnswer) -> ChatCompletion:
    return ChatCompletion.model_validate(msgspec.json.decode(msgspec.json.encode(answer)), strict=True)


def read_text(answer: CompletionAnswer) -> Completion:
    return Completion.model_validate(msgspec.json.decode(msgspec.json.encode(answer)), strict=True)


def data_lines(wire: bytes) -> list[str]:
    assert wire.endswith(b"\n\n")
    events = wire.decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith(("data: ", ": ")) and "\n" not in event for event in events)
    return [event.removeprefix("data: ") for event in events if event.startswith("data: ")]


def read_chunks(wire: bytes) -> list[ChatCompletionChunk]:
    return [ChatCompletionChunk.model_validate(json.loads(line), strict=True) for line in data_lines(wire) if line != "[DONE]"]


def read_text_chunks(wire: bytes) -> list[dict]:
    chunks = [json.loads(line) for line in data_lines(wire) if line != "[DONE]"]
    for chunk in chunks:
        # OpenAI's type names no null finish reason, though its server sends one until the end.
        whole = [choice | {"finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
        Completion.model_validate(chunk | {"choices": whole}, strict=True)
    return chunks


def test_a_whole_chat_answer_has_all_choices_and_counts_the_prompt_once() -> None:
    answer = read_chat(to_chat_answer(HEAD, collected(TWO_CHOICES, n=2)))
    assert (answer.id, answer.object, answer.model, answer.system_fingerprint) == (
        "chatcmpl-1",
        "chat.completion",
        "served",
        "impetus-0",
    )
    assert [choice.message.content for choice in answer.choices] == [TRICKY + "!", "x"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "length"]
    assert answer.choices[0].logprobs is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3


def test_chat_logprobs_keep_bytes_that_are_no_whole_character_and_no_infinity() -> None:
    logprobs = read_chat(to_chat_answer(HEAD, collected(WITH_LOGPROBS, logprobs=True))).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.token for token in logprobs.content] == ["Hi", "\ufffd", "\ufffd\ufffd"]
    assert b"".join(bytes(token.bytes or ()) for token in logprobs.content) == "Hi☃".encode()
    assert [top.logprob for top in logprobs.content[0].top_logprobs] == [-0.5, -9999.0]


def test_the_choices_of_several_prompts_are_numbered_through() -> None:
    answer = read_text(to_completion_answer(TEXT_HEAD, [collected(TWO_CHOICES, n=2), collected(TWO_CHOICES, n=2)]))
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in answer.choices] == [TRICKY + "!", "x"] * 2
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (14, 6)


def test_completion_logprobs_say_where_each_token_begins() -> None:
    logprobs = read_text(to_completion_answer(TEXT_HEAD, [collected(WITH_LOGPROBS, logprobs=True)])).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.text_offset == [0, 2, 3]
    assert logprobs.token_logprobs == [-0.5, -0.1, -0.2]
    assert logprobs.top_logprobs == [{"Hi": -0.5, "Ho": -9999.0}, {}, {}]


def test_a_chat_stream_opens_with_roles_and_ends_each_choice() -> None:
    stream = ChatStream(CHUNK_HEAD, n=2, include_usage=False)
    wire = stream.to_wire(TWO_CHOICES[:2]) + stream.to_wire(TWO_CHOICES[2:]) + stream.ending()
    assert data_lines(wire)[-1] == "[DONE]"
    chunks = read_chunks(wire)
    assert {(chunk.id, chunk.model, chunk.object, chunk.created) for chunk in chunks} == {
        ("chatcmpl-1", "served", "chat.completion.chunk", 1_700_000_000)
    }
    assert [(chunk.choices[0].index, chunk.choices[0].delta.role, chunk.choices[0].delta.content) for chunk in chunks] == [
        (0, "assistant", ""),
        (1, "assistant", ""),
        (0, None, TRICKY),
        (1, None, "x"),
        (0, None, "!"),
        (1, None, None),
        (0, None, None),
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 5 + ["length", "stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_a_token_is_a_chunk_of_its_own() -> None:
    stream = ChatStream(CHUNK_HEAD, n=1, include_usage=False)
    batch: list[Event] = [TextDelta(0, str(number)) for number in range(50)]
    assert [chunk.choices[0].delta.content for chunk in read_chunks(stream.to_wire(batch))] == [
        str(number) for number in range(50)
    ]


@pytest.mark.parametrize("kind", [ChatStream, CompletionStream])
def test_usage_comes_last_with_no_choices_and_only_if_asked(kind: type[ChatStream | CompletionStream]) -> None:
    stream = kind(CHUNK_HEAD, n=2, include_usage=True)
    stream.to_wire(TWO_CHOICES)
    usage, done = data_lines(stream.ending())
    assert done == "[DONE]"
    assert json.loads(usage)["choices"] == []
    assert json.loads(usage)["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_streamed_chat_logprobs_stand_beside_their_text() -> None:
    stream = ChatStream(CHUNK_HEAD, n=1, include_usage=False)
    _, first, second, _ = read_chunks(stream.to_wire(WITH_LOGPROBS))
    assert first.choices[0].delta.content == "Hi"
    assert first.choices[0].logprobs is not None
    assert first.choices[0].logprobs.content is not None
    assert first.choices[0].logprobs.content[0].top_logprobs[1].token == "Ho"
    assert second.choices[0].logprobs is not None
    assert second.choices[0].logprobs.content is not None
    assert len(second.choices[0].logprobs.content) == 2


def test_streamed_completions_number_choices_and_offsets_for_each_prompt() -> None:
    stream = CompletionStream(TEXT_HEAD, n=1, include_usage=False)
    chunks = read_text_chunks(stream.to_wire(WITH_LOGPROBS) + stream.to_wire(WITH_LOGPROBS) + stream.ending())
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["index"] for choice in choices] == [0, 0, 0, 1, 1, 1]
    assert [choice["logprobs"]["text_offset"] if choice["logprobs"] else None for choice in choices] == [[0], [2, 3], None] * 2
    assert [choice["text"] for choice in choices] == ["Hi", "☃", ""] * 2


def test_a_heartbeat_is_a_comment_and_a_chunk_that_changes_nothing() -> None:
    chat = ChatStream(CHUNK_HEAD, n=1, include_usage=False).heartbeat()
    assert chat.startswith(b": ping\n\n")
    [chunk] = read_chunks(chat)
    assert (chunk.choices[0].delta.role, chunk.choices[0].delta.content, chunk.choices[0].finish_reason) == (
        "assistant",
        "",
        None,
    )
    [text] = read_text_chunks(CompletionStream(TEXT_HEAD, n=1, include_usage=False).heartbeat())
    assert text["choices"][0]["text"] == ""


def test_an_error_is_openais_error_object() -> None:
    failure = Failure(400, "invalid_request_error", "No.", param="n", code="invalid_value")
    expected = {"error": {"message": "No.", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}}
    assert msgspec.json.decode(msgspec.json.encode(to_error(failure))) == expected
    [late] = data_lines(ChatStream(CHUNK_HEAD, n=1, include_usage=True).failing(failure))
    assert json.loads(late) == expected
