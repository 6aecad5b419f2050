"""Which engine serves what, and the words for what none serves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from impetus.runtime.engines.choice import choose_engine, explain_problem
from impetus.runtime.formats.header import Format, Header


def test_gguf_goes_to_llama_and_echo_to_echo() -> None:
    assert choose_engine(Header(format="gguf", size_bytes=1, architecture="qwen3", version=3)).engine == "llama"
    assert choose_engine(Header(format="echo", size_bytes=0)).engine == "echo"


def test_what_gives_vectors_or_scores_goes_to_an_engine_of_its_own() -> None:
    for ability in ("embedding", "rerank"):
        header = Header(format="gguf", size_bytes=1, architecture="bert", version=3, ability=ability)  # type: ignore[arg-type]
        assert choose_engine(header).engine == "llama-embedding"


@pytest.mark.parametrize("kind", ["safetensors", "mlx", "coreml", "pytorch", "onnx"])
def test_the_other_formats_are_known_but_not_ready(kind: Format) -> None:
    choice = choose_engine(Header(format=kind, size_bytes=1))
    assert choice.engine is None
    assert choice.problem is not None
    assert choice.problem.startswith("known format, engine not ready: ")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (Header(format="gguf", size_bytes=1, version=1), "version 1"),
        (Header(format="gguf", size_bytes=1, version=3, big_endian=True), "big-endian"),
        (Header(format="gguf", size_bytes=1, version=3, architecture="t5encoder"), "neither write text"),
    ],
)
def test_what_llama_cpp_would_refuse_is_said_before(header: Header, words: str) -> None:
    assert words in (explain_problem(header) or "")


def test_choosing_imports_no_engine() -> None:
    code = (
        "import sys; from impetus.runtime.engines.choice import choose_engine;"
        "from impetus.runtime.formats.header import Header;"
        "assert choose_engine(Header(format='gguf', size_bytes=1, version=3)).engine == 'llama';"
        "assert 'llama_cpp' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
