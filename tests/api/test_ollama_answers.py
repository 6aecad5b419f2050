"""Ollama's dialect without a server: what is asked, and events to lines."""

from __future__ import annotations

import json
import math

import pytest

from impetus.api.dialects import ollama, ollama_embed
from impetus.api.dialects.ollama_answers import ChatAnswer, GenerateAnswer, Stopwatch
from impetus.api.dialects.ollama_options import Options, to_keep_alive, to_sampling, to_thinking
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from impetus.runtime.questions import Tokenized
from impetus.runtime.request import ChatPrompt, FillPrompt, GenerateRequest, Sampling, TextPrompt, Thinking

EVENTS: list[Event] = [
    Admitted("m", 7, 100),
    ReasoningDelta(0, "hm"),
    TextDelta(0, "So: "),
    CallBegun(0, 0, "c1", "read"),
    CallDelta(0, 0, '{"path": '),
    CallDelta(0, 0, '"a"}'),
    CallBegun(0, 1, "c2", "stop"),
    Finished(0, "tool_calls", 7, 9, prefill_s=0.25, decode_s=0.5),
]
CALLS = [
    {"id": "c1", "function": {"index": 0, "name": "read", "arguments": {"path": "a"}}},
    {"id": "c2", "function": {"index": 1, "name": "stop", "arguments": {}}},
]


def chat(**fields: object) -> GenerateRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return ollama.to_chat_request(ollama.CHAT.decode(json.dumps(body)), ollama.Preset())


def generate(**fields: object) -> GenerateRequest:
    return ollama.to_generate_request(ollama.GENERATE.decode(json.dumps({"model": "m"} | fields)), ollama.Preset())


def stopwatch() -> Stopwatch:
    return Stopwatch(lambda: 0.125, 0.0)


@pytest.mark.parametrize("size", [1, 3, len(EVENTS)])
def test_thoughts_text_and_whole_calls_come_in_lines(size: int) -> None:
    answer = ChatAnswer("m", stopwatch())
    wire = b"".join(answer.to_wire(EVENTS[at : at + size]) for at in range(0, len(EVENTS), size)) + answer.ending()
    lines = [json.loads(line) for line in wire.splitlines()]
    messages = [line["message"] for line in lines]
    assert "".join(message.get("thinking", "") for message in messages) == "hm"
    assert "".join(message["content"] for message in messages) == "So: "
    assert [call for message in messages for call in message.get("tool_calls", ())] == CALLS
    last = lines[-1]
    assert (last["done_reason"], last["load_duration"]) == ("stop", 125_000_000)
    assert (last["prompt_eval_count"], last["prompt_eval_duration"]) == (7, 250_000_000)
    assert (last["eval_count"], last["eval_duration"]) == (9, 500_000_000)


def test_a_whole_answer_says_the_same() -> None:
    answer = ChatAnswer("m", stopwatch())
    answer.take(EVENTS)
    whole = json.loads(answer.whole())
    assert whole["message"] == {"role": "assistant", "content": "So: ", "thinking": "hm", "tool_calls": CALLS}
    assert (whole["done"], whole["done_reason"]) == (True, "stop")
    text = GenerateAnswer("m", stopwatch())
    text.take([Admitted("m", 1, 9), ReasoningDelta(0, "hm"), TextDelta(0, "x"), Finished(0, "length", 1, 2)])
    said = json.loads(text.whole())
    assert (said["response"], said["thinking"], said["done_reason"]) == ("x", "hm", "length")


def test_calls_and_results_find_each_other_without_ids() -> None:
    calls = [{"function": {"name": name, "arguments": {"x": name}}} for name in ("a", "b")]
    request = chat(
        messages=[
            {"role": "assistant", "content": "", "tool_calls": calls, "thinking": "hm"},
            {"role": "tool", "content": "of b", "tool_name": "b"},
            {"role": "tool", "content": "of a"},
        ]
    )
    assert isinstance(request.prompt, ChatPrompt)
    said, second, first = request.prompt.messages
    assert [json.loads(call.arguments) for call in said.tool_calls] == [{"x": "a"}, {"x": "b"}]
    assert (second.tool_call_id, first.tool_call_id) == (said.tool_calls[1].id, said.tool_calls[0].id)
    assert (said.reasoning, second.name) == ("hm", "b")


def test_options_are_brought_into_their_range() -> None:
    wild = to_sampling(Options(temperature=-1, top_k=-5, top_p=7, min_p=-1, seed=-1, repeat_last_n=-9, presence_penalty=9))
    assert (wild.temperature, wild.top_k, wild.top_p, wild.min_p, wild.seed) == (0, 0, 1, 0, None)
    assert (wild.repeat_last_n, wild.presence_penalty) == (-1, 2)
    assert to_sampling(Options()) == Sampling()
    assert [chat(options={"num_predict": count}).max_tokens for count in (-2, -1, 0, 5, 10**30)] == [None] * 3 + [5, 2**31 - 1]
    assert chat(options={"num_ctx": 1, "num_gpu": 99, "stop": "x"}).context_limit is None
    with pytest.raises(InvalidRequest, match="repeat_penalty"):
        to_sampling(Options(repeat_penalty=0))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, None), (30, 30), ("5m", 300), ("1h30m", 5400), ("1.5s", 1.5), ("0", 0), (-1, math.inf), ("-1m", math.inf)],
)
def test_durations(said: float | str | None, seconds: float | None) -> None:
    assert to_keep_alive(said) == seconds


def test_thinking_form_and_tools() -> None:
    assert (to_thinking(None), to_thinking(False)) == (Thinking(), Thinking(enabled=False))
    assert to_thinking("low") == Thinking(enabled=True, effort="low")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    request = chat(format={"type": "object"}, tools=tools, tool_choice="required")
    assert request.constraint is not None
    assert (request.constraint.kind, json.loads(request.constraint.text)) == ("json_schema", {"type": "object"})
    assert isinstance(request.prompt, ChatPrompt)
    assert (request.prompt.tool_mode, [tool.name for tool in request.prompt.tools]) == ("required", ["f"])
    assert chat(format="json").constraint is not None
    assert chat(format="").constraint is None


def test_a_prompt_is_a_conversation_a_text_or_a_gap() -> None:
    prompt = generate(prompt="p", system="s").prompt
    assert isinstance(prompt, ChatPrompt)
    assert [(message.role, message.text) for message in prompt.messages] == [("system", "s"), ("user", "p")]
    assert generate(prompt="p", raw=True).prompt == TextPrompt("p")
    assert generate(prompt="p", suffix="q").prompt == FillPrompt("p", "q")


def test_long_inputs_keep_the_tokens_around_them() -> None:
    whole, bare = Tokenized((1, 5, 6, 7, 8, 2), ()), Tokenized((5, 6, 7, 8), ())
    assert ollama_embed.cut(whole, bare, 4) == (1, 5, 6, 2)
    assert ollama_embed.cut(Tokenized((5, 6, 7), ()), Tokenized((5, 6, 7), ()), 2) == (5, 6)
