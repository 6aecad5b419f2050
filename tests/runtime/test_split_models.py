"""A model in several files: one model in the list, loaded by its first file, refused where a file is missing."""

import asyncio
from pathlib import Path

import pytest
from engine_tools import GREEDY, answer, make_engine, opened
from tiny_companions import split_model
from tiny_models import tiny_llama

from impetus.runtime.errors import LoadFailed
from impetus.runtime.formats.detect import detect
from impetus.runtime.frames import LoadOptions
from impetus.runtime.models.registry import Registry
from impetus.runtime.models.stores import FolderStore
from impetus.runtime.request import GenerateRequest, TextPrompt
from impetus.runtime.tuning.footprint import footprint
from impetus.runtime.worker.backends.llama_model import split_files
from impetus.runtime.worker.prefix.fingerprint import fingerprint_files

OPTIONS = LoadOptions(context_length=256, threads=1, max_sequences=2)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "tiny.gguf")


@pytest.fixture
def parts(tmp_path: Path, whole: Path) -> list[Path]:
    folder = tmp_path / "models"
    folder.mkdir()
    parts = split_model(folder, whole)
    assert len(parts) == 3
    return parts


def test_the_parts_are_one_model_and_all_of_them_count(parts: list[Path], whole: Path) -> None:
    (model,) = Registry([FolderStore(parts[0].parent)]).scan()
    assert (model.id, model.path, model.header.shards, model.problem) == ("tiny", parts[0], 3, None)
    assert model.header.size_bytes == sum(part.stat().st_size for part in parts)
    assert footprint(model.header, OPTIONS).weights_bytes == model.header.size_bytes
    unsplit = detect(whole)
    assert unsplit is not None
    assert model.header.parameters == unsplit.parameters
    assert split_files(str(parts[0])) == parts


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_fingerprint_sees_a_change_in_every_part(parts: list[Path], at: int) -> None:
    before = fingerprint_files(split_files(str(parts[0])))
    data = bytearray(parts[at].read_bytes())
    data[-1] ^= 1
    parts[at].write_bytes(data)
    assert fingerprint_files(split_files(str(parts[0]))) != before


@pytest.mark.engine
async def test_a_split_model_answers_as_the_whole_one_does(parts: list[Path], whole: Path) -> None:
    request = GenerateRequest("m", TextPrompt("the quick brown fox"), GREEDY, max_tokens=12)
    texts: list[str] = []
    for path in (whole, parts[0]):
        async with asyncio.timeout(30), opened("llama", path, options=OPTIONS) as engine:
            texts.append((await answer(engine, request)).text)
    assert texts[0] == texts[1] != ""


@pytest.mark.engine
async def test_a_missing_part_is_named_in_the_list_and_by_the_engine(parts: list[Path]) -> None:
    parts[1].unlink()
    (model,) = Registry([FolderStore(parts[0].parent)]).scan()
    assert model.problem is not None
    assert parts[1].name in model.problem
    engine = make_engine("llama", parts[0], options=OPTIONS)
    async with asyncio.timeout(30):
        with pytest.raises(LoadFailed) as caught:
            await engine.start()
    assert parts[1].name in caught.value.why
