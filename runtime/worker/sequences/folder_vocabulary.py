"""The vocabulary of a model folder in Hugging Face's layout, read by the `tokenizers` library alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer

from ..backends.backend import LoadError
from ..vocabulary import BOUNDARY

ENDS = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<turn|>",
        "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "< EOT >", "_< EOT >", "<EOT>", "<｜end▁of▁sentence｜>",
        "<end_of_utterance>", "<|END_OF_TURN_TOKEN|>", "[EOS]", "[e~[",
    }
)  # fmt: skip
"""Control tokens that end an answer in the families of the field, whether or not a model's files say so."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "▁"


class FolderVocabulary:
    """Reads `tokenizer.json` and what the files beside it say of single tokens.

    Args:
        folder: where they lie.
        rows: how many scores the model gives for each place; ids behind them do not exist for it. None is as the tokenizer
            counts.
        tokenizer: the folder's, where it was read before.
        ends_texts: whether whole texts end with the end-of-text token where `tokenizer_config.json` asks for it, as models that
            give vectors were trained.

    Raises:
        LoadError: the folder has no tokenizer that can be read.
    """

    def __init__(
        self, folder: Path, *, rows: int | None = None, tokenizer: Tokenizer | None = None, ends_texts: bool = False
    ) -> None:
        self._folder = folder
        self._tokenizer = open_tokenizer(folder) if tokenizer is None else tokenizer
        self._settings = settings = read_json(folder / "tokenizer_config.json")
        config = read_json(folder / "config.json")
        generation = read_json(folder / "generation_config.json")
        # What it is pickled as; the whole tokenizer as text would take a large vocabulary's worth of time.
        self._decoder = str(self._tokenizer.decoder.__getstate__())
        self._added = dict(self._tokenizer.get_added_tokens_decoder())
        known = self._tokenizer.get_vocab(with_added_tokens=True)
        size = max(known.values(), default=-1) + 1
        self.size = size if rows is None else min(size, rows)
        self._names: list[str | None] = [None] * self.size
        for name, number in known.items():
            if number < self.size:
                self._names[number] = name
        self.control_texts = {
            token.content: number for number, token in sorted(self._added.items()) if token.special and number < self.size
        }
        self._controls = frozenset(self.control_texts.values())
        self._pieces: list[bytes | None] = [None] * self.size
        self.longest_bytes = max((len(name.encode("utf-8", "replace")) for name in known), default=1)
        self.bos = self._named(settings.get("bos_token")) if "bos_token" in settings else self._number(config, "bos_token_id")
        eos = self._named(settings.get("eos_token"))
        self.eos = eos if eos is not None else next(iter(_numbers(config.get("eos_token_id"))), None)
        stated = {*_numbers(generation.get("eos_token_id")), *_numbers(config.get("eos_token_id"))}
        if self.eos is not None:
            stated.add(self.eos)
        stated |= {number for text, number in self.control_texts.items() if text in ENDS}
        self.ends = frozenset(number for number in stated if 0 <= number < self.size)
        self.boundaries = frozenset(number for text, number in self.control_texts.items() if BOUNDARY.search(text))
        # Older files have it in their settings alone, newer ones also in the rules of tokenizer.json.
        self._end = self.eos if ends_texts and settings.get("add_eos_token") is True else None
        begun = self._encode("a", whole=True)
        self.adds_bos = self.bos is not None and begun[:1] == [self.bos]
        self.adds_bos_to_chats = False
        """Templates of this layout write it themselves: whoever adds it where they do not gets other text."""

    def limited(self, rows: int) -> FolderVocabulary:
        """Gives the vocabulary of a model that gives so many scores for each place: this one, unless it has more tokens."""
        return self if rows >= self.size else FolderVocabulary(self._folder, rows=rows, tokenizer=self._tokenizer)

    def tokenize(self, text: str, *, control: bool, whole: bool = False) -> list[int]:
        """Cuts text into tokens; see `Vocabulary.tokenize`."""
        self._tokenizer.encode_special_tokens = not control
        return self._encode(text.encode("utf-8", "replace").decode(), whole=whole)

    def pair(self, first: str, second: str) -> list[int]:
        """Puts two texts together as the tokenizer does with pairs; texts of control tokens stay texts."""
        self._tokenizer.encode_special_tokens = True
        first, second = (text.encode("utf-8", "replace").decode() for text in (first, second))
        ids = self._tokenizer.encode(first, second).ids
        return [number for number in ids if number < self.size]

    @property
    def separator(self) -> int | None:
        """The token that ends the first text of a pair, or None."""
        return self._named(self._settings.get("sep_token"))

    def piece(self, token: int) -> bytes:
        """The bytes of a token as shown to a reader; b"" for a control token."""
        if token in self._controls:
            return b""
        piece = self._pieces[token]
        if piece is None:
            piece = self._pieces[token] = self.bytes_of(token)
        return piece

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token, those of a control token too; b"" for an id that nothing was given to."""
        name = self._names[token]
        if name is None:
            return b""
        if token in self._added:
            return self._added[token].content.encode("utf-8", "replace")
        return self._to_bytes(name)

    def text(self, tokens: Sequence[int]) -> str:
        """Puts tokens together to text, with the texts of control tokens; what is not whole UTF-8 is replaced."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", "replace")

    def text_of(self, token: int | None) -> str:
        """The text of a token as a template writes it, control tokens too."""
        return "" if token is None else self.bytes_of(token).decode("utf-8", "replace")

    def are_known(self, tokens: Sequence[int]) -> bool:
        """Whether all of these are ids of this vocabulary."""
        return all(0 <= token < self.size for token in tokens)

    def first_difference(self, other: FolderVocabulary, *, begin: int) -> int | None:
        """Gives the first id from `begin` on, of those that both have, that means something else to another vocabulary."""
        shared = min(self.size, other.size)
        mine, theirs = self._names[begin:shared], other._names[begin:shared]
        if mine == theirs:
            return None
        return next(begin + at for at, names in enumerate(zip(mine, theirs, strict=True)) if names[0] != names[1])

    def _encode(self, text: str, *, whole: bool) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=whole).ids
        ids = [number for number in ids if number < self.size]
        if whole and self._end is not None and ids[-1:] != [self._end]:
            ids.append(self._end)
        return ids

    def _to_bytes(self, name: str) -> bytes:
        if "ByteLevel" in self._decoder:
            table = _BYTES_OF
            if all(character in table for character in name):
                return bytes(table[character] for character in name)
            return name.encode("utf-8", "replace")
        if (match := _BYTE.fullmatch(name)) and "ByteFallback" in self._decoder:
            return bytes([int(match[1], 16)])
        if "WordPiece" in self._decoder:
            return (name[2:] if name.startswith("##") else f" {name}").encode("utf-8", "replace")
        return name.replace(_SPACE, " ").encode("utf-8", "replace")

    def _named(self, token: object) -> int | None:
        """The id of a token that a file names, as its text or with its properties."""
        if isinstance(token, dict):
            token = cast("dict[str, object]", token).get("content")
        number = self._tokenizer.token_to_id(token) if isinstance(token, str) else None
        return number if number is not None and number < self.size else None

    def _number(self, config: Mapping[str, object], key: str) -> int | None:
        return next((number for number in _numbers(config.get(key)) if 0 <= number < self.size), None)

    @cached_property
    def fill_texts(self) -> tuple[int, int, int] | None:
        """The tokens for what stands before, behind and in a gap; None where one is missing."""
        for prefix, suffix, middle in _FILL:
            before, behind, inside = map(self._tokenizer.token_to_id, (prefix, suffix, middle))
            if before is not None and behind is not None and inside is not None:
                return before, behind, inside
        return None


def read_json(path: Path) -> dict[str, object]:
    """Reads a file that holds an object; {} where it is missing or holds something else."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def read_template(folder: Path) -> str | None:
    """Reads a folder's chat template, wherever its layout keeps it; None where it has none."""
    for name in ("chat_template.jinja", "chat_template.jinja2"):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = read_json(folder / name).get("chat_template")
        if isinstance(template, str):
            return template
        if isinstance(template, list):
            named = {str(one.get("name")): one.get("template") for one in cast("list[dict[str, object]]", template)}
            chosen = named.get("default") or next(iter(named.values()), None)
            if isinstance(chosen, str):
                return chosen
    return None


def open_tokenizer(folder: Path) -> Tokenizer:
    """Reads a folder's tokenizer; raises LoadError where there is none that can be read."""
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exceptions
            raise LoadError(f"{path.name} cannot be read: {error}. Download it again.") from error
        # Some files say, from their training, that every text is to be cut or filled up to one length.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    return _convert(folder)


def _convert(folder: Path) -> Tokenizer:
    """Reads a tokenizer of an older layout, by the library that knows them all."""
    older = [name for name in ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model") if (folder / name).is_file()]
    if not older:
        raise LoadError("there is no tokenizer beside it. Download tokenizer.json from the model's page into the same folder.")
    try:
        from transformers import AutoTokenizer  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

        tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return cast("Tokenizer", tokenizer.backend_tokenizer)  # pyright: ignore[reportUnknownMemberType]
    except Exception as error:
        raise LoadError(
            f"its tokenizer ({older[0]}) is of an older layout and could not be converted: {error}. Download tokenizer.json "
            "from a newer copy of the model into the same folder."
        ) from error


def _numbers(value: object) -> list[int]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [number for number in values if isinstance(number, int) and not isinstance(number, bool)]


def _make_bytes_of() -> dict[str, int]:
    """The alphabet of byte-level tokenizers: printable bytes stand for themselves, the others for characters behind U+0100."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in plain}
    others = [byte for byte in range(256) if byte not in set(plain)]
    return table | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES_OF = _make_bytes_of()
_FILL = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
