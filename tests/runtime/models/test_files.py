from pathlib import Path

import pytest

from impetus.runtime.errors import InvalidRequest
from impetus.runtime.formats.header import Header
from impetus.runtime.models.files import remove
from impetus.runtime.models.model import Model, StoreName


def model(path: Path, store: StoreName = "impetus") -> Model:
    return Model("m", path, store, Header("gguf", 1))


def test_all_shards_go_and_folders_that_are_empty_then(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "owner" / "repo"
    folder.mkdir(parents=True)
    shards = [folder / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for path in (*shards, tmp_path / "models" / "other.gguf"):
        path.write_bytes(b"x")
    remove(model(shards[0]), tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["other.gguf"]


def test_a_package_goes_with_its_compiled_form_and_no_other(tmp_path: Path) -> None:
    for name in ("Llama.mlpackage", "Llama.mlmodelc", "Other.mlmodelc"):
        (tmp_path / "o" / name).mkdir(parents=True)
        (tmp_path / "o" / name / "weight.bin").write_bytes(b"x")
    remove(model(tmp_path / "o" / "Llama.mlpackage"), tmp_path)
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["Other.mlmodelc"]


def test_what_lies_elsewhere_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    for other in (model(path), model(path, "huggingface")):
        with pytest.raises(InvalidRequest):
            remove(other, tmp_path / "models")
    assert path.exists()


def test_a_graph_goes_with_its_data_and_the_last_one_with_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "owner" / "repo"
    (folder / "onnx").mkdir(parents=True)
    for name in ("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx", "config.json", "tokenizer.json"):
        (folder / name).write_bytes(b"x")
    remove(model(folder / "onnx" / "model.onnx"), tmp_path / "models")
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "config.json",
        "model_q4.onnx",
        "tokenizer.json",
    ]
    (folder / "notes.md").write_bytes(b"mine")
    remove(model(folder / "onnx" / "model_q4.onnx"), tmp_path / "models")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "notes.md", "tokenizer.json"]
    (folder / "notes.md").unlink()
    (folder / "model.onnx").write_bytes(b"x")
    remove(model(folder / "model.onnx"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
