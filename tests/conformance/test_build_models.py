"""The small model in every layout: made once, whole, the same numbers in each, and made anew when something changed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import build_models
import numpy as np
import pytest
from build_models import ALL_STEPS, STEPS, TINY_STEPS, build, make_digest, read_stamp
from numpy_llama import NumpyLlama
from safetensors.numpy import load_file
from starter_weights import read_weights, to_halves, to_pairs

from impetus.runtime.formats.detect import detect

FORMATS = {
    "safetensors": "safetensors",
    "pytorch": "pytorch",
    "mlx": "mlx",
    "genai": "onnx",
    "onnx": "onnx",
    "gguf": "gguf",
    "coreml": "coreml",
}
IDS = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365]
CHEAP = ("tiny-safetensors", "tiny-genai")
"""Layouts that are made within seconds, by nothing but numpy and onnx."""

pytestmark = pytest.mark.timeout(600)


@cache
def layouts() -> dict[str, Path]:
    return build(*TINY_STEPS)


def layout(name: str) -> Path:
    if name not in layouts():
        pytest.skip(f"what makes {name} is not installed")
    return layouts()[name]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMPETUS_CONFORMANCE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", TINY_STEPS)
def test_each_layout_is_recognised(name: str) -> None:
    folder = layout(name)
    files = sorted(folder.glob("*.gguf"))
    header = detect(files[0] if files else folder)
    assert header is not None
    assert header.format == FORMATS[name.split("-")[1]]
    # An embedding of 49152 tokens in at least four bits, and an export may share it with nothing.
    assert header.size_bytes > 49152 * 64 / 2


@pytest.mark.parametrize("name", TINY_STEPS)
def test_all_files_can_be_read_by_anyone(name: str) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in layout(name).rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o644}, modes


def test_a_file_of_gguf_has_the_numbers_of_the_folder_it_is_made_of() -> None:
    import llama_cpp

    wanted = NumpyLlama(layout("tiny-safetensors")).greedy(IDS, 8)
    for name in ("tiny-gguf", "tiny-gguf-split"):
        file = min(layout(name).glob("*.gguf"))
        model = llama_cpp.Llama(str(file), n_ctx=128, n_threads=1, n_threads_batch=1, verbose=False)
        written = model.generate(IDS, top_k=1, temp=0, repeat_penalty=1.0)
        assert [int(next(written)) for _ in wanted] == wanted
        model.close()


@pytest.mark.parametrize("name", ["tiny-pytorch", "tiny-pytorch-legacy", "tiny-pytorch-sharded", "tiny-safetensors-sharded"])
def test_other_containers_hold_the_same_numbers(name: str) -> None:
    folder = layout(name)
    wanted = load_file(layout("tiny-safetensors") / "model.safetensors")
    if name.startswith("tiny-pytorch"):
        import torch

        read = [torch.load(file, weights_only=True) for file in folder.glob("*.bin")]
    else:
        read = [load_file(file) for file in folder.glob("*.safetensors")]
    found = {key: np.asarray(value) for part in read for key, value in part.items()}
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[key], wanted[key]) for key in wanted)


def test_turned_pairs_and_halves_are_each_others_way_back() -> None:
    value = np.arange(8 * 3.0).reshape(8, 3)
    assert np.array_equal(to_pairs(to_halves(value, 2), 2), value)
    # Within each head, what was side by side is half a head apart.
    assert to_halves(value, 2)[:, 0].tolist() == [0, 6, 3, 9, 12, 18, 15, 21]


def test_the_starter_model_is_read_under_the_names_of_its_checkpoints() -> None:
    weights = read_weights()
    assert len(weights) == 2 + 30 * 9
    assert weights["model.layers.29.mlp.down_proj.weight"].shape == (576, 1536)


def test_what_is_there_is_not_made_again(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(*CHEAP) == {name: empty_cache / name for name in CHEAP}
    assert capsys.readouterr().out.count("…") == len(CHEAP)
    times = {path: path.stat().st_mtime_ns for path in empty_cache.rglob("*") if path.is_file() and path.name != ".lock"}
    assert build(*CHEAP) == {name: empty_cache / name for name in CHEAP}
    assert capsys.readouterr().out == ""
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert not [path.name for path in (empty_cache / "made").iterdir() if path.suffix not in ("", ".json")]


@pytest.mark.parametrize("name", CHEAP)
def test_what_other_code_made_is_made_again(name: str, empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(*CHEAP)
    stamp = empty_cache / "made" / f"{name}.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"digest": "of older code"}))
    (empty_cache / name / "config.json").write_text("{}")
    capsys.readouterr()
    build(*CHEAP)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [name]
    assert json.loads((empty_cache / name / "config.json").read_text())["model_type"] == "llama"
    assert read_stamp(name)["digest"] == make_digest(name)


def test_digests_tell_settings_apart_and_include_what_a_layout_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [name for name in ALL_STEPS if name in layouts() or name in CHEAP]
    assert len({make_digest(name) for name in wanted}) == len(wanted)
    before = make_digest("tiny-genai")
    other = build_models.Step("safetensors_layouts.make_tiny", how={"seed": 2})
    monkeypatch.setitem(build_models.ALL_STEPS, "tiny-safetensors", other)
    assert make_digest("tiny-genai") != before


def test_a_layout_whose_library_is_missing_is_left_out(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        build_models.ALL_STEPS, "tiny-genai", build_models.Step("tiny_onnx.make_genai_folder", ("no_such_library",))
    )
    assert build("tiny-genai") == {}
    assert "no_such_library is not installed" in capsys.readouterr().out


def test_a_step_that_fails_leaves_nothing_and_says_why(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("tiny-safetensors")
    (empty_cache / "tiny-safetensors" / "config.json").write_text("{}")
    with pytest.raises(RuntimeError, match=r"tiny-genai could not be made:(.|\n)*KeyError"):
        build("tiny-genai")
    assert not (empty_cache / "tiny-genai").exists()
    assert read_stamp("tiny-genai") == {}


def test_both_families_have_all_formats() -> None:
    for names in (STEPS, [name.removeprefix("tiny-") for name in TINY_STEPS]):
        assert {FORMATS[name.partition("-")[0]] for name in names if name != "reference"} == set(FORMATS.values())
