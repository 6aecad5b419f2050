"""What LM Studio's SDKs are sent for hand-made events, read by the Python SDK's own decoder; and what they ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from lmstudio import Chat
from lmstudio.json_api import (
    ChannelFinishedEvent,
    ChatResponseEndpoint,
    CompletionEndpoint,
    LMStudioPredictionError,
    PredictionFragmentEvent,
    PredictionToolCallEvent,
)

from impetus.api.dialects.lmstudio_bodies import PREDICT
from impetus.api.dialects.lmstudio_config import Marks, Settings
from impetus.api.dialects.lmstudio_infos import KvConfig, KvField, KvLayer, KvStack
from impetus.api.dialects.lmstudio_packets import Packets
from impetus.api.dialects.lmstudio_predict import to_request
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from impetus.runtime.models.model import ModelStatus
from impetus.runtime.models.registry import ECHO
from impetus.runtime.request import (
    ChatPrompt,
    Constraint,
    GenerateRequest,
    ImagePart,
    Message,
    TextPart,
    TextPrompt,
    Thinking,
    Tool,
    ToolCall,
)

ADMITTED = Admitted("echo", 10, 100)
STATUS = ModelStatus(ECHO, "ready", context_length=100)


def send(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The messages of an answer, as they arrive at a client."""
    packets = Packets(Marks())
    sent = [packet for event in events for packet in packets.take([event])]
    return [json.loads(msgspec.json.encode(packet)) for packet in (*sent, packets.end(STATUS, "echo", KvConfig()))]


def read(messages: Iterable[dict[str, Any]]) -> tuple[ChatResponseEndpoint, list[Any]]:
    """What the SDK makes of them."""
    endpoint = ChatResponseEndpoint("echo", Chat.from_history("x"))
    return endpoint, [event for message in messages for event in endpoint.iter_message_events(message)]


def ask(endpoint: ChatResponseEndpoint | CompletionEndpoint, files: dict[str, bytes] | None = None) -> GenerateRequest:
    """What the runtime is asked by what the SDK sends."""
    body = PREDICT.decode(json.dumps(endpoint.creation_params))
    return to_request(body, Settings(body.prediction_config_stack), "echo", (files or {}).get)


def test_calls_come_piece_by_piece_and_whole() -> None:
    messages = send(
        [
            ADMITTED,
            TextDelta(0, "I look."),
            CallBegun(0, 0, "call_1", "look"),
            CallDelta(0, 0, '{"at":'),
            CallDelta(0, 0, '"x"}'),
            CallBegun(0, 1, "call_2", "wait"),
            Finished(0, "tool_calls", 10, 20, prefill_s=0.5, decode_s=2.0),
        ]
    )
    assert [message["type"].removeprefix("toolCallGeneration") for message in messages] == [
        "promptProcessingProgress",
        "fragment",
        "Start",
        "NameReceived",
        "ArgumentFragmentGenerated",
        "ArgumentFragmentGenerated",
        "End",
        "Start",
        "NameReceived",
        "End",
        "success",
    ]
    endpoint, events = read(messages)
    calls = [event.arg for event in events if isinstance(event, PredictionToolCallEvent)]
    assert [(call.id, call.name, call.arguments) for call in calls] == [("call_1", "look", {"at": "x"}), ("call_2", "wait", {})]
    assert isinstance(events[-1], ChannelFinishedEvent)
    stats = endpoint.result().stats
    assert (stats.stop_reason, stats.tokens_per_second, stats.time_to_first_token_sec) == ("toolCalls", 10.0, 0.5)


def test_a_call_whose_arguments_are_no_object_is_told_as_failed() -> None:
    messages = send([ADMITTED, CallBegun(0, 0, "c", "look"), CallDelta(0, 0, '{"at": '), Finished(0, "length", 10, 5)])
    failed = messages[-2]
    assert (failed["type"], failed["rawContent"]) == ("toolCallGenerationFailed", '{"at": ')
    endpoint, events = read(messages)
    with pytest.raises(LMStudioPredictionError):
        list(map(endpoint.handle_rx_event, events))


def test_thoughts_stand_between_their_marks() -> None:
    endpoint, events = read(
        send([ADMITTED, ReasoningDelta(0, "hm"), ReasoningDelta(0, "m"), TextDelta(0, "yes"), Finished(0, "stop", 10, 3)])
    )
    fragments = [event.arg for event in events if isinstance(event, PredictionFragmentEvent)]
    assert [(fragment.content, fragment.reasoning_type) for fragment in fragments] == [
        ("<think>", "reasoningStartTag"),
        ("hm", "reasoning"),
        ("m", "reasoning"),
        ("</think>", "reasoningEndTag"),
        ("yes", "none"),
    ]
    assert endpoint.result().content == "<think>hmm</think>yes"


def test_an_answer_that_was_stopped_says_so_with_the_tokens_it_had() -> None:
    stats = send([ADMITTED, TextDelta(0, "a"), TextDelta(0, "b")])[-1]["stats"]
    assert stats == {"stopReason": "userStopped", "promptTokensCount": 10, "predictedTokensCount": 2, "totalTokensCount": 12}


def test_the_sdks_settings_become_the_runtimes() -> None:
    config = {
        "maxTokens": 7,
        "temperature": 0,
        "topKSampling": 9,
        "topPSampling": 0.5,
        "minPSampling": False,
        "repeatPenalty": False,
        "stopStrings": ["END", ""],
    }
    request = ask(ChatResponseEndpoint("echo", Chat.from_history("hi"), {"type": "gbnf", "gbnfGrammar": "root ::= 1"}, config))
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.repeat_penalty) == (0, 9, 0.5, 0, 1)
    assert (request.max_tokens, request.stop) == (7, ("END",))
    assert request.constraint == Constraint("gbnf", "root ::= 1", param="structured")
    plain = ask(ChatResponseEndpoint("echo", Chat.from_history("hi")))
    assert (plain.sampling, plain.constraint, plain.max_tokens) == (GenerateRequest("m", TextPrompt("")).sampling, None, None)


def test_a_schema_is_passed_on_as_it_was_written() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    constraint = ask(ChatResponseEndpoint("echo", Chat.from_history("x"), schema)).constraint
    assert constraint is not None
    assert (constraint.kind, json.loads(constraint.text)) == ("json_schema", schema)


def test_tools_and_turns_become_the_runtimes() -> None:
    def look(at: str) -> str:
        """Looks."""
        return at

    tools, known = ChatResponseEndpoint.parse_tools([look])
    history = {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": [{"type": "text", "text": "look"}, FILE]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "so"},
                    {"type": "toolCallRequest", "toolCallRequest": {"type": "function", "id": "c", "name": "look"}},
                ],
            },
            {"role": "tool", "content": [{"type": "toolCallResult", "content": '"seen"', "toolCallId": "c"}]},
        ]
    }
    endpoint = ChatResponseEndpoint("echo", Chat.from_history(history), llm_tools=tools, client_tool_map=known)
    prompt = ask(endpoint, {"file-1": b"\x89PNG..."}).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages == (
        Message("system", (TextPart("be brief"),)),
        Message("user", (TextPart("look"), ImagePart(b"\x89PNG...", "image/png"))),
        Message("assistant", (TextPart("so"),), tool_calls=(ToolCall("c", "look", "{}"),)),
        Message("tool", (TextPart('"seen"'),), tool_call_id="c"),
    )
    [tool] = prompt.tools
    assert isinstance(tool, Tool)
    assert (tool.name, tool.description, prompt.tool_mode) == ("look", "Looks.", "auto")
    assert json.loads(tool.parameters)["required"] == ["at"]
    with pytest.raises(InvalidRequest, match=r"'a\.png' is not here, or no longer"):
        ask(endpoint)


def test_a_completion_is_plain_text() -> None:
    assert ask(CompletionEndpoint("echo", "Once upon")).prompt == TextPrompt("Once upon")


def test_templates_of_ones_own_and_presets_are_refused() -> None:
    chat = Chat.from_history("x")
    with pytest.raises(InvalidRequest, match="own prompt template"):
        ask(ChatResponseEndpoint("echo", chat, None, {"promptTemplate": {"type": "manual", "stopStrings": []}}))
    with pytest.raises(InvalidRequest, match="no presets"):
        ask(ChatResponseEndpoint("echo", chat, None, None, "mine"))


def test_thinking_and_a_forced_call_are_asked_for() -> None:
    settings = stack(
        ("reasoning.enableThinking", True),
        ("reasoning.budgetTokens", {"checked": True, "value": 64}),
        ("tools", {"type": "toolArray", "tools": [{"type": "function", "function": {"name": "f"}}], "force": True}),
        ("seed", {"checked": True, "value": 5}),
        ("llama.mirostatSampling", {"version": 2, "learningRate": 0.2, "targetEntropy": 4}),
    )
    assert settings.thinking() == Thinking(enabled=True, budget_tokens=64)
    tools, mode = settings.tools()
    assert ([tool.name for tool in tools], mode) == (["f"], "required")
    sampling = settings.sampling()
    assert (sampling.seed, sampling.mirostat, sampling.mirostat_tau, sampling.mirostat_eta) == (5, 2, 4, 0.2)


def test_a_setting_of_the_wrong_kind_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"llm\.prediction\.temperature"):
        stack(("temperature", "hot")).sampling()


FILE = {"type": "file", "name": "a.png", "identifier": "file-1", "sizeBytes": 7, "fileType": "image"}


def stack(*fields: tuple[str, object]) -> Settings:
    written = tuple(KvField(f"llm.prediction.{key}", msgspec.Raw(msgspec.json.encode(value))) for key, value in fields)
    return Settings(KvStack((KvLayer("apiOverride", KvConfig(written)),)))
