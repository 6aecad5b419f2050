"""An engine without a model that follows a script, or stands in for an able model: for tests of agents and of what goes wrong.

What it says is written in a family's own syntax and goes the way of every model's answer, through the real parsers.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import msgspec

from ...events import PrefixReport
from ...frames import LoadOptions
from ...questions import Embed, Embedded, Question
from ...request import ChatPrompt, GenerateRequest
from ..output.choice import FAMILIES
from ..output.family import Family, WrittenCall
from .backend import Admission, Loaded, PromptTooLong, Refusal, StepOutcome, Work
from .echo import EchoBackend
from .faults import FaultCounter
from .playing import Playing, read_words, split_words
from .script import Fault, ScriptedTurn, arguments_of, find_script, turn_of
from .stand_in import act, fill_form

KEPT_PROMPTS = 16
DIMENSIONS = 64
"""Of the vectors it gives."""
USUAL_FAMILY = "hermes"


@dataclass(frozen=True, slots=True)
class ScriptedAdmission(Admission):
    """A request that is let in, with what is to go wrong with it."""

    fault: Fault | None = None


class ScriptedBackend(EchoBackend):
    """Speaks by the script, or as the stand-in does."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: deque[list[int]] = deque(maxlen=KEPT_PROMPTS)
        """Prompts as they were asked, the newest last: what a cache would hold."""
        self._faults: dict[int, Fault] = {}
        self._counter = FaultCounter()

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads nothing."""
        loaded = super().load(path, options, on_progress)
        return Loaded(
            loaded.context_length, loaded.max_sequences, loaded.vocabulary_size, "scripted", tools="native", thinks=True
        )

    def admit(self, request: GenerateRequest) -> Admission:
        """Counts the prompt's words, and chooses how the answer is read."""
        ids = read_words(request.prompt)
        limit = min(self._context_length, request.context_limit or self._context_length)
        if len(ids) >= limit:
            raise PromptTooLong(len(ids), limit)
        prompt = request.prompt
        if not isinstance(prompt, ChatPrompt):
            return Admission(ids)
        family = _family(prompt)
        turn = _turn(request)
        fault = turn.fault if self._counter.is_due(turn, prompt) else None
        if fault == "busy":
            raise Refusal("overloaded", "The script says that there is no room.")
        if fault == "overflow":
            raise PromptTooLong(len(ids), max(1, len(ids) * 3 // 4))
        tools = () if prompt.tool_mode == "none" else prompt.tools
        return ScriptedAdmission(ids, parser=family.open_parser(tools) if request.split else None, fault=fault)

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Begins to speak."""
        turn = _turn(request)
        tps = next((tps for tps in (request.echo_tps, turn.tps) if tps is not None), self._tps)
        pieces = split_words(_written(turn, request)) or [""]
        playing = Playing(sequence, pieces, tps=tps, top_logprobs=request.top_logprobs, delay_s=turn.delay_s)
        if isinstance(admission, ScriptedAdmission) and admission.fault is not None:
            self._faults[sequence] = admission.fault
        self.play(playing, sequence, self._report(list(admission.token_ids)))

    def step(self) -> StepOutcome:
        """Gives every token that is due, or fails where the script says so."""
        outcome = super().step()
        for token in outcome.tokens:
            match self._faults.get(token.sequence):
                case "crash":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "fail":
                    raise RuntimeError("the script says that this step fails")
                case _:
                    pass
        return outcome

    def drop(self, sequence: int) -> None:
        """Forgets a sequence."""
        super().drop(sequence)
        self._faults.pop(sequence, None)

    def close(self) -> None:
        """Forgets which faults came about."""
        self._counter.forget()

    def answer(self, question: Question) -> Work:
        """Counts a prompt's words, or gives vectors of texts that are the same for the same text."""
        if not isinstance(question, Embed):
            return (yield from super().answer(question))
        vectors = tuple(_vector(text, question.dimensions or DIMENSIONS) for text in question.inputs)
        return Embedded(vectors, sum(max(1, len(split_words(str(text)))) for text in question.inputs))
        yield  # what makes this a piece of work, though it is done in one slice

    def _report(self, ids: list[int]) -> PrefixReport:
        """Compares a prompt with those seen before; the last word is always computed."""
        shared = max((_shared(ids, seen) for seen in self._seen), default=0)
        cached = min(shared, max(0, len(ids) - 1))
        self._seen.append(ids)
        return PrefixReport(cached, 0, len(ids) - cached)


def _family(prompt: ChatPrompt) -> Family:
    script = find_script(prompt)
    name = USUAL_FAMILY if script is None else script.family
    try:
        return FAMILIES[name]()
    except KeyError:
        raise Refusal("invalid", f"The script's family '{name}' is not known.", param="messages") from None


def _turn(request: GenerateRequest) -> ScriptedTurn:
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt):
        return ScriptedTurn(text="This is how the scripted model goes on.")
    script = find_script(prompt)
    if script is None:
        return act(prompt, request.constraint)
    turn = turn_of(script, prompt)
    if not turn.stand_in:
        return turn
    acted = act(prompt, request.constraint)
    return msgspec.structs.replace(turn, text=turn.text + acted.text, calls=acted.calls)


def _written(turn: ScriptedTurn, request: GenerateRequest) -> str:
    """Writes an answer in the syntax of its family."""
    if turn.raw is not None:
        return turn.raw
    if not isinstance(request.prompt, ChatPrompt):
        form = request.constraint
        has_schema = form is not None and form.kind in ("json_object", "json_schema")
        return json.dumps(fill_form(json.loads(form.text or "{}"))) if form is not None and has_schema else turn.text
    if not turn.calls and not turn.reasoning:
        return turn.text
    calls = [WrittenCall(call.name, arguments_of(call)) for call in turn.calls]
    return _family(request.prompt).write(calls, text=turn.text, reasoning=turn.reasoning)


def _shared(one: list[int], other: list[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _vector(text: object, dimensions: int) -> bytes:
    """Gives a vector of length 1, of shape (dimensions,), 32-bit floats, little-endian."""
    digest = b"".join(hashlib.sha256(f"{at} {text}".encode()).digest() for at in range(dimensions // 32 + 1))
    numbers = [byte - 127.5 for byte in digest[:dimensions]]
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
