"""Two hundred damaged headers: each is refused with a reason, or its worker dies alone, or the change does no harm."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from engine_tools import ENVIRONMENT, GREEDY, answer, find_starter, make_engine
from mutated_gguf import Mutant, Mutator
from worker_forks import PATIENCE_S, Forks, Outcome

from impetus.hw.profile import CapabilityProfile, Reading
from impetus.runtime.config import Config
from impetus.runtime.errors import FormatError, LoadFailed
from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.header import Header
from impetus.runtime.frames import Generate, Load, LoadOptions, LoadRefused, Ready, Refused, Step, encode
from impetus.runtime.home import find_home
from impetus.runtime.models.model import Model
from impetus.runtime.opening import engine_environment
from impetus.runtime.request import GenerateRequest, TextPrompt
from impetus.runtime.scheduling.memory_grant import MemoryNow, judge_load, measure_room
from impetus.runtime.tuning.plan import plan_load

pytestmark = pytest.mark.engine

GIB = 1024**3
MIB = 1024**2
MEMORY_BYTES = 3 * GIB
ROOM = measure_room(MemoryNow(MEMORY_BYTES, MEMORY_BYTES), None, (), "normal")
MACHINE = CapabilityProfile(
    host="h",
    system="Linux 6.1",
    architecture="x86_64",
    usable_cpus=Reading(1, "test"),
    memory_bytes=Reading(MEMORY_BYTES, "test"),
)
CONFIG = msgspec.convert(
    {"engine": {"context_length": 256, "max_sequences": 2, "batch_tokens": 64}, "cache": {"disk": False, "ram_mb": 16}}, Config
)
REQUEST = GenerateRequest(model="m", prompt=TextPrompt("def read"), sampling=GREEDY, max_tokens=4)


@dataclass(frozen=True)
class Source:
    """A right file, and how many wrong ones are made of it."""

    path: Path
    mutants: int
    seed: int


@dataclass(frozen=True)
class Worn:
    """What a worker took, and might have taken."""

    peak_bytes: int
    limit_bytes: int


def write(path: Path, mutant: Mutant, size_bytes: int) -> None:
    """Writes a changed file; what is not given of a large one's weights is a hole."""
    with path.open("wb") as file:
        file.write(mutant.head)
        file.truncate(size_bytes if mutant.cut is None else mutant.cut)


def read(path: Path) -> Header | FormatError:
    try:
        header = read_gguf(path)
    except FormatError as error:
        return error
    assert header is not None
    return header


def try_one(forks: Forks, path: Path, worn: list[Worn]) -> str:
    """Says where a file's way ended."""
    header = read(path)
    if isinstance(header, FormatError):
        assert header.message.startswith(path.name)
        assert len(header.message) > len(path.name) + 20
        return "refused by the reader"
    made = plan_load(Model("m", path, "impetus", header), MACHINE, CONFIG, home=find_home(str(path.parent)))
    verdict = judge_load(made.needed_bytes, ROOM, (), may_shrink=False)
    if verdict.answer == "refuse":
        assert "GiB" in verdict.text
        return "refused by the governor"
    limit = made.options.memory_limit_bytes
    assert limit is not None
    assert limit <= MEMORY_BYTES
    outcome = forks.run(encode(Load("llama", "m", str(path), made.options)) + encode(Generate(1, REQUEST)))
    worn.append(Worn(outcome.peak_bytes, limit))
    return judge(outcome)


def judge(outcome: Outcome) -> str:
    refused = [frame for frame in outcome.frames if isinstance(frame, LoadRefused)]
    if refused:
        assert outcome.status == 0, outcome
        assert len(refused[0].why) > 10
        return "refused by the engine"
    assert outcome.status != -9, f"it took more than {PATIENCE_S} s: {outcome.words}"
    if outcome.status:
        return "died alone"
    assert any(isinstance(frame, Ready) for frame in outcome.frames), outcome
    last = outcome.frames[-1]
    assert any(isinstance(frame, Refused | Step) for frame in outcome.frames), last
    return "served"


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(engine_environment(Config(), ENVIRONMENT, usable_cpus=2)) as forks:
        yield forks


@pytest.mark.timeout(200)
def test_no_damaged_header_harms_more_than_its_worker(forks: Forks, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    sources = (Source(tiny_models["llama"], 140, seed=1), Source(find_starter(), 60, seed=2))
    outcomes: Counter[str] = Counter()
    worn: list[Worn] = []
    for source in sources:
        size_bytes = source.path.stat().st_size
        with source.path.open("rb") as file:
            head = file.read(2_000_000)
        for mutant in Mutator(head, source.seed).mutants(source.mutants):
            path = tmp_path / "mutant.gguf"
            write(path, mutant, size_bytes)
            try:
                outcomes[try_one(forks, path, worn)] += 1
            except AssertionError as error:
                raise AssertionError(f"{source.path.name}, {mutant.what}: {error}") from error
    assert outcomes.total() == 200
    assert outcomes["refused by the reader"] > 80
    assert outcomes["refused by the engine"] > 10
    assert outcomes["served"] > 5, "some changes do no harm"
    assert all(one.peak_bytes < one.limit_bytes for one in worn)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process allocates")
def test_a_worker_cannot_take_more_than_its_limit(forks: Forks) -> None:
    limit = 400 * MIB
    options = LoadOptions(context_length=8192, cache_tokens=65_536, max_sequences=1, threads=1, memory_limit_bytes=limit)
    outcome = forks.run(encode(Load("llama", "m", str(find_starter()), options)) + encode(Generate(1, REQUEST)))
    assert [type(frame) for frame in outcome.frames][-1] is LoadRefused
    refused = outcome.frames[-1]
    assert isinstance(refused, LoadRefused)
    assert "no memory" in refused.why
    assert outcome.peak_bytes < limit
    enough = msgspec.structs.replace(options, cache_tokens=4096)
    served = forks.run(encode(Load("llama", "m", str(find_starter()), enough)) + encode(Generate(1, REQUEST)))
    assert judge(served) == "served"


async def test_the_server_names_the_file_that_ended_a_worker_and_goes_on(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    good = tiny_models["llama"].read_bytes()
    path = tmp_path / "twice.gguf"
    path.write_bytes(good.replace(b"\1\0\0\0\0\0\0\0a", b"\1\0\0\0\0\0\0\0b", 1))
    options = LoadOptions(context_length=256, threads=1, max_sequences=1)
    engine = make_engine("llama", path, options=options)
    with pytest.raises(LoadFailed) as caught:
        await engine.start()
    assert f"could not be loaded from {path}" in caught.value.message
    assert "GGML_ASSERT" in caught.value.message
    engine = make_engine("llama", tiny_models["llama"], options=options)
    try:
        await engine.start()
        assert (await answer(engine, REQUEST)).done.completion_tokens == 4
    finally:
        await engine.close()
