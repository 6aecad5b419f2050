"""What a model is for: read from its header, and said before it is loaded."""

from pathlib import Path

import pytest
from crafted_gguf import LLAMA, TENSORS, Typed, make_gguf

from impetus.runtime.abilities import ability_for, check_ability
from impetus.runtime.errors import InvalidRequest
from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.header import Ability, Header
from impetus.runtime.models.model import Model
from impetus.runtime.questions import Detokenize, Embed, Rank, Tokenize


def model(name: str, ability: Ability, *, problem: str | None = None) -> Model:
    return Model(name, Path(name), "impetus", Header(format="gguf", size_bytes=1, ability=ability), problem)


@pytest.mark.parametrize(
    ("architecture", "pooling", "ability"),
    [
        ("llama", None, "text"),
        ("llama", 0, "text"),
        ("llama", 1, "embedding"),
        ("qwen3", 3, "embedding"),
        ("qwen3", 4, "rerank"),
        ("bert", None, "embedding"),
        ("bert", 0, "embedding"),
        ("bert", 4, "rerank"),
        ("nomic-bert-moe", 1, "embedding"),
        ("llama", Typed(5, b"\xff\xff\xff\xff"), "text"),
        ("llama", "mean", "text"),
    ],
)
def test_a_header_says_what_its_model_gives(architecture: str, pooling: object, ability: Ability, tmp_path: Path) -> None:
    metadata = {key.replace("llama.", f"{architecture}."): value for key, value in LLAMA.items()}
    metadata["general.architecture"] = architecture
    if pooling is not None:
        metadata[f"{architecture}.pooling_type"] = pooling  # type: ignore[assignment]
    path = tmp_path / "model.gguf"
    path.write_bytes(make_gguf(metadata, TENSORS))
    header = read_gguf(path)
    assert header is not None
    assert header.ability == ability


def test_who_can_do_it_is_named_and_who_cannot_be_served_is_not() -> None:
    chat = model("chat", "text")
    others = [chat, model("vectors", "embedding"), model("broken", "embedding", problem="cut short")]
    check_ability(chat, "text", others)
    with pytest.raises(InvalidRequest, match=r"'chat' writes text; it does not give .*that do: vectors\."):
        check_ability(chat, "embedding", others)
    with pytest.raises(InvalidRequest, match=r"score documents\. None here does; `impetus pull .*reranker") as caught:
        check_ability(chat, "rerank", others)
    assert (caught.value.param, caught.value.code) == ("model", "model_lacks_ability")


def test_words_can_be_asked_of_every_model() -> None:
    assert ability_for(Embed(("a",))) == "embedding"
    assert ability_for(Rank("a", ("b",))) == "rerank"
    assert ability_for(Tokenize(("a",))) is None
    assert ability_for(Detokenize((1,))) is None
