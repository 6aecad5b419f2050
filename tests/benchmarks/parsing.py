"""Measures what it costs to read an answer and to write it as OpenAI's chunks, per token, for each family of models.

    .venv/bin/python tests/benchmarks/parsing.py [--tokens 20000]

Text, thoughts and calls are cut into pieces of four characters, about as long as a token. "read" is the worker's part (UTF-8,
parser, numbering), "write" the server's (events to server-sent events). One line for each family, in microseconds a token.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from impetus.api.dialects.openai_answers import Head
from impetus.api.dialects.openai_chunks import ChatStream
from impetus.runtime.events import Admitted, CallBegun, CallDelta, Event, ReasoningDelta, TextDelta
from impetus.runtime.frames import Delta
from impetus.runtime.request import Tool
from impetus.runtime.worker.output.choice import FAMILIES
from impetus.runtime.worker.output.family import Family, WrittenCall
from impetus.runtime.worker.output.spoken import Spoken

PIECE = 4
TOOLS = (Tool("write_file", parameters='{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"}}}'),)
WORDS = 'The quick brown fox reads {files}, counts <lines> and writes "words" again. '


def main() -> int:
    """Measures all families; 1 where one takes more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--most-us", type=float, default=15.0, help="what a token may cost")
    options = parser.parse_args()
    long = WORDS * (options.tokens * PIECE // len(WORDS))
    worst = 0.0
    print(f"{'family':14} {'text':>14} {'thought':>14} {'call':>14}   read + write, us per token")
    for name, kind in FAMILIES.items():
        family = kind()
        call = WrittenCall("write_file", json.dumps({"path": "a", "text": long}))
        # Some families have no thoughts; those that have them are measured by one.
        thought = family.write([], text="x", reasoning=long) if family.thoughts is not None else family.write([], text=long)
        answers = [family.write([], text=long), thought, family.write([call])]
        costs = [_cost(family, answer) for answer in answers]
        worst = max(worst, *(sum(cost) for cost in costs))
        print(f"{name:14} " + " ".join(f"{read:6.2f} + {write:5.2f}" for read, write in costs), flush=True)
    print(f"the most is {worst:.1f} us")
    return 1 if worst > options.most_us else 0


def _cost(family: Family, answer: str) -> tuple[float, float]:
    """Reads and writes an answer; gives what each took, in microseconds a token."""
    pieces = [answer[at : at + PIECE].encode() for at in range(0, len(answer), PIECE)]
    spoken = Spoken(1, (), family.open_parser(TOOLS))
    deltas: list[Delta] = []
    began_s = time.perf_counter()
    for piece in pieces:
        spoken.push(piece, None, deltas)
    spoken.finish(deltas)
    read_s = time.perf_counter() - began_s
    stream = ChatStream(Head("id", "chat.completion.chunk", 1, "m", "f"), n=1, include_usage=True)
    stream.to_wire([Admitted("m", 1, 1)])
    events = [_event(delta) for delta in deltas]
    began_s = time.perf_counter()
    for event in events:
        stream.to_wire([event])
    write_s = time.perf_counter() - began_s
    return 1e6 * read_s / len(pieces), 1e6 * write_s / len(pieces)


def _event(delta: Delta) -> Event:
    match delta.kind:
        case "text":
            return TextDelta(0, delta.text)
        case "reasoning":
            return ReasoningDelta(0, delta.text)
        case "call":
            return CallBegun(0, delta.call, delta.call_id, delta.text)
        case "arguments":
            return CallDelta(0, delta.call, delta.text)


if __name__ == "__main__":
    sys.exit(main())
