"""What the small model's Core ML packages say of themselves, as readers rely on it; and numbers that 16 bits cannot square."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from build_models import build

NAMES = [f"tiny-coreml{kind}" for kind in ("", "-single", "-stateless", "-chunked", "-int4")]
CONTEXT, VOCABULARY, WIDTH = 256, 49152, 64

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        find_spec("coremltools") is None or find_spec("torch") is None, reason="coremltools or torch is not installed"
    ),
    pytest.mark.filterwarnings("ignore"),  # coremltools warns of libraries newer than it knows
]


@pytest.fixture(scope="module")
def packages() -> dict[str, Path]:
    return build(*NAMES)


def read(package: Path) -> Any:
    from coremltools.models.utils import load_spec

    return load_spec(str(package))


def to_shapes(features: Sequence[Any]) -> dict[str, list[int] | list[tuple[int, int]]]:
    """Names and shapes; where sizes may differ, the smallest and the largest of each."""
    found: dict[str, list[int] | list[tuple[int, int]]] = {}
    for one in features:
        kind = one.type.WhichOneof("Type")
        told = one.type.stateType.arrayType if kind == "stateType" else one.type.multiArrayType
        ranges = [(size.lowerBound, size.upperBound) for size in told.shapeRange.sizeRanges]
        found[one.name] = ranges or list(told.shape)
    return found


def operations(spec: Any) -> list[str]:
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return [one.type for one in block.operations]


@pytest.mark.parametrize(("name", "most"), [("tiny-coreml", CONTEXT), ("tiny-coreml-int4", CONTEXT), ("tiny-coreml-single", 1)])
def test_a_stateful_package_says_how_many_tokens_it_takes(packages: dict[str, Path], name: str, most: int) -> None:
    told = read(packages[name] / "StatefulModel.mlpackage").description
    assert to_shapes(told.input) == {
        # What has one size only has no ranges.
        "inputIds": [(1, 1), (1, most)] if most > 1 else [1, 1],
        "causalMask": [(1, 1), (1, 1), (1, most), (1, CONTEXT)],
    }
    assert [one.name for one in told.output] == ["logits"]
    assert to_shapes(told.state) == {"keyCache": [2, 1, 2, CONTEXT, 16], "valueCache": [2, 1, 2, CONTEXT, 16]}


def test_a_stateless_package_takes_a_fixed_number(packages: dict[str, Path]) -> None:
    told = read(packages["tiny-coreml-stateless"] / "Model.mlpackage").description
    assert to_shapes(told.input) == {"inputIds": [1, 128], "attentionMask": [1, 128]}
    assert to_shapes(told.output) == {"logits": [1, 128, VOCABULARY]}
    assert to_shapes(told.state) == {}


def test_chunks_have_a_function_for_prompts_and_one_for_single_tokens(packages: dict[str, Path]) -> None:
    folder = packages["tiny-coreml-chunked"]
    embeddings = read(folder / "llama_embeddings.mlpackage").description.input[0].type.multiArrayType
    assert [list(one.shape) for one in embeddings.enumeratedShapes.shapes] == [[1, 1], [1, 64]]
    for at, rows in ((1, 64), (2, 1)):
        told = read(folder / f"llama_FFN_PF_chunk_0{at}of02.mlpackage").description
        functions = {one.name: one for one in told.functions}
        assert set(functions) == {"infer", "prefill"}
        for name, count in (("infer", 1), ("prefill", 64)):
            assert to_shapes(functions[name].input) == {
                "hidden_states": [1, count, WIDTH],
                "position_ids": [count],
                "causal_mask": [1, 1, count, CONTEXT],
                "current_pos": [1],
            }
            assert to_shapes(functions[name].state) == {"model_model_kv_cache_0": [4, 2, CONTEXT, 16]}
        # The last chunk hands on nothing of a prompt that anybody needs.
        assert to_shapes(functions["prefill"].output) == {"output_hidden_states": [1, rows, WIDTH]}
    head = read(folder / "llama_lm_head.mlpackage").description
    assert to_shapes(head.output) == {f"logits{at}": [1, 1, VOCABULARY // 8] for at in range(1, 9)}
    assert "num_chunks: 2" in (folder / "meta.yaml").read_text()


def test_weights_of_four_bits_are_those_of_products(packages: dict[str, Path]) -> None:
    rounded = operations(read(packages["tiny-coreml-int4"] / "StatefulModel.mlpackage"))
    # In both layers all but keys and values, whose 2048 numbers are too few for coremltools; and the head, which is not tied.
    assert rounded.count("constexpr_blockwise_shift_scale") == 2 * 5 + 1
    plain = operations(read(packages["tiny-coreml"] / "StatefulModel.mlpackage"))
    assert not [one for one in plain if one.startswith("constexpr")]
    assert "inverse" not in plain  # it adds to what it divides by


def test_rows_too_large_to_be_squared_in_16_bits_are_normed_right() -> None:
    import torch
    from coreml_layouts import Norm

    chance = torch.Generator().manual_seed(1)
    norm = Norm(576, 1e-5)
    for peak in (0.01, 1.0, 300.0, 25_000.0):
        rows = torch.randn(3, 576, generator=chance) * peak / 100
        rows[:, 7] = peak
        wanted = rows * torch.rsqrt(rows.pow(2).mean(-1, keepdim=True) + 1e-5)
        found = norm.half()(rows.half()).float()
        assert torch.allclose(found, wanted, rtol=0.01, atol=0.005), peak
    squared = torch.tensor([25_000.0]).half().pow(2)
    assert torch.isinf(squared).all()
