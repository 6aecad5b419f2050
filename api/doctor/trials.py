"""What is tried with each client: short conversations as it would have them, with the model that is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from .check import Check
from .clients import Client
from .conversation import Ask, Call, Heard, Turn, merge
from .exchange import Exchange, NoAnswer, Reply

PATIENCE_S = 10.0
"""The longest silence that every client bears; heartbeats come more often."""
FREED_S = 5.0
"""How soon after its client left a request must have ended."""
_STREAMS = frozenset({"text/event-stream", "application/x-ndjson"})
MOST_TRIES = 3
"""A weak model runs out of tokens now and then before its call is whole."""
_TASK = "Create a file named hello.txt with content hi"
_BACKGROUND = "The project holds a parser, a small server and their tests; nothing else matters here. " * 24
_LONG = "Count from one to five hundred in words, and leave out none. " + "And then once more from the beginning. " * 40


@dataclass(frozen=True, slots=True)
class Subject:
    """The server and the model that are tried."""

    exchange: Exchange
    model: str
    context_length: int
    repeats: bool
    """Whether the model is `echo`, which calls no tools and keeps nothing."""


class Failed(Exception):
    """A trial failed; with what was seen and what to change."""

    def __init__(self, found: str, change: str) -> None:
        super().__init__(found)
        self.found, self.change = found, change


class Skipped(Exception):
    """A trial says nothing here; with why."""


def try_client(client: Client, subject: Subject) -> list[Check]:
    """Tries everything with a client; a route that is missing fails once, not in every trial."""
    missing = _find_missing(client, subject)
    if missing is not None:
        change = "This Impetus does not speak the client's dialect: use a newer one, or another provider in the client."
        rest = [Check(client.name, name, "skip", "route missing") for name, _ in TRIALS]
        return [Check(client.name, "route", "fail", missing, change), *rest]
    return [_run(name, trial, client, subject) for name, trial in TRIALS]


def _run(name: str, trial: Callable[[Client, Subject], str], client: Client, subject: Subject) -> Check:
    try:
        return Check(client.name, name, "pass", trial(client, subject))
    except Failed as failed:
        return Check(client.name, name, "fail", failed.found, failed.change)
    except Skipped as skipped:
        return Check(client.name, name, "skip", str(skipped))
    except NoAnswer as error:
        return Check(client.name, name, "fail", str(error), "Look into the server's log: it broke off.")


def _find_missing(client: Client, subject: Subject) -> str | None:
    try:
        reply = subject.exchange.send("POST", client.path, {}, headers=client.headers)
    except NoAnswer as error:
        return str(error)
    if reply.status == 405 or (reply.status == 404 and b"no route" in reply.data):
        return f"route missing: POST {client.path.partition('?')[0]}"
    return None


def look_around(client: Client, subject: Subject) -> str:
    """Asks what the client asks before it begins."""
    for look in client.looks:
        body = {"model": subject.model} if look.method == "POST" else None
        reply = subject.exchange.send(look.method, look.path, body, headers=client.headers)
        if reply.status != 200:
            raise Failed(f"{look.method} {look.path} answers {reply.status}", f"{client.title} needs this route.")
        for text in look.holds:
            wanted = text.replace("{model}", subject.model)
            if wanted.encode() not in reply.data.replace(b'": "', b'":"'):
                raise Failed(f"{look.method} {look.path} lacks {wanted}", "The client would not find the model.")
    return f"{len(client.looks)} of its questions answered" if client.looks else "it asks nothing first"


def stream(client: Client, subject: Subject) -> str:
    """Wants head and signs of life in time, a stream's content type, and an end."""
    reply, heard = _converse(client, subject, _ask(client, Turn("user", "Say hello.")))
    if reply.kind not in _STREAMS:
        raise Failed(f"the content type is {reply.kind}", "The client waits for a stream.")
    if reply.head_s > PATIENCE_S or reply.longest_gap_s > PATIENCE_S:
        raise Failed(
            f"silent for {max(reply.head_s, reply.longest_gap_s):.0f} s",
            "Lower server.heartbeat_s, or look what blocks the server.",
        )
    return f"head after {reply.head_s:.2f} s, longest silence {reply.longest_gap_s:.2f} s, {len(heard.text)} characters"


def round_trip(client: Client, subject: Subject) -> str:
    """Lets the model call a tool, and hands it the result."""
    task = Turn("user", _TASK)
    if not client.tools:
        answer = Turn("assistant", _converse(client, subject, _ask(client, task))[1].text or "Done.")
        result = Turn("user", "[write_to_file for 'hello.txt'] Result: the file was saved.")
        _converse(client, subject, _ask(client, task, answer, result))
        return "edits in the text are passed on as they are"
    required = not subject.repeats
    # Room for a weak model that writes more than it was asked to: a cut call has no valid arguments, and comes out as none.
    asked = _ask(client, task, required=required, max_tokens=512)
    _, heard = _converse(client, subject, asked)
    for _ in range(MOST_TRIES - 1):
        if heard.calls or not required:
            break
        _, heard = _converse(client, subject, asked)
    called = heard.calls
    if not called and required:
        raise Failed("no call came although one was required", "The model may be too weak, or its tool syntax is not known.")
    for call in called:
        _check_call(client, call)
    made_up = Call("call_1", client.tools[0].name, msgspec.json.encode(dict.fromkeys(client.tools[0].fields, "x")).decode())
    calls = called or (made_up,)
    results = [Turn("tool", "The file was written.", answers=call) for call in calls]
    _converse(client, subject, _ask(client, task, Turn("assistant", heard.text if called else "", calls), *results))
    if not called:
        raise Skipped("the model echo calls nothing; a made-up call and its result were taken")
    return f"{called[0].name} was called with valid arguments, its result taken"


def parallel(client: Client, subject: Subject) -> str:
    """Sends a turn with two calls and both results."""
    if not client.tools:
        raise Skipped("it has no tools, but edits in the text")
    calls = tuple(
        Call(f"call_{number}", tool.name, msgspec.json.encode(dict.fromkeys(tool.fields, f"file{number}.txt")).decode())
        for number, tool in enumerate((client.tools[0], client.tools[-1]), 1)
    )
    results = [Turn("tool", f"Result of {call.id}.", answers=call) for call in calls]
    _converse(client, subject, _ask(client, Turn("user", "Do both."), Turn("assistant", "", calls), *results))
    return "two calls in one turn and both results are taken"


def second_turn(client: Client, subject: Subject) -> str:
    """Goes on with a conversation, and asks the journal how much of it was computed again."""
    first = Turn("user", f"{_BACKGROUND} I am {client.title}. Say hello.")
    _, heard = _converse(client, subject, _ask(client, first))
    reply, _ = _converse(
        client, subject, _ask(client, first, Turn("assistant", heard.text or "Hello."), Turn("user", "Again."))
    )
    record = subject.exchange.record(reply.request_id)
    if record is None or record.cached_tokens is None or record.prompt_tokens is None:
        raise Failed("the journal does not say what was cached", "Look into the server's log.")
    if record.cached_tokens == 0:
        if subject.repeats:
            raise Skipped("the model echo keeps nothing")
        why = f": {record.miss.why}" if record.miss is not None else ""
        raise Failed(
            f"all {record.prompt_tokens} tokens were computed again{why}", "See docs/prefix-cache.md, and cache.ram_mb."
        )
    return f"{record.cached_tokens} of {record.prompt_tokens} tokens came from the cache"


def hang_up(client: Client, subject: Subject) -> str:
    """Leaves in the middle of an answer, and looks whether the request ends."""
    ask = _ask(client, Turn("user", _LONG), max_tokens=2000, tps=20.0)
    body = merge(client.speaker.to_body(ask, subject.model), client.extras)
    reply = subject.exchange.send("POST", client.path, body, headers=client.headers, leave_when=lambda data: bool(data))
    _check_status(client, reply)
    ends_s = time.monotonic() + FREED_S
    while (record := subject.exchange.record(reply.request_id)) is not None and record.duration_s is None:
        if time.monotonic() > ends_s:
            raise Failed(f"the request still runs {FREED_S:.0f} s after the client left", "Look into the server's log.")
        time.sleep(0.05)
    if record is None:
        raise Failed("the journal does not know the request", "The answer's x-request-id must be the journal's.")
    if record.stage != "cancelled":
        raise Skipped(f"the answer was {record.stage} before the client could leave")
    return f"freed after {record.completion_tokens} tokens"


def overflow(client: Client, subject: Subject) -> str:
    """Sends more than the context holds, and wants the words after which the client compacts."""
    words = "word " * (subject.context_length + subject.context_length // 4 + 512)
    body = merge(client.speaker.to_body(_ask(client, Turn("user", words)), subject.model), client.extras)
    reply = subject.exchange.send("POST", client.path, body, headers=client.headers)
    if reply.status == 413:
        raise Skipped(f"{len(words) // 1_000_000} MB are more than server.max_body_mb")
    missed = client.speaker.misses_overflow(reply.status, reply.data)
    if missed is not None:
        raise Failed(missed, f"{client.title} would not compact its conversation.")
    return "refused with 400 and the words it knows"


TRIALS: tuple[tuple[str, Callable[[Client, Subject], str]], ...] = (
    ("finds the model", look_around),
    ("stream", stream),
    ("tool round trip", round_trip),
    ("parallel calls", parallel),
    ("cache hit", second_turn),
    ("cancel", hang_up),
    ("overflow", overflow),
)


def _ask(client: Client, *turns: Turn, required: bool = False, max_tokens: int = 96, tps: float | None = None) -> Ask:
    return Ask(client.system, turns, client.tools, required, max_tokens, tps)


def _converse(client: Client, subject: Subject, ask: Ask) -> tuple[Reply, Heard]:
    body = merge(client.speaker.to_body(ask, subject.model), client.extras)
    reply = subject.exchange.send("POST", client.path, body, headers=client.headers)
    _check_status(client, reply)
    heard = client.speaker.hear(reply.data)
    if heard.error is not None:
        raise Failed(f"an error in the stream: {heard.error}", "Look into the server's log.")
    if not heard.ended:
        raise Failed("the stream has no proper end", f"{client.title} would repeat the request.")
    return reply, heard


def _check_status(client: Client, reply: Reply) -> None:
    if reply.status != 200:
        raise Failed(f"status {reply.status}: {reply.words}", f"{client.title}'s request was refused.")


def _check_call(client: Client, call: Call) -> None:
    """Wants a tool that was offered, an id, and all its arguments as texts."""
    tool = next((tool for tool in client.tools if tool.name == call.name), None)
    if tool is None or not call.id:
        raise Failed(f"a call without an id, or of an unknown tool: {call.name!r}", "The model's tool syntax may not be known.")
    try:
        arguments = msgspec.json.decode(call.arguments, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise Failed(
            f"the arguments are no texts by name: {call.arguments[:200]}", "Try a larger max_tokens or model."
        ) from error
    if set(tool.fields) - set(arguments):
        raise Failed(f"arguments are missing: {call.arguments[:200]}", "Try another model.")
