"""Reads what a model folder's config.json and its neighbours say, for the formats that have such a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import msgspec

from ..errors import FormatError
from .config_facts import with_config
from .header import Ability, Format, Header

_WITHOUT_HEAD = ("Model", "ForMaskedLM")
"""How transformers names classes of models that end in states, or were trained to guess words that are hidden."""
LARGEST_JSON_BYTES = 32 * 1024 * 1024


def read_json(path: Path) -> Mapping[str, object] | None:
    """Reads a JSON object; None where there is no such file.

    Raises:
        FormatError: the file cannot be read, or is something else.
    """
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise FormatError(path, "it is far too large for what it should be")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.MsgspecError) as error:
        raise FormatError(path, f"cannot be read: {error}") from error


def check_index(folder: Path, name: str) -> frozenset[str]:
    """Gives the parts that an index names; none where there is no index.

    Raises:
        FormatError: one of them is missing.
    """
    index = read_json(folder / name)
    listed = index.get("weight_map") if index is not None else None
    if not isinstance(listed, dict):
        return frozenset()
    wanted = {str(part) for part in msgspec.convert(listed, dict[str, object]).values()}
    missing = sorted(part for part in wanted if not (folder / part).is_file())
    if missing:
        raise FormatError(folder, f"{len(missing)} of its {len(wanted)} parts are missing, as {missing[0]}")
    return frozenset(wanted)


def total_bytes(paths: Iterable[Path]) -> int:
    """Adds up the sizes of files."""
    return sum(path.stat().st_size for path in paths)


def to_header(folder: Path, format: Format, config: Mapping[str, object], size_bytes: int) -> Header:  # noqa: A002
    """Makes a header of a config.json in the shape of Hugging Face transformers; keys that are missing stay unknown."""
    ability = tell_ability(config, has_stages=(folder / "modules.json").is_file())
    template = _has_chat_template(folder)
    return with_config(Header(format=format, size_bytes=size_bytes, has_chat_template=template, ability=ability), config)


def tell_ability(config: Mapping[str, object], *, has_stages: bool) -> Ability:
    """Says what a model gives, by the class it was saved from, and by whether stages of sentence-transformers follow."""
    kinds = config.get("architectures")
    kind = str(cast("list[object]", kinds)[0]) if isinstance(kinds, list) and kinds else ""
    if kind.endswith("ForSequenceClassification") and _count_labels(config) == 1:
        return "rerank"
    if has_stages or kind.endswith(_WITHOUT_HEAD):
        return "embedding"
    return "text"


def _count_labels(config: Mapping[str, object]) -> int:
    labels = config.get("id2label", config.get("num_labels"))
    # What says nothing has transformers' default.
    return len(cast("dict[str, object]", labels)) if isinstance(labels, dict) else labels if isinstance(labels, int) else 2


def _has_chat_template(folder: Path) -> bool | None:
    if any((folder / name).exists() for name in ("chat_template.jinja", "chat_template.json", "additional_chat_templates")):
        return True
    try:
        settings = read_json(folder / "tokenizer_config.json")
    except FormatError:
        return None
    return None if settings is None else bool(settings.get("chat_template"))
