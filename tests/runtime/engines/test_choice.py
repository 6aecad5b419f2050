"""Which engine serves what, and the words for what none serves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import pytest

from impetus.runtime.engines import architectures, choice
from impetus.runtime.engines.choice import choose_engine, explain_problem
from impetus.runtime.formats.header import Ability, Format, Header


def test_gguf_goes_to_llama_and_echo_to_echo() -> None:
    assert choose_engine(Header(format="gguf", size_bytes=1, architecture="qwen3", version=3)).engine == "llama"
    assert choose_engine(Header(format="echo", size_bytes=0)).engine == "echo"


def test_what_gives_vectors_or_scores_goes_to_an_engine_of_its_own() -> None:
    abilities: tuple[Ability, ...] = ("embedding", "rerank")
    for ability in abilities:
        header = Header(format="gguf", size_bytes=1, architecture="bert", version=3, ability=ability)
        assert choose_engine(header).engine == "llama-embedding"


@pytest.mark.parametrize(
    ("kind", "extra"), [("safetensors", "mlx"), ("mlx", "mlx"), ("pytorch", "torch"), ("onnx", "onnx"), ("coreml", "coreml")]
)
def test_a_missing_engine_comes_with_the_command_that_installs_it(
    kind: Format, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_is_installed", lambda package: False)
    chosen = choose_engine(Header(format=kind, size_bytes=1, architecture="llama"))
    assert chosen.engine is None
    assert f"pip install 'impetus-llm[{extra}]'" in (chosen.problem or "")


@pytest.mark.parametrize(
    ("kind", "platform", "engine"),
    [
        ("safetensors", "darwin", "mlx"),
        ("safetensors", "linux", "torch"),
        ("pytorch", "darwin", "mlx"),
        ("pytorch", "linux", "torch"),
        ("mlx", "linux", "mlx"),
        ("onnx", "darwin", "onnx"),
        ("coreml", "darwin", "coreml"),
    ],
)
def test_each_format_goes_to_its_fastest_engine(
    kind: Format, platform: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice.sys, "platform", platform)
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    monkeypatch.setattr(choice, "mlx_knows", lambda architecture: architecture == "llama")
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: architecture == "llama")
    chosen = choose_engine(Header(format=kind, size_bytes=1, architecture="llama"))
    assert (chosen.engine, chosen.problem) == (engine, None)


@pytest.mark.parametrize(
    ("kind", "architecture", "platform", "engine"),
    [
        ("safetensors", "qwen3", "darwin", "mlx-embedding"),
        ("pytorch", "qwen3", "darwin", "mlx-embedding"),
        ("safetensors", "qwen3", "linux", "torch-embedding"),
        ("mlx", "qwen3", "linux", "mlx-embedding"),
        ("safetensors", "novel", "darwin", "torch-embedding"),
        ("safetensors", "scores-only", "darwin", "torch-embedding"),
    ],
)
def test_decoders_that_give_vectors_go_where_others_of_their_format_go(
    kind: Format, architecture: str, platform: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice.sys, "platform", platform)
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    monkeypatch.setattr(choice, "mlx_knows", lambda architecture: architecture != "novel")
    monkeypatch.setattr(choice, "mlx_gives_states", lambda architecture: architecture != "scores-only")
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: True)
    header = Header(format=kind, size_bytes=1, architecture=architecture, ability="embedding")
    chosen = choose_engine(header)
    assert (chosen.engine, chosen.problem) == (engine, None)
    assert choose_engine(header, "mlx").engine == ("torch-embedding" if architecture != "qwen3" else "mlx-embedding")


@pytest.mark.parametrize("platform", ["darwin", "linux"])
@pytest.mark.parametrize(("ability", "sees_ahead"), [("embedding", True), ("rerank", False)])
def test_encoders_and_rerankers_are_torch_s_and_in_mlx_folders_told_what_would_run_them(
    platform: str, ability: Ability, sees_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice.sys, "platform", platform)
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: True)
    header = Header(format="safetensors", size_bytes=1, architecture="bert", ability=ability, sees_ahead=sees_ahead)
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    assert choose_engine(header).engine == "torch-embedding"
    assert choose_engine(header, "mlx").engine == "torch-embedding"
    for installed in (True, False):
        monkeypatch.setattr(choice, "_is_installed", lambda package, installed=installed: installed)
        problem = explain_problem(replace(header, format="mlx")) or ""
        assert all(name in problem for name in ("mlx-lm", "torch", "llama.cpp", "ONNX Runtime"))
        assert "pip install" not in problem
    assert "impetus-llm[torch]" in (explain_problem(header) or "")


@pytest.mark.parametrize("prefer", ["mlx", "torch"])
def test_the_settings_choose_where_two_could(prefer: choice.Preference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    monkeypatch.setattr(choice, "mlx_knows", lambda architecture: True)
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: True)
    chosen = choose_engine(Header(format="pytorch", size_bytes=1, architecture="llama"), prefer)
    assert chosen.engine == prefer
    assert "as the settings say" in chosen.reason


def test_what_mlx_lacks_goes_to_torch_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice.sys, "platform", "darwin")
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    monkeypatch.setattr(choice, "mlx_knows", lambda architecture: False)
    monkeypatch.setattr(choice, "torch_knows", lambda architecture, ability: True)
    chosen = choose_engine(Header(format="safetensors", size_bytes=1, architecture="novel"))
    assert chosen.engine == "torch"
    assert "'novel'" in chosen.reason
    monkeypatch.setattr(choice, "_is_installed", lambda package: package not in ("torch", "transformers"))
    chosen = choose_engine(Header(format="safetensors", size_bytes=1, architecture="novel"))
    assert chosen.engine is None
    assert "MLX" in (chosen.problem or "")
    assert "impetus-llm[torch]" in (chosen.problem or "")


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


@pytest.mark.parametrize("kind", ["safetensors", "pytorch", "mlx", "gguf"])
def test_an_unknown_architecture_is_told_with_the_nearest_one(kind: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    problem = explain_problem(Header(format=kind, size_bytes=1, version=3, architecture="llama_nine"))
    assert problem is not None
    assert "does not know the architecture 'llama_nine'" in problem
    if find_spec("mlx_lm") is not None:
        assert "nearest that is known here is 'llama" in problem
    problem = explain_problem(Header(format=kind, size_bytes=1, version=3, architecture="zzqx"))
    assert problem is not None
    assert "nearest" not in problem


def test_a_file_for_a_newer_llama_cpp_may_run_elsewhere_from_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "nearest", lambda architecture: "'novel' (MLX and torch)")
    problem = explain_problem(Header(format="gguf", size_bytes=1, version=3, architecture="novel"))
    words = "this llama.cpp does not know the architecture 'novel'; a SafeTensors copy of the model would run (MLX and torch)."
    assert problem == words


def test_what_engines_know_is_read_off_their_files() -> None:
    for name in ("llama", "qwen3", "gemma3", "bert", "qwen35moe", "gpt-oss"):
        assert architectures.llama_knows(name)
    assert not architectures.llama_knows("llama_nine")
    if find_spec("mlx_lm") is not None:
        assert architectures.mlx_knows("llama")
        assert architectures.mlx_knows("mistral")
        assert architectures.mlx_gives_states("mistral")
        assert architectures.mlx_gives_states("qwen3")
        assert not architectures.mlx_gives_states("mamba2")
        assert not architectures.mlx_knows("llama_nine")
    if find_spec("transformers") is not None:
        mapping = import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        assert all(architectures.torch_knows(name, "text") for name in mapping)
        assert not architectures.torch_knows("bert-nine", "embedding")
        assert architectures.torch_knows("bert", "embedding")
        assert architectures.torch_knows("xlm-roberta", "rerank")


def test_choosing_imports_no_engine() -> None:
    code = (
        "import sys; from impetus.runtime.engines.choice import choose_engine;"
        "from impetus.runtime.formats.header import Header;"
        "assert choose_engine(Header(format='gguf', size_bytes=1, version=3)).engine == 'llama';"
        "choose_engine(Header(format='safetensors', size_bytes=1, architecture='llama'));"
        "assert not {'llama_cpp', 'numpy', 'mlx', 'mlx_lm', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
