"""What ONNX Runtime makes of a graph when it loads it."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx
from tied_onnx import MATRIX, ROWS, TIED, WIDTH, save_graph

from impetus.runtime.formats import onnx_tied
from impetus.runtime.frames import LoadOptions
from impetus.runtime.worker.backends import onnx_library
from impetus.runtime.worker.backends.onnx_library import MappedRows, map_rows, open_session

pytestmark = pytest.mark.engine

IDS = {"ids": np.array([[3, 1, 60], [0, 63, 7]])}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_tied, "LEAST_BYTES", ROWS * WIDTH * 4)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where each loaded graph is written to, as ONNX Runtime has made it quicker."""
    made = tmp_path / "made.onnx"
    real = onnx_library.onnxruntime.SessionOptions

    def options() -> Any:
        settings = real()
        settings.optimized_model_filepath = str(made)
        return settings

    monkeypatch.setattr(onnx_library.onnxruntime, "SessionOptions", options)
    return made


def operators(graph: Path) -> list[str]:
    return [node.op_type for node in onnx.load(graph, load_external_data=False).graph.node]


def test_a_tied_matrix_is_multiplied_with_as_it_lies_there(tmp_path: Path, loaded: Path) -> None:
    graph = save_graph(tmp_path / "model.onnx", *TIED)
    session = open_session(graph, LoadOptions(threads=1))
    assert operators(loaded) == ["Gather", "FusedMatMul"]
    assert max(math.prod(tensor.dims) for tensor in onnx.load(loaded).graph.initializer) == ROWS * WIDTH
    assert [tensor.name for tensor in onnx.load(loaded).graph.initializer if math.prod(tensor.dims) == ROWS * WIDTH] == [MATRIX]
    weights = onnx.numpy_helper.to_array(onnx.load(graph).graph.initializer[1])
    (scores,) = session.run(None, IDS)
    np.testing.assert_allclose(scores, weights[IDS["ids"]] @ weights.T, rtol=1e-5, atol=1e-5)


def test_other_providers_get_the_graph_as_it_is(tmp_path: Path, loaded: Path) -> None:
    graph = save_graph(tmp_path / "model.onnx", *TIED)
    open_session(graph, LoadOptions(threads=1), ["AzureExecutionProvider", "CPUExecutionProvider"])
    assert "FusedMatMul" not in operators(loaded)


def test_rows_are_there_again_after_they_were_left(tmp_path: Path) -> None:
    rows = map_rows(save_graph(tmp_path / "model.onnx", *TIED))
    assert rows is not None
    before = rows.value.numpy().copy()
    rows.leave()
    assert (rows.value.numpy() == before).all()


def test_a_session_keeps_its_rows(tmp_path: Path) -> None:
    session = open_session(save_graph(tmp_path / "model.onnx", *TIED), LoadOptions(threads=1))
    before = session.run(None, IDS)[0]
    gc.collect()
    assert isinstance(session.rows, MappedRows)
    assert (session.run(None, IDS)[0] == before).all()


def test_data_that_ends_too_early_is_told_by_onnx_runtime(tmp_path: Path) -> None:
    graph = save_graph(tmp_path / "model.onnx", *TIED)
    data = tmp_path / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-64])
    with pytest.raises(onnx_library.LoadError, match=r"cannot load 'model\.onnx'"):
        open_session(graph, LoadOptions(threads=1))


@pytest.mark.parametrize("offset", ["-4096", str(2**70)])
def test_an_offset_that_is_none_is_told_by_onnx_runtime(tmp_path: Path, offset: str) -> None:
    graph = save_graph(tmp_path / "model.onnx", *TIED)
    made = onnx.load(graph, load_external_data=False)
    for tensor in made.graph.initializer:
        for entry in tensor.external_data:
            if tensor.name == MATRIX and entry.key == "offset":
                entry.value = offset
    graph.write_bytes(made.SerializeToString())
    assert map_rows(graph) is None
    with pytest.raises(onnx_library.LoadError):
        open_session(graph, LoadOptions(threads=1))
