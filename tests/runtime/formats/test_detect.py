"""Six formats told apart by their bytes, whatever they are called."""

from __future__ import annotations

import json
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy
import pytest
from crafted_gguf import make_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from impetus.runtime.engines.choice import explain_problem
from impetus.runtime.errors import FormatError
from impetus.runtime.formats.detect import detect
from impetus.runtime.formats.header import Header
from impetus.runtime.formats.pytorch import LEGACY_MAGIC

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 2048,
    "vocab_size": 100,
}


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, raw: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(raw)) + raw


ONNX = number(1, 10) + content(2, b"pytorch") + content(7, b"\x0a\x03abc" * 40) + content(8, number(2, 18))
ML_MODEL = number(1, 9) + content(2, b"\x0a\x03abc") + content(502, b"\x08\x01" * 10)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(64))


def make_folder(folder: Path, config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    return folder


def save_tensors(path: Path, *, made_for: str = "pt") -> None:
    save_file({"w": numpy.zeros((8, 4), numpy.float16), "n": numpy.zeros(4, numpy.float32)}, path, {"format": made_for})


def detected(path: Path) -> Header:
    header = detect(path)
    assert header is not None
    return header


def test_a_gguf_file_by_any_name(tmp_path: Path) -> None:
    path = tmp_path / "sha256-0123"
    path.write_bytes(make_gguf())
    assert detected(path).format == "gguf"


def test_a_file_that_is_only_called_gguf_is_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(ONNX)
    with pytest.raises(FormatError, match="does not begin as a GGUF file"):
        detect(path)


@pytest.mark.parametrize(
    ("config", "ahead"),
    [
        ({"model_type": "qwen3"}, False),
        ({"model_type": "bert"}, True),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, True),
        ({"model_type": "qwen2", "is_causal": False}, True),
        ({"model_type": "novel", "text_config": {"model_type": "modernbert"}}, True),
    ],
)
def test_whether_tokens_see_those_behind_them(config: dict[str, object], ahead: bool, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", config)
    save_tensors(folder / "model.safetensors")
    assert detected(folder).sees_ahead is ahead


@pytest.mark.parametrize(
    ("card", "ability"),
    [
        ("---\ntags:\n- mlx\n- sentence-transformers\n---\n", "embedding"),
        ("---\npipeline_tag: feature-extraction\n---\n", "embedding"),
        ("---\ntags:\n  - 'sentence-similarity'\n", "embedding"),
        ("---\ntags:\n- mlx\n---\n- sentence-transformers\n", "text"),
        ("# A model\n- sentence-transformers\n", "text"),
        (None, "text"),
    ],
)
def test_an_mlx_folder_s_card_says_that_it_gives_vectors(card: str | None, ability: str, tmp_path: Path) -> None:
    for made_for, said in (("mlx", ability), ("pt", "text")):
        folder = make_folder(tmp_path / made_for, {"architectures": ["Qwen3ForCausalLM"]})
        save_tensors(folder / "model.safetensors", made_for=made_for)
        if card is not None:
            (folder / "README.md").write_text(card)
        assert detected(folder).ability == said


def test_a_safetensors_folder_with_what_its_config_says(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    save_tensors(folder / "model.safetensors")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    assert detected(folder) == Header(
        format="safetensors",
        size_bytes=(folder / "model.safetensors").stat().st_size,
        architecture="llama",
        quantization="F16",
        parameters=36,
        layers=3,
        embedding_length=64,
        heads=4,
        kv_heads=2,
        head_dim=16,
        context_length=2048,
        vocabulary_size=100,
        has_chat_template=True,
        kv_bytes_per_token=2 * 2 * 3 * 2 * 16,
    )


def test_mlx_by_its_config_or_by_its_files(tmp_path: Path) -> None:
    quantized = make_folder(tmp_path / "q", {"quantization": {"bits": 4, "group_size": 64}})
    save_tensors(quantized / "model.safetensors")
    assert (detected(quantized).format, detected(quantized).quantization) == ("mlx", "4-bit")
    plain = make_folder(tmp_path / "p")
    save_tensors(plain / "model.safetensors", made_for="mlx")
    assert detected(plain).format == "mlx"
    other = make_folder(tmp_path / "o", {"quantization_config": {"quant_method": "awq", "bits": 4}})
    save_tensors(other / "model.safetensors")
    assert detected(other).format == "safetensors"


def test_the_text_half_of_a_model_that_sees_is_what_counts(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "v", {"model_type": "gemma3", "text_config": {"num_hidden_layers": 7, "head_dim": 32}})
    save_tensors(folder / "model.safetensors")
    header = detected(folder)
    assert (header.architecture, header.layers, header.head_dim) == ("gemma3", 7, 32)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    path = folder / "model.safetensors"
    save_tensors(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(FormatError, match="need 1 bytes more than the file has"):
        detect(folder)
    path.write_bytes((10**9).to_bytes(8, "little") + whole[8:])
    with pytest.raises(FormatError, match="does not begin as a SafeTensors file"):
        detect(folder)
    path.write_bytes(whole.replace(b'"dtype"', b'"dtyqe"'))
    with pytest.raises(FormatError, match="table of tensors cannot be read"):
        detect(folder)
    path.write_bytes(whole)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model.safetensors", "b": "other.safetensors"}}')
    with pytest.raises(FormatError, match="1 of its 2 parts are missing, as other"):
        detect(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')
    with pytest.raises(FormatError, match=r"index\.json: cannot be read: Expected `str`, got `int`"):
        detect(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "config.json").write_text("{")
    with pytest.raises(FormatError, match=r"config\.json: cannot be read"):
        detect(folder)


def test_pytorch_by_zip_and_by_pickle_unopened(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    write_zip(folder / "pytorch_model.bin")
    assert detected(folder).format == "pytorch"

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert detected(folder).format == "pytorch"
    legacy = tmp_path / "old.weights"
    legacy.write_bytes(LEGACY_MAGIC + pickle.dumps({}, protocol=2))
    assert detected(legacy).format == "pytorch"
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_that_is_cut_short_or_a_program_is_told_as_such(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    path = folder / "pytorch_model.bin"
    write_zip(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    for place in (folder, path):
        with pytest.raises(FormatError, match=r"pytorch_model\.bin: its table of contents.*cut short"):
            detect(place)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x/data.pkl", "x/constants.pkl", "x/code/__torch__.py"):
            archive.writestr(name, b"")
    with pytest.raises(FormatError, match="TorchScript"):
        detect(folder)


def test_the_parts_of_a_checkpoint_are_those_of_its_index(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", {"torch_dtype": "bfloat16"})
    for name in ("a.bin", "b.bin", "training_args.bin"):
        write_zip(folder / name)
    assert detected(folder).shards == 3
    index = folder / "pytorch_model.bin.index.json"
    index.write_text('{"weight_map": {"x": "a.bin", "y": "b.bin"}}')
    header = detected(folder)
    size = (folder / "a.bin").stat().st_size
    assert (header.shards, header.size_bytes, header.quantization, header.parameters) == (2, 2 * size, "BF16", size)
    (folder / "b.bin").unlink()
    with pytest.raises(FormatError, match=r"1 of its 2 parts are missing, as b\.bin"):
        detect(folder)


def test_metas_own_layout_is_known_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "Llama"
    folder.mkdir()
    params = {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "norm_eps": 1e-5}
    (folder / "params.json").write_text(json.dumps(params))
    assert detect(folder) is None
    for number in range(2):
        write_zip(folder / f"consolidated.{number:02d}.pth")
    header = detected(folder)
    assert (header.format, header.architecture, header.shards) == ("pytorch", "llama", 2)
    assert (header.layers, header.kv_heads, header.head_dim, header.vocabulary_size) == (32, 8, 128, 128256)
    assert "laid out for Meta's llama" in (explain_problem(header) or "")
    (folder / "consolidated.00.pth").unlink()
    with pytest.raises(FormatError, match=r"consolidated\.00\.pth is missing"):
        detect(folder)


def test_weights_that_are_there_twice_count_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    save_tensors(folder / "model.safetensors")
    save_tensors(folder / "consolidated.safetensors")
    assert detected(folder).size_bytes == (folder / "model.safetensors").stat().st_size


def test_onnx_in_its_folder_or_below(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(ONNX)
    (folder / "onnx" / "model.onnx_data").write_bytes(bytes(100))
    header = detected(folder)
    assert (header.format, header.size_bytes, header.layers) == ("onnx", len(ONNX) + 100, 3)
    assert detected(folder / "onnx" / "model.onnx").format == "onnx"


def test_of_several_onnx_variants_the_one_counts_that_is_served(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "onnx").mkdir()
    for name, data in (("model", 1000), ("model_q4", 100), ("model_int8", 200)):
        (folder / "onnx" / f"{name}.onnx").write_bytes(ONNX)
        (folder / "onnx" / f"{name}.onnx_data").write_bytes(bytes(data))
    header = detected(folder)
    assert (header.size_bytes, header.quantization, header.kv_in_place) == (len(ONNX) + 100, "Q4", False)
    (folder / "genai_config.json").write_text("{}")
    assert detected(folder).kv_in_place


def test_core_ml_packages_compiled_models_and_files(tmp_path: Path) -> None:
    package = tmp_path / "a.mlpackage"
    package.mkdir()
    (package / "Manifest.json").write_text('{"itemInfoEntries": {}, "rootModelIdentifier": "x"}')
    (package / "weight.bin").write_bytes(bytes(77))
    compiled = tmp_path / "chunks" / "b.mlmodelc"
    compiled.mkdir(parents=True)
    (compiled / "coremldata.bin").write_bytes(bytes(5))
    (compiled / "model.mil").write_text("program")
    single = tmp_path / "c.mlmodel"
    single.write_bytes(ML_MODEL)
    assert [detected(path).format for path in (package, compiled, compiled.parent, single)] == ["coreml"] * 4
    assert detected(package).size_bytes > 77


def test_names_alone_decide_nothing(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    for name in ("pytorch_model.bin", "model.onnx", "x.mlmodel", "notes.txt"):
        (folder / name).write_bytes(b"just some text, and quite a lot of it")
    (folder / "y.mlpackage").mkdir()
    assert detect(folder) is None
    assert [detect(path) for path in sorted(folder.iterdir()) if path.is_file()] == [None] * 5


def test_an_adapter_without_a_config_is_no_model(tmp_path: Path) -> None:
    save_tensors(tmp_path / "adapter_model.safetensors")
    assert detect(tmp_path) is None


STARTS = [b"", b"GGUF", b"PK\x03\x04", LEGACY_MAGIC, b"\x10\0\0\0\0\0\0\0{", ONNX[:30], ML_MODEL[:12]]


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200), name=st.sampled_from(["x", "x.bin", "x.onnx", "x.gguf"]))
def test_any_bytes_are_recognised_or_refused(tmp_path: Path, start: bytes, rest: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(start + rest)
    with suppress(FormatError):
        detect(path)
