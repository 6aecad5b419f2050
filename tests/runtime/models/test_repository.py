"""Which models a repository's list of files makes, and which of its files each of them needs."""

from __future__ import annotations

import pytest

from impetus.runtime.engines.choice import rank_format
from impetus.runtime.errors import DownloadError
from impetus.runtime.formats.header import Header
from impetus.runtime.models.hub_choice import choose_file, sort_files
from impetus.runtime.models.offer import Facts, Listing, RemoteFile
from impetus.runtime.models.repository import explain_nothing, find_models

TEXT = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
BESIDE = ("merges.txt", "vocab.json", "chat_template.jinja", "additional_chat_templates/tool_use.jinja")
LEFT = (
    ".gitattributes", "LICENSE", "README.md", "modeling_custom.py", "trainer_state.json", "all_results.json", "optimizer.pt",
    "training_args.bin", "runs/events.out", "tests/test_model.py", "flax_model.msgpack", "tf_model.h5",
    "openvino/openvino_model.bin",
)  # fmt: skip
VARIANTS = ("model", "model_q4", "model_fp16", "model_quantized")
GRAPHS = tuple(f"onnx/{name}.onnx" for name in VARIANTS)


def remote(*names: str) -> list[RemoteFile]:
    return [RemoteFile(name, 10, None) for name in names]


def offered(*names: str, facts: Facts | None = None) -> dict[str, list[str]]:
    found = find_models(remote(*names), facts or Facts())
    return {f"{model.format} {model.name}": [part.path for part in model.parts] for model in found}


def test_weights_come_with_what_is_read_beside_them_and_nothing_else() -> None:
    found = offered("model.safetensors", "pytorch_model.bin", "original/consolidated.00.pth", *TEXT, *BESIDE, *LEFT)
    assert list(found) == ["safetensors model.safetensors", "pytorch pytorch_model.bin"]
    for name, weights in (
        ("safetensors model.safetensors", "model.safetensors"),
        ("pytorch pytorch_model.bin", "pytorch_model.bin"),
    ):
        assert set(found[name]) == {weights, *TEXT, *BESIDE}
        # It is put in its place last: without it the others are no model.
        assert found[name][0] == "config.json"


def test_parts_come_with_their_index_which_is_put_first() -> None:
    names = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = "model.safetensors.index.json"
    other = ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "consolidated.safetensors")
    found = offered(*names, index, *other, *TEXT)
    assert list(found) == [f"safetensors {names[0]}", f"pytorch {other[0]}"]
    parts = found[f"safetensors {names[0]}"]
    assert set(parts) == {*names, index, *TEXT}
    assert parts[-1] == index
    assert offered(*names[:2], index, *TEXT) == {}
    assert explain_nothing(remote(*names[:2], index, *TEXT)) == "lacks a part of its weights"


def test_one_precision_is_taken_and_adapters_are_none() -> None:
    found = offered(
        "model.safetensors", "model.fp16.safetensors", "adapter_model.safetensors", "adapter_config.json", "config.json"
    )
    assert found == {"safetensors model.safetensors": ["config.json", "model.safetensors"]}
    assert offered("adapter_model.safetensors", "adapter_config.json", "config.json") == {}
    assert list(offered("weights.00.safetensors", "weights.01.safetensors", "config.json")) == [
        "safetensors weights.00.safetensors"
    ]


def test_what_the_hub_says_tells_mlx_and_its_bits() -> None:
    facts = Facts(architecture="qwen3", library="mlx", quantization="4-bit")
    [model] = find_models(remote("model.safetensors", "config.json", "q8-bit/model.safetensors"), facts)
    assert (model.format, model.architecture, model.quantization) == ("mlx", "qwen3", "4-bit")
    assert model.header == Header(format="mlx", size_bytes=20, architecture="qwen3", quantization="4-bit")


def test_each_graph_is_a_model_with_its_own_data() -> None:
    data = ("onnx/model.onnx_data", "onnx/model.onnx_data_1", "onnx/model_fp16.onnx_data")
    halves = ("onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx")
    found = find_models(remote(*GRAPHS, *halves, *data, *TEXT, "quantize_config.json", "README.md"))
    assert [(model.format, model.name, model.quantization) for model in found] == [
        ("onnx", "onnx/model.onnx", None),
        ("onnx", "onnx/model_fp16.onnx", "F16"),
        ("onnx", "onnx/model_q4.onnx", "Q4"),
        ("onnx", "onnx/model_quantized.onnx", "INT8"),
    ]
    paths = [{part.path for part in model.parts} for model in found]
    beside = {*TEXT, "quantize_config.json"}
    assert paths[0] == {"onnx/model.onnx", *data[:2], *beside}
    assert paths[1] == {"onnx/model_fp16.onnx", data[2], *beside}
    assert paths[2] == {"onnx/model_q4.onnx", *beside}
    assert [model.parts[0].path for model in found] == [model.name for model in found]


def test_a_folder_of_genai_is_taken_from_below() -> None:
    place = "cpu_and_mobile/cpu-int4-rtn-block-32"
    inside = [f"{place}/{name}" for name in ("genai_config.json", "phi.onnx", "phi.onnx.data", "tokenizer.json")]
    [model] = find_models(remote(*inside, "cuda/README.md", "config.json"))
    assert (model.name, model.quantization, model.place) == (f"{place}/phi.onnx", "INT4", place)
    assert {part.path for part in model.parts} == set(inside)


def test_stages_of_sentence_transformers_are_taken_in_one_form() -> None:
    stages = ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json", "2_Dense/config.json")
    weights = ("2_Dense/model.safetensors", "2_Dense/pytorch_model.bin")
    found = offered("model.safetensors", "pytorch_model.bin", "onnx/model.onnx", *TEXT, *stages, *weights)
    assert {*stages, weights[0]} <= set(found["safetensors model.safetensors"])
    assert weights[1] not in found["safetensors model.safetensors"]
    assert weights[0] not in found["pytorch pytorch_model.bin"]
    assert {*stages, weights[0]} <= set(found["onnx onnx/model.onnx"])


def test_mlx_folders_without_stages_come_with_the_card_that_says_what_they_are_for() -> None:
    names = ("model.safetensors", "README.md", *TEXT)
    vectors = Facts(architecture="qwen3", library="mlx", ability="embedding")
    assert set(offered(*names, facts=vectors)["mlx model.safetensors"]) == set(names)
    with_stages = offered(*names, "modules.json", "1_Pooling/config.json", facts=vectors)["mlx model.safetensors"]
    assert "README.md" not in with_stages
    assert "README.md" not in offered(*names, facts=Facts(library="mlx"))["mlx model.safetensors"]


def test_packages_of_core_ml_come_whole_with_a_tokenizer_from_beside() -> None:
    package = [f"Llama.mlpackage/{name}" for name in ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel")]
    package.append("Llama.mlpackage/Data/com.apple.CoreML/weights/weight.bin")
    compiled = [f"Llama.mlmodelc/{name}" for name in ("coremldata.bin", "model.mil", "weights/weight.bin")]
    found = offered(*package, *compiled, *TEXT, "README.md")
    assert list(found) == ["coreml Llama.mlpackage"]
    assert set(found["coreml Llama.mlpackage"]) == {*package, *TEXT}
    assert found["coreml Llama.mlpackage"][0] == package[0]
    below = offered(*(f"fp16/{name}" for name in package), *TEXT)
    assert set(below["coreml fp16/Llama.mlpackage"]) == {*(f"fp16/{name}" for name in package), *TEXT}


@pytest.mark.parametrize("place", ["", "ios/"])
def test_parts_of_core_ml_are_one_model_with_the_bytes_of_all(place: str) -> None:
    named = ("embeddings", "FFN_PF_lut6_chunk_01of02", "FFN_PF_lut6_chunk_02of02", "lm_head_lut8")
    inside = ("analytics/coremldata.bin", "coremldata.bin", "metadata.json", "model.mil", "weights/weight.bin")
    parts = [f"{place}qwen_{part}.mlmodelc/{file}" for part in named for file in inside]
    beside = [f"{place}{name}" for name in ("meta.yaml", *TEXT)]
    left = [".gitattributes", "README.md", "chat.py", "prefill.py", *(f"qwen_{part}.mlmodelc.zip" for part in named)]
    [model] = find_models(remote(*parts, *beside, *left))
    assert (model.format, model.name, model.quantization, model.place) == (
        "coreml",
        f"{place}meta.yaml",
        "6-bit",
        place.rstrip("/"),
    )
    assert {part.path for part in model.parts} == {*parts, *beside}
    assert model.parts[0].path == f"{place}meta.yaml"
    assert model.size_bytes == 10 * (len(parts) + len(beside))
    listing = Listing("a/m", "c0ffee", (model,))
    assert {choose_file(listing, wanted) for wanted in (None, "coreml", "6-bit", "meta.yaml")} == {model}


def test_packages_without_a_word_that_they_are_parts_are_models_of_their_own() -> None:
    files = [f"{name}.mlmodelc/{file}" for name in ("small", "large") for file in ("coremldata.bin", "model.mil")]
    assert list(offered(*files, *TEXT)) == ["coreml large.mlmodelc", "coreml small.mlmodelc"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("model_index.json", "text_encoder/config.json", "text_encoder/model.safetensors"), "makes pictures"),
        (("adapter_config.json", "adapter_model.safetensors"), "an adapter"),
        (("consolidated.00.pth", "params.json"), "laid out for Meta's llama"),
        (("m.mlmodelc.zip", "config.json"), "as an archive"),
        (("tf_model.h5", "config.json"), "no model in a format that is served"),
    ],
)
def test_what_offers_nothing_is_named(names: tuple[str, ...], words: str) -> None:
    assert find_models(remote(*names)) == ()
    assert words in explain_nothing(remote(*names))


EVERYTHING = Listing(
    "a/m",
    "c0ffee",
    find_models(remote("model.safetensors", "pytorch_model.bin", *GRAPHS, *TEXT, "m-Q4_K_M.gguf", "m-Q8_0.gguf")),
)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("safetensors", "model.safetensors"),
        ("pytorch", "pytorch_model.bin"),
        ("gguf", "m-Q4_K_M.gguf"),
        ("onnx", "onnx/model_q4.onnx"),
        ("onnx-q4", "onnx/model_q4.onnx"),
        ("onnx/fp16", "onnx/model_fp16.onnx"),
        ("int8", "onnx/model_quantized.onnx"),
        ("FP16", "onnx/model_fp16.onnx"),
        ("q4", "onnx/model_q4.onnx"),
        ("onnx/model.onnx", "onnx/model.onnx"),
        ("model_q4.onnx", "onnx/model_q4.onnx"),
        ("model.safetensors", "model.safetensors"),
        ("q8_0", "m-Q8_0.gguf"),
    ],
)
def test_a_format_a_quantisation_or_a_file_names_one(wanted: str, name: str) -> None:
    assert choose_file(EVERYTHING, wanted, rank_format).name == name


def test_where_nothing_is_named_the_machine_s_best_format_comes_first() -> None:
    order = ("safetensors", "onnx", "gguf", "pytorch")
    ranked = sort_files(EVERYTHING.files, lambda header: order.index(header.format))
    assert [model.format for model in ranked] == ["safetensors", *["onnx"] * 4, "gguf", "gguf", "pytorch"]
    assert choose_file(EVERYTHING, None, lambda header: order[::-1].index(header.format)).name == "pytorch_model.bin"
    with pytest.raises(DownloadError, match=r"no file or quantisation 'Q2_K'.*Formats there: gguf, onnx, pytorch, safetensors"):
        choose_file(EVERYTHING, "Q2_K")
