"""OpenAI bodies to the runtime's request."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from impetus.api.dialects import openai
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.request import ChatPrompt, FillPrompt, GenerateRequest, TextPrompt, TokenPrompt

GOLDEN = Path(__file__).parent.parent / "golden" / "openai"


def chat(**fields: object) -> GenerateRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return openai.to_chat_request(openai.CHAT.decode(msgspec.json.encode(body)))


def completion(**fields: object) -> tuple[GenerateRequest, ...]:
    return openai.to_completion_requests(openai.COMPLETION.decode(msgspec.json.encode({"model": "m"} | fields)))


@pytest.mark.parametrize("name", ["agent_turn", "plain_text_agent", "every_field"])
def test_a_recorded_chat_body_becomes_the_recorded_request(name: str) -> None:
    request = openai.to_chat_request(openai.CHAT.decode((GOLDEN / f"{name}.body.json").read_bytes()))
    expected = msgspec.json.decode((GOLDEN / f"{name}.request.json").read_bytes(), type=GenerateRequest)
    assert request == expected


def test_a_recorded_completions_body_becomes_a_request_for_each_prompt() -> None:
    requests = openai.to_completion_requests(openai.COMPLETION.decode((GOLDEN / "completion.body.json").read_bytes()))
    expected = msgspec.json.decode((GOLDEN / "completion.request.json").read_bytes(), type=tuple[GenerateRequest, ...])
    assert requests == expected


def test_every_optional_field_may_be_null() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(openai.ChatBody) if not field.required]
    assert len(names) > 20
    assert chat(**dict.fromkeys(names)) == chat()


def test_the_newer_name_of_max_tokens_wins() -> None:
    assert chat(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert chat(max_tokens=5).max_tokens == 5
    assert chat().max_tokens is None


def test_more_tokens_than_any_context_holds_are_clamped_not_refused() -> None:
    assert chat(max_tokens=10**15).max_tokens == 2**31 - 1


def test_repeat_penalty_wins_over_its_other_name() -> None:
    assert chat(repeat_penalty=1.2, repetition_penalty=1.5).sampling.repeat_penalty == 1.2
    assert chat(repetition_penalty=1.5).sampling.repeat_penalty == 1.5


def test_logprobs_are_off_unless_asked_for() -> None:
    assert chat().top_logprobs is None
    assert chat(logprobs=False, top_logprobs=0).top_logprobs is None
    assert chat(logprobs=True).top_logprobs == 0
    assert chat(logprobs=True, top_logprobs=20).top_logprobs == 20


def test_an_image_is_decoded_and_a_refusal_is_text() -> None:
    parts = [
        {"type": "image_url", "image_url": "data:image/jpeg;base64,/9j/"},
        {"type": "refusal", "refusal": "no"},
    ]
    prompt = chat(messages=[{"role": "user", "content": parts}]).prompt
    assert isinstance(prompt, ChatPrompt)
    image, refusal = prompt.messages[0].parts
    assert (image.data, image.media_type) == (b"\xff\xd8\xff", "image/jpeg")
    assert refusal.text == "no"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.png",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "data:text/html;base64,AAAA",
        "data:image/png,AAAA",
        "",
    ],
)
def test_a_picture_from_anywhere_else_is_refused_by_its_place(url: str) -> None:
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    with pytest.raises(InvalidRequest) as caught:
        chat(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": content}])
    assert caught.value.param == "messages[1].content[1].image_url"


def test_a_picture_that_is_not_base64_is_refused() -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,*"}}]
    with pytest.raises(InvalidRequest, match="base64"):
        chat(messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [TextPrompt("a")]),
        ("", [TextPrompt("")]),
        (["a", "b"], [TextPrompt("a"), TextPrompt("b")]),
        ([1, 2], [TokenPrompt((1, 2))]),
        ([[1], [2, 3]], [TokenPrompt((1,)), TokenPrompt((2, 3))]),
    ],
)
def test_a_prompt_is_a_text_or_tokens_or_a_list_of_either(prompt: object, expected: list[object]) -> None:
    assert [request.prompt for request in completion(prompt=prompt)] == expected


def test_a_suffix_makes_a_gap_of_each_prompt() -> None:
    assert [request.prompt for request in completion(prompt=["a", "b"], suffix="end")] == [
        FillPrompt("a", "end"),
        FillPrompt("b", "end"),
    ]
    assert [request.prompt for request in completion(prompt="a", suffix="")] == [TextPrompt("a")]


@pytest.mark.parametrize("prompt", [[], [[]], [1, "a"], ["a", [1]], [[1], []]])
def test_mixed_and_empty_lists_are_no_prompts(prompt: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        completion(prompt=prompt)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "end", "prompt": [1, 2]}, "suffix"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"prompt": ["a"] * 100, "n": 2}, "prompt"),
    ],
)
def test_what_a_completion_cannot_do_is_said(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        completion(**({"prompt": "a"} | fields))
    assert caught.value.param == param
