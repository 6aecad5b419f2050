"""LM Studio's answers from hand-made events: thoughts, calls, loads, failures."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from impetus.api.dialects.lmstudio_chat import CHAT, Reply, to_request
from impetus.api.dialects.lmstudio_events import ChatStream
from impetus.api.dialects.lmstudio_facts import Reckoning, to_bits, to_size
from impetus.api.dialects.lmstudio_v0 import StatsStream
from impetus.api.dialects.lmstudio_v1 import to_job_answer
from impetus.api.errors import Failure
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, Finished, ReasoningDelta, TextDelta
from impetus.runtime.models.download import Download
from impetus.runtime.models.model import ModelStatus
from impetus.runtime.models.registry import ECHO
from impetus.runtime.request import ChatPrompt, ImagePart, Message, TextPart, Thinking

ADMITTED = Admitted("echo", 10, 100)
FINISHED = Finished(0, "stop", 10, 6, prefill_s=0.5, decode_s=2.0, reasoning_tokens=2)
PIXEL = "data:image/png;base64,aGk="


def open_stream(status: ModelStatus, *, kept: list[str] | None = None) -> tuple[ChatStream, Reply]:
    reply = Reply(response_id="resp_1", was_loaded=status.state == "ready")
    keep = (lambda: kept.append("kept")) if kept is not None else (lambda: None)
    return ChatStream(reply, "echo", read_status=lambda: status, keep=keep), reply


def read(wire: bytes) -> list[dict]:
    blocks = [block for block in wire.decode().split("\n\n") if block]
    return [json.loads(block.split("\ndata: ", 1)[1]) for block in blocks]


def names(wire: bytes) -> list[str]:
    return [event["type"] for event in read(wire)]


def test_thoughts_and_text_are_items_of_their_own() -> None:
    kept: list[str] = []
    stream, reply = open_stream(ModelStatus(ECHO, "ready", context_length=100, load_s=1.0), kept=kept)
    events: list[Event] = [ADMITTED, ReasoningDelta(0, "hm"), ReasoningDelta(0, "m"), TextDelta(0, "yes"), FINISHED]
    wire = b"".join(stream.to_wire([event]) for event in events)
    assert names(wire) == [
        "chat.start",
        "prompt_processing.start",
        "prompt_processing.end",
        "reasoning.start",
        "reasoning.delta",
        "reasoning.delta",
        "reasoning.end",
        "message.start",
        "message.delta",
        "message.end",
    ]
    [end] = read(stream.ending())
    assert end["result"]["output"] == [{"type": "reasoning", "content": "hmm"}, {"type": "message", "content": "yes"}]
    assert end["result"]["stats"] == {
        "input_tokens": 10,
        "total_output_tokens": 6,
        "reasoning_output_tokens": 2,
        "tokens_per_second": 3.0,
        "time_to_first_token_seconds": 0.5,
    }
    assert end["result"]["response_id"] == "resp_1"
    assert kept == ["kept"]
    assert reply.message() == Message("assistant", (TextPart("yes"),), reasoning="hmm")


def test_a_call_of_a_tool_that_nobody_offered_is_told_as_an_invalid_one() -> None:
    stream, _ = open_stream(ModelStatus(ECHO, "ready"))
    begun, rest = CallBegun(0, 0, "call_1", "open_door"), CallDelta(0, 0, "{}")
    events = read(stream.to_wire([ADMITTED, TextDelta(0, "I"), begun, rest, TextDelta(0, "go"), FINISHED]))
    assert [event["type"] for event in events][3:] == [
        "message.start",
        "message.delta",
        "message.end",
        "tool_call.failure",
        "message.start",
        "message.delta",
        "message.end",
    ]
    failure = {
        "reason": "Cannot find tool with name open_door.",
        "metadata": {"tool_name": "open_door", "type": "invalid_name"},
    }
    assert events[6] == failure | {"type": "tool_call.failure"}
    [end] = read(stream.ending())
    assert end["result"]["output"][1] == failure | {"type": "invalid_tool_call"}


def test_a_heartbeat_tells_of_the_load_and_then_of_the_prompt_and_then_says_nothing_new() -> None:
    status = ModelStatus(ECHO, "unloaded")
    reply = Reply(response_id=None, was_loaded=False)
    stream = ChatStream(reply, "echo", read_status=lambda: status, keep=lambda: None)
    assert names(stream.heartbeat()) == ["chat.start"]
    assert stream.heartbeat() == b": ping\n\n"
    status = ModelStatus(ECHO, "loading", progress=0.25)
    assert names(stream.heartbeat()) == ["model_load.start", "model_load.progress"]
    assert read(stream.heartbeat()) == [{"type": "model_load.progress", "model_instance_id": "echo", "progress": 0.25}]
    status = ModelStatus(ECHO, "ready", load_s=12.5)
    assert names(stream.to_wire([ADMITTED])) == ["model_load.end", "prompt_processing.start"]
    assert names(stream.heartbeat()) == ["prompt_processing.progress"]
    stream.to_wire([ReasoningDelta(0, "a")])
    assert read(stream.heartbeat()) == [{"type": "reasoning.delta", "content": ""}]
    assert reply.answer("echo").stats.model_load_time_seconds == 12.5


def test_a_late_failure_is_an_error_and_then_what_there_is_of_the_answer() -> None:
    stream, _ = open_stream(ModelStatus(ECHO, "ready"))
    stream.to_wire([ADMITTED, TextDelta(0, "half")])
    events = read(stream.failing(Failure(503, "server_error", "It crashed.", code="engine_crashed")))
    assert [event["type"] for event in events] == ["message.end", "error", "chat.end"]
    assert events[1]["error"] == {"type": "internal_error", "message": "It crashed.", "code": "engine_crashed"}
    assert events[2]["result"]["output"] == [{"type": "message", "content": "half"}]
    assert "response_id" not in events[2]["result"]


def test_a_body_becomes_one_turn_behind_the_earlier_ones() -> None:
    body = CHAT.decode(
        json.dumps(
            {
                "model": "m",
                "input": [{"type": "message", "content": "what"}, {"type": "image", "data_url": PIXEL}],
                "system_prompt": "new",
                "reasoning": "high",
                "temperature": 0,
                "top_k": -1,
                "max_output_tokens": 2**40,
                "context_length": 2048,
            }
        )
    )
    earlier = (Message("system", (TextPart("old"),)), Message("user", (TextPart("hi"),)))
    request = to_request(body, earlier)
    assert request.prompt == ChatPrompt(
        (
            Message("system", (TextPart("new"),)),
            earlier[1],
            Message("user", (TextPart("what"), ImagePart(b"hi", "image/png"))),
        ),
        thinking=Thinking(enabled=True, effort="high"),
    )
    assert (request.sampling.temperature, request.sampling.top_k, request.sampling.top_p) == (0, 0, 0.95)
    assert (request.max_tokens, request.context_limit) == (2**31 - 1, 2048)
    assert to_request(CHAT.decode(b'{"model":"m","input":"x","reasoning":"off"}'), ()).prompt == ChatPrompt(
        (Message("user", (TextPart("x"),)),), thinking=Thinking(enabled=False)
    )


class _Chunks:
    """A stream in OpenAI's form, as small as can be."""

    def to_wire(self, batch: Iterable[Event]) -> bytes:
        return b"".join(b'data: {"a":"%s"}\n\n' % type(event).__name__.encode() for event in batch)

    def heartbeat(self) -> bytes:
        return b"beat"

    def ending(self) -> bytes:
        return b"end"

    def failing(self, failure: Failure) -> bytes:
        return failure.message.encode()


def test_stats_stand_in_the_chunk_that_ends_a_choice_and_nowhere_else() -> None:
    status = ModelStatus(ECHO, "ready", context_length=100, engine="llama.cpp (llama-cpp-python 0.3.36)")
    stream = StatsStream(_Chunks(), lambda model: status if model == "echo" else None)
    wire = stream.to_wire([ADMITTED, TextDelta(0, "a"), FINISHED, TextDelta(1, "b")])
    chunks = [json.loads(chunk.removeprefix("data: ")) for chunk in wire.decode().split("\n\n") if chunk]
    assert [chunk["a"] for chunk in chunks] == ["Admitted", "TextDelta", "Finished", "TextDelta"]
    assert [sorted(chunk) for chunk in chunks] == [["a"], ["a"], ["a", "model_info", "runtime", "stats"], ["a"]]
    assert chunks[2]["runtime"] == {"name": "llama.cpp", "version": "0.3.36", "supported_formats": ["echo"]}
    assert chunks[2]["stats"] == {
        "tokens_per_second": 3.0,
        "time_to_first_token": 0.5,
        "generation_time": 2.0,
        "stop_reason": "eosFound",
    }
    assert (stream.heartbeat(), stream.ending(), stream.failing(Failure(500, "", "no"))) == (b"beat", b"end", b"no")


@pytest.mark.parametrize(
    ("finished", "reason"),
    [
        (Finished(0, "stop", 10, 5), "eosFound"),
        (Finished(0, "stop", 10, 5, stop_text="x"), "stopStringFound"),
        (Finished(0, "tool_calls", 10, 5), "toolCalls"),
        (Finished(0, "length", 10, 5), "maxPredictedTokensReached"),
        (Finished(0, "length", 10, 90), "contextLengthReached"),
    ],
)
def test_why_an_answer_ended(finished: Finished, reason: str) -> None:
    reckoning = Reckoning()
    reckoning.add([ADMITTED, finished])
    assert reckoning.stop_reason == reason
    assert reckoning.tokens_per_s is None


def test_a_download_is_a_job_with_its_times() -> None:
    download = Download("download-1", "o/r", "o/r", total_bytes=1000, done_bytes=400, state="downloading", started_epoch_s=0.5)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    running = to_job_answer(replace(download, rate_bytes_per_s=60.0), now)
    assert msgspec.to_builtins(running) == {
        "job_id": "download-1",
        "status": "downloading",
        "bytes_per_second": 60.0,
        "estimated_completion": "2026-01-01T00:00:10.000Z",
        "total_size_bytes": 1000,
        "downloaded_bytes": 400,
        "started_at": "1970-01-01T00:00:00.500Z",
    }
    done = to_job_answer(replace(download, state="done", done_bytes=1000, ended_epoch_s=2.0), now)
    assert (done.status, done.completed_at, done.estimated_completion) == ("completed", "1970-01-01T00:00:02.000Z", None)
    failed = to_job_answer(replace(download, state="failed", ended_epoch_s=2.0, error="No network."), now)
    assert (failed.status, failed.completed_at, failed.error) == ("failed", None, "No network.")


def test_names_of_quantisations_and_sizes() -> None:
    assert [to_bits(name) for name in ("Q4_K_M", "F16", "IQ3_XXS", "4bit", None, "none")] == [4, 16, 3, 4, None, None]
    assert [to_size(count) for count in (134_515_008, 1_711_376_384, 7_000_000_000, None)] == ["135M", "1.7B", "7B", None]
