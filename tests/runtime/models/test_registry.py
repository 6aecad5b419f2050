"""What the registry lists, under which ids, and what it passes over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from crafted_gguf import LLAMA, TENSORS, make_gguf
from safetensors.numpy import save_file

from impetus.runtime.engines.choice import explain_problem, rank_format
from impetus.runtime.errors import UnknownModel
from impetus.runtime.models.model import Projector
from impetus.runtime.models.registry import ECHO, Registry
from impetus.runtime.models.stores import PARTIAL_DIR, FolderStore, HuggingFaceStore, StarterStore


def write(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_gguf() if data is None else data)
    return path


def named(name: str) -> bytes:
    return make_gguf({**LLAMA, "general.name": name})


def ids(registry: Registry) -> list[str]:
    return [model.id for model in registry.scan()]


def in_folder(folder: Path) -> Registry:
    return Registry([FolderStore(folder)], explain_problem=explain_problem)


def cache(root: Path, repo: str, files: dict[str, bytes | None], *, commit: str = "c0ffee", main: bool = True) -> Path:
    """Lays files out as huggingface_hub does; None is a link whose blob is gone."""
    repo_dir = root / f"models--{repo.replace('/', '--')}"
    for name, data in files.items():
        link = repo_dir / "snapshots" / commit / name
        blob = repo_dir / "blobs" / f"{commit}-{name.replace('/', '-')}"
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(exist_ok=True)
        if data is not None:
            blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if main:
        (repo_dir / "refs").mkdir(exist_ok=True)
        (repo_dir / "refs" / "main").write_text(commit)
    return repo_dir


def test_the_starter_keeps_its_family_s_name() -> None:
    (model,) = Registry([StarterStore()], explain_problem=explain_problem).scan()
    assert model.id == "SmolLM2-135M-Instruct-Q4_1"
    assert (model.store, model.problem, model.header.quantization) == ("starter", None, "Q4_1")
    assert Registry([StarterStore("no_such_package")]).scan() == ()


def test_echo_is_there_only_when_asked_for() -> None:
    assert [model.id for model in Registry([], builtin=[ECHO]).scan()] == ["echo"]
    assert Registry([]).scan() == ()


def test_models_lie_loose_or_as_downloads_do(tmp_path: Path) -> None:
    write(tmp_path / "Loose-7B-Q4_K_M.gguf")
    write(tmp_path / "bartowski" / "Qwen3-4B-GGUF" / "Qwen3-4B-Q8_0.gguf")
    write(tmp_path / "unsloth" / "Gemma-GGUF" / "UD-Q4_K_XL" / "gemma-3-UD-Q4_K_XL.gguf")
    write(tmp_path / "ggml-org" / "Phi-4-GGUF" / "ggml-model-q4_0.gguf")
    write(tmp_path / "mrader" / "x" / "Mistral-7B.i1-IQ3_XXS.gguf")
    write(tmp_path / "mrader" / "x" / "Mistral-7B.Q4_K_S.gguf")
    assert ids(in_folder(tmp_path)) == [
        "gemma-3-UD-Q4_K_XL",
        "Loose-7B-Q4_K_M",
        "Mistral-7B-Q4_K_S",
        "Mistral-7B.i1-IQ3_XXS",
        "Phi-4-q4_0",
        "Qwen3-4B-Q8_0",
    ]


def test_an_empty_or_missing_folder_has_no_models(tmp_path: Path) -> None:
    assert in_folder(tmp_path).scan() == ()
    assert in_folder(tmp_path / "missing").scan() == ()


def test_halves_hidden_folders_and_companions_are_passed_over(tmp_path: Path) -> None:
    whole = make_gguf()
    write(tmp_path / PARTIAL_DIR / "o" / "r" / "a.gguf")
    write(tmp_path / ".cache" / "b.gguf")
    for suffix in (".part", ".incomplete", ".download", ".crdownload"):
        write(tmp_path / f"c.gguf{suffix}", whole)
    write(tmp_path / "d-mmproj-f16.gguf")
    write(tmp_path / "vision.gguf", make_gguf({**LLAMA, "general.architecture": "clip"}))
    write(tmp_path / "lora.gguf", make_gguf({**LLAMA, "general.type": "adapter"}))
    write(tmp_path / "README.md", b"# GGUF")
    write(tmp_path / "no-suffix", whole)
    assert ids(in_folder(tmp_path)) == ["no-suffix"]


def test_adapters_are_listed_apart_and_keep_their_numbers(tmp_path: Path) -> None:
    lora = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    write(tmp_path / "base.gguf")
    write(tmp_path / "m.gguf", make_gguf(lora, []))
    write(tmp_path / "o" / "r" / "z.gguf", make_gguf(lora, []))
    write(tmp_path / "awake-by-words.gguf", make_gguf({**lora, "adapter.alora.invocation_tokens": [1]}, []))
    registry = in_folder(tmp_path)
    assert ids(registry) == ["base"]
    assert [(file.number, file.name, file.architecture) for file in registry.adapters] == [(0, "m", "llama"), (1, "z", "llama")]
    write(tmp_path / "a.gguf", make_gguf(lora, []))
    write(tmp_path / "p" / "r" / "z.gguf", make_gguf(lora, []))
    (tmp_path / "m.gguf").unlink()
    registry.scan()
    assert [(file.number, file.name) for file in registry.adapters] == [(1, "z"), (2, "a"), (3, "p/z")]


def test_folders_of_adapters_are_listed_wherever_they_lie(tmp_path: Path) -> None:
    tables = {"mlx": ("x.lora_a", "x.lora_b"), "peft": ("base_model.model.x.lora_A.weight", "base_model.model.x.lora_B.weight")}

    def make(folder: Path, layout: str) -> None:
        folder.mkdir(parents=True)
        save_file({name: np.zeros((2, 2), "f4") for name in tables[layout]}, folder / "adapters.safetensors")
        (folder / "adapter_config.json").write_text("{}", encoding="utf-8")

    make(tmp_path / "mine", "mlx")
    make(tmp_path / "o" / "r", "peft")
    make(tmp_path / "model" / "adapters", "mlx")
    save_file({"model.norm.weight": np.zeros(2, "f4")}, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    registry = in_folder(tmp_path)
    assert ids(registry) == ["model"]
    assert [(file.number, file.name, file.layout) for file in registry.adapters] == [
        (0, "mine", "mlx"),
        (1, "adapters", "mlx"),
        (2, "r", "peft"),
    ]
    (tmp_path / "mine" / "adapters.safetensors").unlink()
    registry.scan()
    assert [file.name for file in registry.adapters] == ["adapters", "r"]


def projector(width: int) -> bytes:
    return make_gguf(
        {
            "general.architecture": "clip",
            "general.type": "mmproj",
            "clip.has_vision_encoder": True,
            "clip.vision.projection_dim": width,
        },
        [],
    )


def test_a_projector_makes_the_models_of_its_width_beside_it_take_pictures(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.gguf")
    write(tmp_path / "a" / "rows.gguf", make_gguf({**LLAMA, "llama.rope.dimension_sections": [8, 8, 8, 0]}))
    write(tmp_path / "a" / "wide.gguf", make_gguf({**LLAMA, "llama.embedding_length": 128}))
    write(tmp_path / "a" / "mmproj-F32.gguf", projector(64))
    write(tmp_path / "a" / "mmproj-BF16.gguf", projector(64))
    write(tmp_path / "a" / "mmproj-F16.gguf", projector(32))
    write(tmp_path / "a" / "mmproj-Q8_0.gguf", projector(64)[:40])
    write(tmp_path / "b" / "two.gguf")
    registry = in_folder(tmp_path)
    found = {model.id: model.projector for model in registry.scan()}
    assert found == {
        "one": Projector(tmp_path / "a" / "mmproj-BF16.gguf", len(projector(64))),
        "rows": None,
        "wide": None,
        "two": None,
    }
    write(tmp_path / "b" / "two-mmproj-f16.gguf", projector(64))
    (tmp_path / "a" / "mmproj-BF16.gguf").unlink()
    names = {model.id: model.projector and model.projector.path.name for model in registry.scan()}
    assert (names["one"], names["two"]) == ("mmproj-F32.gguf", "two-mmproj-f16.gguf")


def test_a_damaged_file_is_listed_with_its_problem(tmp_path: Path) -> None:
    write(tmp_path / "Broken-Q4_K_M.gguf", make_gguf()[:-10])
    write(tmp_path / "Fine-Q4_0.gguf")
    broken, fine = in_folder(tmp_path).scan()
    assert broken.id == "Broken-Q4_K_M"
    assert broken.problem is not None
    assert "cut short" in broken.problem
    assert broken.header.quantization == "Q4_K_M"
    assert fine.problem is None


def test_shards_are_one_model_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for index in range(2):
        metadata = {**(LLAMA if index == 0 else {}), "split.no": index, "split.count": 2}
        write(tmp_path / f"Big-Q4_0-0000{index + 1}-of-00002.gguf", make_gguf(metadata, TENSORS[index : 2 * index + 1]))
    registry = in_folder(tmp_path)
    (model,) = registry.scan()
    assert (model.id, model.header.shards, model.problem) == ("Big-Q4_0", 2, None)
    assert model.path.name == "Big-Q4_0-00001-of-00002.gguf"
    (tmp_path / "Big-Q4_0-00002-of-00002.gguf").unlink()
    (model,) = registry.scan()
    assert "1 of its 2 parts are missing" in (model.problem or "")


def test_shards_on_their_way_are_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "o" / "r" / "Big-00002-of-00002.gguf", make_gguf({"split.no": 1, "split.count": 2}))
    (tmp_path / PARTIAL_DIR / "o" / "r").mkdir(parents=True)
    assert in_folder(tmp_path).scan() == ()
    (tmp_path / PARTIAL_DIR / "o" / "r").rmdir()
    assert len(in_folder(tmp_path).scan()) == 1


def test_known_formats_without_an_engine_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "mlx-community" / "Novel-4B-4bit"
    folder.mkdir(parents=True)
    table = json.dumps({"w": {"dtype": "U32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(table).to_bytes(8, "little") + table + bytes(4))
    (folder / "config.json").write_text('{"model_type": "novel", "quantization": {"bits": 4}}')
    (model,) = in_folder(tmp_path).scan()
    assert (model.id, model.header.format, model.path) == ("Novel-4B-4bit", "mlx", folder)
    # Either the engine is not installed here, or it does not know the architecture.
    assert "impetus-llm[mlx]" in (model.problem or "") or "'novel'" in (model.problem or "")


def test_the_same_name_gets_its_owner_before_it(tmp_path: Path) -> None:
    write(tmp_path / "alpha" / "Qwen3-GGUF" / "Qwen3-Q4_0.gguf", named("one"))
    write(tmp_path / "beta" / "Qwen3-GGUF" / "qwen3-q4_0.gguf", named("another"))
    write(tmp_path / "beta" / "Qwen3-GGUF" / "old" / "qwen3-q4_0.gguf", named("a third one"))
    found = ids(in_folder(tmp_path))
    assert found[0] == "alpha/Qwen3-Q4_0"
    assert len({id_.casefold() for id_ in found}) == 3
    assert all(id_.startswith("beta/qwen3-q4_0@") for id_ in found[1:])
    assert found == ids(in_folder(tmp_path))


def test_a_model_keeps_its_id_when_another_of_its_name_comes(tmp_path: Path) -> None:
    write(tmp_path / "beta" / "r" / "Qwen3-Q4_0.gguf")
    registry = in_folder(tmp_path)
    assert ids(registry) == ["Qwen3-Q4_0"]
    write(tmp_path / "alpha" / "r" / "Qwen3-Q4_0.gguf", named("another"))
    assert ids(registry) == ["Qwen3-Q4_0", "alpha/Qwen3-Q4_0"]
    assert registry.resolve("Qwen3-Q4_0").path.parts[-3] == "beta"


def test_one_file_by_two_ways_is_one_model(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "Model-Q4_0.gguf")
    (tmp_path / "a" / "link.gguf").symlink_to(path)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    cache(tmp_path / "hub", "own/repo", {"M-Q8_0.gguf": named("x")})
    write(tmp_path / "models" / "own" / "repo" / "M-Q8_0.gguf", named("x"))
    assert len(in_folder(tmp_path / "a").scan()) == 1
    both = Registry([FolderStore(tmp_path / "models"), HuggingFaceStore(tmp_path / "hub")])
    assert [(model.id, model.store) for model in both.scan()] == [("M-Q8_0", "impetus")]


def test_the_hugging_face_cache_is_read_through_its_links(tmp_path: Path) -> None:
    cache(tmp_path, "Qwen/Qwen3-0.6B-GGUF", {"Qwen3-0.6B-Q8_0.gguf": make_gguf(), "gone.gguf": None, "README.md": b"hi"})
    cache(tmp_path, "gpt2", {"model.gguf": named("no owner")})
    (tmp_path / "datasets--x--y" / "snapshots" / "1").mkdir(parents=True)
    (tmp_path / "version.txt").write_text("1")
    models = Registry([HuggingFaceStore(tmp_path)], explain_problem=explain_problem).scan()
    assert [(model.id, model.store, model.problem) for model in models] == [
        ("gpt2", "huggingface", None),
        ("Qwen3-0.6B-Q8_0", "huggingface", None),
    ]
    assert models[1].path.is_symlink()


def test_of_several_snapshots_that_of_main_counts(tmp_path: Path) -> None:
    old = cache(tmp_path, "o/r", {"M.gguf": named("old"), "Only-old.gguf": named("only old")}, commit="aaaa")
    cache(tmp_path, "o/r", {"M.gguf": named("new")}, commit="bbbb")
    os.utime(old / "snapshots" / "aaaa")
    models = Registry([HuggingFaceStore(tmp_path)]).scan()
    assert [(model.id, model.header.name) for model in models] == [("M", "new"), ("Only-old", "only old")]


def test_a_cached_folder_is_not_listed_while_blobs_are_on_their_way(tmp_path: Path) -> None:
    table = b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}'
    tensors = len(table).to_bytes(8, "little") + table + bytes(4)
    files: dict[str, bytes | None] = {"config.json": b'{"model_type": "llama"}', "model.safetensors": tensors}
    repo_dir = cache(tmp_path, "o/Llama-Tiny", {**files, "also-Q4_0.gguf": make_gguf()})
    blob = repo_dir / "blobs" / "0123.incomplete"
    blob.write_bytes(b"half")
    registry = Registry([HuggingFaceStore(tmp_path)])
    assert ids(registry) == ["also-Q4_0"]
    blob.unlink()
    assert ids(registry) == ["also-Q4_0", "Llama-Tiny"]


def test_two_hundred_models_are_opened_once(tmp_path: Path) -> None:
    for index in range(200):
        write(tmp_path / f"owner{index % 7}" / f"repo{index}" / f"Model-{index}-Q4_0.gguf")
    registry = in_folder(tmp_path)
    assert len(registry.scan()) == 200
    assert registry.headers_read == 200
    assert len(registry.scan()) == 200
    assert registry.headers_read == 200
    changed = tmp_path / "owner0" / "repo0" / "Model-0-Q4_0.gguf"
    changed.write_bytes(named("changed"))
    assert registry.scan()[0].header.name == "changed"
    assert registry.headers_read == 201
    changed.unlink()
    assert len(registry.scan()) == 199


def test_names_are_resolved_exactly_then_by_case_then_by_a_unique_beginning(tmp_path: Path) -> None:
    for name in ("Qwen3-4B-Q4_0", "Qwen3-4B-Q8_0", "Llama-3", "Llama-3-Long"):
        write(tmp_path / f"{name}.gguf", named(name))
    registry = in_folder(tmp_path)
    registry.scan()
    assert registry.resolve("Llama-3").id == "Llama-3"
    assert registry.resolve("llama-3").id == "Llama-3"
    assert registry.resolve("llama-3-l").id == "Llama-3-Long"
    assert registry.resolve("QWEN3-4b-q8").id == "Qwen3-4B-Q8_0"
    for name in ("Qwen3", "", "gpt-4o"):
        with pytest.raises(UnknownModel) as caught:
            registry.resolve(name)
        assert caught.value.known == ("Llama-3", "Llama-3-Long", "Qwen3-4B-Q4_0", "Qwen3-4B-Q8_0")


def test_an_unreadable_folder_hides_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "A.gguf")
    write(tmp_path / "locked" / "B.gguf")
    (tmp_path / "locked").chmod(0)
    try:
        if os.access(tmp_path / "locked", os.R_OK):
            # Root may read anything, so a name too long for any file system stands in.
            (tmp_path / "locked").chmod(0o755)
            assert ids(Registry([FolderStore(tmp_path / ("x" * 300)), FolderStore(tmp_path)])) == ["A", "B"]
            assert "cannot be looked through" in caplog.text
        else:
            assert ids(in_folder(tmp_path)) == ["A"]
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_the_name_of_a_model_without_its_form_finds_the_best_copy(tmp_path: Path) -> None:
    for name in ("Zebra-7B-Q8_0", "Zebra-7B-Q4_K_M", "Zebra-70B-Q4_0"):
        (tmp_path / f"{name}.gguf").write_bytes(make_gguf())
    registry = Registry([FolderStore(tmp_path)])
    assert [(model.id, model.variant_of) for model in registry.scan()] == [
        ("Zebra-70B-Q4_0", None),
        ("Zebra-7B-Q4_K_M", None),
        ("Zebra-7B-Q8_0", "Zebra-7B-Q4_K_M"),
    ]
    assert registry.resolve("zebra-7b").id == "Zebra-7B-Q4_K_M"
    assert registry.resolve("Zebra-7B-Q8").id == "Zebra-7B-Q8_0"
    with pytest.raises(UnknownModel):
        registry.resolve("Zebra-7")


ONNX = b"\x08\x0a\x12\x07pytorch\x3a\x80\x02" + bytes(256) + b"\x42\x02\x10\x12"


def write_graphs(folder: Path, *names: str) -> Path:
    for name in names:
        write(folder / "onnx" / f"{name}.onnx", ONNX)
    write(folder / "config.json", json.dumps({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64}).encode())
    return folder


def test_each_precision_of_a_graph_is_a_model_with_its_own_size_the_one_for_this_machine_first(tmp_path: Path) -> None:
    folder = write_graphs(tmp_path / "o" / "Qwen3-ONNX", "model", "model_fp16", "model_q4", "model_quantized")
    write(folder / "onnx" / "model.onnx_data", bytes(1000))
    write(folder / "onnx" / "model_fp16.onnx_data", bytes(500))
    registry = Registry([FolderStore(tmp_path)], rank=rank_format)
    sizes = [(model.id, model.header.quantization, model.header.size_bytes - len(ONNX)) for model in registry.scan()]
    assert sizes == [
        ("Qwen3-ONNX-q4", "Q4", 0),
        ("Qwen3-ONNX-quantized", "INT8", 0),
        ("Qwen3-ONNX", None, 1000),
        ("Qwen3-ONNX-fp16", "F16", 500),
    ]
    assert [model.variant_of for model in registry.models] == [None, *["Qwen3-ONNX-q4"] * 3]
    assert {model.repo for model in registry.models} == {"o/Qwen3-ONNX"}
    wishes = {"qwen3": "q4", "Qwen3-ONNX:fp16": "fp16", "qwen3:int8": "quantized", "qwen3-onnx:q4": "q4", "qwen3:onnx": "q4"}
    assert {wish: registry.resolve(wish).id for wish in wishes} == {
        wish: f"Qwen3-ONNX-{variant}" for wish, variant in wishes.items()
    }
    with pytest.raises(UnknownModel):
        registry.resolve("qwen3:q8")


def test_graphs_beside_weights_are_models_of_their_own(tmp_path: Path) -> None:
    folder = write_graphs(tmp_path / "o" / "Qwen3", "model_q4")
    table = b'{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}'
    write(folder / "model.safetensors", len(table).to_bytes(8, "little") + table + bytes(4))
    assert sorted(ids(in_folder(tmp_path))) == ["Qwen3", "Qwen3-onnx-q4"]


def test_a_single_graph_has_its_folder_s_name(tmp_path: Path) -> None:
    write_graphs(tmp_path / "plain", "decoder_model_merged", "decoder_model")
    write_graphs(tmp_path / "Phi-4-int4", "model_int4")
    genai = tmp_path / "genai"
    write(genai / "model.onnx", ONNX)
    write(genai / "genai_config.json", b"{}")
    assert ids(in_folder(tmp_path)) == ["genai", "Phi-4-int4", "plain"]


def test_all_data_beside_the_only_graph_is_its_own_and_watched(tmp_path: Path) -> None:
    folder = write_graphs(tmp_path / "m", "model")
    registry = in_folder(tmp_path)
    for more in (100, 300):
        write(folder / "onnx" / "weights.data", bytes(more))
        [model] = registry.scan()
        assert model.header.size_bytes == len(ONNX) + more
    count = registry.headers_read
    registry.scan()
    assert registry.headers_read == count
    write(folder / "onnx" / "model.onnx", ONNX[:100])
    [model] = registry.scan()
    assert model.problem is not None


def test_a_graph_that_was_cut_short_is_told_with_its_place(tmp_path: Path) -> None:
    folder = write_graphs(tmp_path / "m", "model")
    path = write(folder / "onnx" / "model.onnx", ONNX[:100])
    [model] = in_folder(tmp_path).scan()
    assert model.header.format == "onnx"
    assert model.problem is not None
    assert model.problem.startswith(f"{path.name}: its graph needs {len(ONNX) - 100 - 4} bytes more than the file has")
    assert "(at byte 100)" in model.problem


def test_a_core_ml_model_in_both_forms_is_listed_once(tmp_path: Path) -> None:
    folder = tmp_path / "o" / "llama"
    for name in ("coremldata.bin", "metadata.json"):
        write(folder / "Llama.mlmodelc" / name, b"{}")
    assert ids(in_folder(tmp_path)) == ["Llama"]
    (folder / "Llama.mlpackage").mkdir()
    [model] = in_folder(tmp_path).scan()
    assert model.path == folder / "Llama.mlmodelc"  # of the package nothing is there yet
    write(folder / "Llama.mlpackage" / "Manifest.json", b'{"itemInfoEntries": {}, "rootModelIdentifier": "x"}')
    [model] = in_folder(tmp_path).scan()
    assert (model.id, model.path, model.header.format) == ("Llama", folder / "Llama.mlpackage", "coreml")


def test_parts_of_core_ml_are_one_model_of_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "o" / "anemll-Qwen3"
    for name in ("embeddings", "FFN_PF_lut6_chunk_01of02", "FFN_PF_lut6_chunk_02of02", "lm_head_lut6"):
        for file in ("coremldata.bin", "metadata.json", "weights/weight.bin"):
            write(folder / f"qwen_{name}.mlmodelc" / file, b"{}" + bytes(98))
    # One part is there in both forms.
    write(folder / "qwen_embeddings.mlpackage" / "Manifest.json", b'{"itemInfoEntries": {}, "rootModelIdentifier": "x"}')
    for file in ("config.json", "tokenizer.json"):
        write(folder / file, b"{}")
    assert len(ids(in_folder(tmp_path))) > 1
    write(folder / "meta.yaml", b"model_info:\n")
    registry = in_folder(tmp_path)
    [model] = registry.scan()
    assert (model.id, model.path, model.repo) == ("anemll-Qwen3", folder, "o/anemll-Qwen3")
    assert (model.header.format, model.header.quantization, model.header.shards) == ("coreml", "6-bit", 4)
    assert model.header.size_bytes == 3 * 300 + len(b'{"itemInfoEntries": {}, "rootModelIdentifier": "x"}')
    count = registry.headers_read
    registry.scan()
    assert registry.headers_read == count
    write(folder / "qwen_lm_head_lut6.mlmodelc" / "metadata.json", bytes(200))
    registry.scan()
    assert registry.headers_read == count + 1
