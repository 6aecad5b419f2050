"""Reads what a model folder's config.json and its neighbours say, for the formats that have such a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from ..errors import FormatError
from .config_facts import with_config
from .config_weights import text_settings
from .header import Ability, Format, Header

_WITHOUT_HEAD = ("Model", "ForMaskedLM")
"""How transformers names classes of models that end in states, or were trained to guess words that are hidden."""
_ENCODERS = frozenset({
    "albert", "bert", "big_bird", "camembert", "canine", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
    "electra", "ernie", "esm", "eurobert", "flaubert", "jina_bert", "layoutlm", "longformer", "luke", "megatron-bert",
    "mobilebert", "modernbert", "mpnet", "neobert", "new", "nomic_bert", "rembert", "roberta", "roberta-prelayernorm",
    "roformer", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""Types of models whose tokens see each other, before and behind."""
VECTOR_TAGS = frozenset({"sentence-transformers", "sentence-similarity", "feature-extraction"})
"""By which the cards of models say that these were made for vectors."""
CARD = "README.md"
_CARD_BYTES = 16 * 1024
"""As much of a card is read as its head may take: lists of languages stand there too."""
_CARD_LINE = re.compile(r"(?:\s*-|pipeline_tag:)\s*[\"']?([\w-]+)[\"']?\s*", re.ASCII)
PIPELINE = "model_index.json"
"""Of a pipeline that makes pictures, whose folders look like language models."""
INDEX_SUFFIX = ".index.json"
"""Behind the name that weights in one file would have: lists which file of several each tensor is in."""
LARGEST_JSON_BYTES = 32 * 1024 * 1024


T = TypeVar("T")


class _Index(msgspec.Struct):
    """What names the file of each tensor."""

    weight_map: dict[str, str] = {}


class _TokenizerSettings(msgspec.Struct):
    """What is asked of a tokenizer_config.json; most of such a file are tokens with their properties."""

    chat_template: msgspec.Raw = msgspec.Raw(b"null")


def read_json(path: Path) -> Mapping[str, object] | None:
    """Reads a JSON object; None where there is no such file.

    Raises:
        FormatError: the file cannot be read, or is something else.
    """
    return _read(path, dict[str, object])


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        with path.open("rb", buffering=0) as file:
            is_large = os.fstat(file.fileno()).st_size > LARGEST_JSON_BYTES
            text = b"" if is_large else file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error}") from error
    if is_large:
        raise FormatError(path, "it is far too large for what it should be")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise FormatError(path, f"cannot be read: {error}") from error


def check_index(folder: Path, name: str) -> frozenset[str]:
    """Gives the parts that an index names; none where there is no index.

    Raises:
        FormatError: one of them is missing.
    """
    index = _read(folder / name, _Index)
    if index is None:
        return frozenset()
    wanted = set(index.weight_map.values())
    missing = sorted(part for part in wanted if not (folder / part).is_file())
    if missing:
        raise FormatError(folder, f"{len(missing)} of its {len(wanted)} parts are missing, as {missing[0]}")
    return frozenset(wanted)


def total_bytes(paths: Iterable[Path]) -> int:
    """Adds up the sizes of files."""
    return sum(path.stat().st_size for path in paths)


def to_header(folder: Path, format: Format, config: Mapping[str, object], size_bytes: int) -> Header:  # noqa: A002
    """Makes a header of a config.json in the shape of Hugging Face transformers; keys that are missing stay unknown."""
    header = Header(
        format=format,
        size_bytes=size_bytes,
        has_chat_template=_has_chat_template(folder),
        ability=tell_ability(config, has_stages=_has_stages(folder, format)),
        sees_ahead=sees_ahead(config),
    )
    return with_config(header, config)


def tell_ability(config: Mapping[str, object], *, has_stages: bool) -> Ability:
    """Says what a model gives, by the class it was saved from, and by whether stages of sentence-transformers follow."""
    kinds = config.get("architectures")
    kind = str(cast("list[object]", kinds)[0]) if isinstance(kinds, list) and kinds else ""
    if kind.endswith("ForSequenceClassification") and _count_labels(config) == 1:
        return "rerank"
    if has_stages or kind.endswith(_WITHOUT_HEAD):
        return "embedding"
    return "text"


def sees_ahead(config: Mapping[str, object]) -> bool:
    """Says whether a model's tokens see those behind them too: encoders, and decoders that were trained on as such."""
    facts = text_settings(config)
    if facts.get("use_bidirectional_attention") in (True, "all") or facts.get("is_causal") is False:
        return True
    return any(place.get("model_type") in _ENCODERS for place in (config, facts))


def _has_stages(folder: Path, format: Format) -> bool:  # noqa: A002
    """Says whether a folder holds what makes vectors of states, or would if its converter had not left that behind."""
    # mlx-lm converts the model alone; of what it is for just the card's head is left.
    return (folder / "modules.json").is_file() or (format == "mlx" and not VECTOR_TAGS.isdisjoint(_read_tags(folder / CARD)))


def _read_tags(card: Path) -> list[str]:
    """Reads the single words of a model card's head: its tags and its task are among them."""
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_CARD_BYTES).splitlines()
    except OSError:
        return []
    if lines[:1] != ["---"]:
        return []
    head = takewhile(lambda line: line != "---", lines[1:])
    return [match[1] for line in head if (match := _CARD_LINE.fullmatch(line)) is not None]


def _count_labels(config: Mapping[str, object]) -> int:
    labels = config.get("id2label", config.get("num_labels"))
    # What says nothing has transformers' default.
    return len(cast("dict[str, object]", labels)) if isinstance(labels, dict) else labels if isinstance(labels, int) else 2


def _has_chat_template(folder: Path) -> bool | None:
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")):
        return True
    try:
        settings = _read(folder / "tokenizer_config.json", _TokenizerSettings)
    except FormatError:
        return None
    return None if settings is None else bytes(settings.chat_template) not in (b"null", b'""', b"[]", b"{}")
