"""What is read while an engine loads."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sequence_play import Player, ask

from impetus.runtime.worker.backends.onnx import OnnxRunner
from impetus.runtime.worker.sequences import sequence_backend
from impetus.runtime.worker.sequences.folder_vocabulary import FolderVocabulary

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

WAIT_S = 60.0


@pytest.fixture
def graph(layouts: dict[str, Path]) -> Path:
    if "onnx-handed-on" not in layouts:
        pytest.skip("onnx is not installed")
    return layouts["onnx-handed-on"] / "onnx" / "model.onnx"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set as soon as a vocabulary was read."""
    event = threading.Event()

    class Told(FolderVocabulary):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            event.set()

    monkeypatch.setattr(sequence_backend, "FolderVocabulary", Told)
    return event


def test_a_graphs_vocabulary_is_read_while_the_engine_loads(
    graph: Path, read: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_graph = OnnxRunner.open
    found: list[bool] = []

    def open_slowly(runner: OnnxRunner, *args: Any) -> Any:
        found.append(read.wait(WAIT_S))
        return open_graph(runner, *args)

    monkeypatch.setattr(OnnxRunner, "open", open_slowly)
    player = Player("onnx", graph)
    assert found == [True]
    assert player.play([ask("Hello")])[0].tokens
    player.close()


def test_the_engine_begins_before_the_vocabulary(graph: Path, read: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence_backend, "HEAD_START_S", WAIT_S)
    open_graph = OnnxRunner.open
    found: list[bool] = []

    def open_told(runner: OnnxRunner, *args: Any) -> Any:
        opened = open_graph(runner, *args)
        found.append(read.is_set())
        return opened

    monkeypatch.setattr(OnnxRunner, "open", open_told)
    Player("onnx", graph).close()
    assert found == [False]
    assert read.is_set()


def test_tokens_that_a_model_gives_no_score_for_are_left_out(tiny: Path) -> None:
    whole = FolderVocabulary(tiny)
    assert whole.limited(whole.size) is whole
    assert whole.limited(whole.size + 64) is whole
    fewer = whole.limited(whole.size - 5)
    assert fewer.size == whole.size - 5
    assert not fewer.are_known([whole.size - 5])
    assert fewer.text([40, 41]) == whole.text([40, 41])
