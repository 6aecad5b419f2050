"""Reads the header of one GGUF file, versions 1 to 3 of either byte order, straight from its bytes.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from struct import Struct
from typing import Literal

from ..errors import FormatError
from .ggml_types import TENSOR_TYPES
from .reader import ByteReader, ByteStream

MAGIC = b"GGUF"

MOST_KEYS = 1 << 16
MOST_STRINGS = 1 << 22
"""Of all lists of a file together; the largest vocabularies have a quarter of a million entries and twice as many merges."""
MOST_TENSORS = 1 << 18
MOST_DIMENSIONS = 4
LONGEST_KEY = 65_535
LONGEST_KEPT_TEXT = 4_096
LONGEST_KEPT_TEMPLATE = 1 << 18
LONGEST_KEPT_LIST = 1_024
CHAT_TEMPLATE = "tokenizer.chat_template"
"""The key of the default one; others have a dot and a name behind it."""
LONG_ROPE = "rope_factors_long"
"""Named so are the tensors of models whose rotation depends on the context's length."""
GroupName = Literal["experts", "tokens", "rows", "output"]
"""All experts of all layers; the table of tokens; tables of which a token takes just its row; the matrix for scores."""
_GROUPS: Mapping[str, GroupName] = {
    "token_embd.weight": "tokens",
    "per_layer_token_embd.weight": "rows",
    "output.weight": "output",
}

_VOCABULARY = "tokenizer.ggml.tokens"
_GAP_KEYS = frozenset({"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"})
_GAP_TOKENS = (
    b"<|fim_prefix|>",
    b"<fim_prefix>",
    b"<fim-prefix>",
    "<｜fim▁begin｜>".encode(),
    "▁<PRE>".encode(),
    b"<|code_prefix|>",
)
"""What llama.cpp takes for the token before a gap where no key names it."""
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class Array:
    """A list in the metadata."""

    length: int
    items: tuple[int | float, ...] | None
    """None for texts and for lists too long to keep."""


Value = int | float | bool | str | Array | None
"""What a metadata key holds; None is a text too long to keep."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A part of a model's tensors."""

    parameters: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GgufPart:
    """What one GGUF file says: a whole model, or one of its shards."""

    path: Path
    size_bytes: int
    header_bytes: int
    """How far the tensor data is from the file's start."""
    version: int
    big_endian: bool
    metadata: Mapping[str, Value]
    tensors: int
    parameters: int
    bytes_by_type: Mapping[str, int]
    """How much data each tensor type has here."""
    groups: Mapping[GroupName, Weights] = field(default_factory=dict["GroupName", "Weights"])
    """What some tensors that not every token takes whole have together."""
    fills_gaps: bool = False
    """Whether its vocabulary has a token for what stands before a gap."""
    has_rope_factors: bool = False
    """Whether it holds factors for long contexts, which an engine takes or leaves by its context's length."""

    def integer(self, key: str) -> int | None:
        """Gives a whole number of the metadata, the largest where there is one for each layer.

        Raises:
            FormatError: there is something else under this key.
        """
        value = self.metadata.get(key)
        if value is None and key not in self.metadata:
            return None
        if isinstance(value, Array) and value.items:
            value = max(value.items)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise FormatError(self.path, f"'{key}' is not a whole number")

    def text(self, key: str) -> str | None:
        """Gives a text of the metadata, or None where there is none or it is too long."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    @property
    def is_model(self) -> bool:
        """False for projectors of vision models, adapters and calibration data, which no engine can serve alone."""
        return self.text("general.type") in (None, "model") and self.text("general.architecture") != "clip"


def read_part(path: Path) -> GgufPart:
    """Reads one file's header; raises FormatError where it cannot be read or believed."""
    try:
        with path.open("rb", buffering=0) as file:
            size_bytes = path.stat().st_size
            return parse_part(file, path, size_bytes)
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}", cure="Look at its permissions and its disk.") from error


def parse_part(file: ByteStream, path: Path, size_bytes: int) -> GgufPart:
    """Reads the header from an open file that stands at its start.

    Raises:
        FormatError: it is not GGUF, or what it declares cannot be.
    """
    reader = ByteReader(file, path, size_bytes)
    if size_bytes < 4 or reader.read_bytes(4) != MAGIC:
        raise FormatError(path, _what_else(path, size_bytes), offset=0)
    return _Parser(reader).parse()


@dataclass(frozen=True, slots=True)
class _Table:
    """What the tensor table says."""

    has_rope_factors: bool
    parameters: int
    bytes_by_type: Mapping[str, int]
    data_bytes: int
    """How much data there has to be."""
    groups: Mapping[GroupName, Weights]


class _Parser:
    """One walk through one header."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        version = reader.read_number(Struct("<I"))
        self._big_endian = version & 0xFFFF == 0 and version != 0
        order = ">" if self._big_endian else "<"
        self._version = int.from_bytes(version.to_bytes(4, "little"), "big") if self._big_endian else version
        if not 1 <= self._version <= 3:
            raise FormatError(
                reader.path,
                f"GGUF version {self._version} is not known here, only 1 to 3 are",
                offset=4,
                cure="Update Impetus, or download the file again.",
            )
        self._u32 = Struct(order + "I")
        # Version 1 counted in 32 bits.
        count = "I" if self._version == 1 else "Q"
        self._count = Struct(order + count)
        self._places = [Struct(f"{order}{dimensions}{count}IQ") for dimensions in range(MOST_DIMENSIONS + 1)]
        """How long a tensor is in each dimension, its type, and where it begins."""
        self._scalars = {number: Struct(order + code) for number, code in _SCALARS.items()}
        self._strings_left = MOST_STRINGS
        self._fills_gaps = False

    def parse(self) -> GgufPart:
        reader = self._reader
        tensors = reader.read_number(self._count)
        keys = reader.read_number(self._count)
        if keys > MOST_KEYS or keys * 10 > reader.remaining_bytes:
            raise reader.fail(f"it claims {keys:,} metadata keys")
        if tensors > MOST_TENSORS or tensors * 20 > reader.remaining_bytes:
            raise reader.fail(f"it claims {tensors:,} tensors")
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self._read_text(LONGEST_KEY, "a key")
            if key in metadata:
                raise reader.fail(f"the key '{_shown(key)}' comes twice")
            metadata[key] = self._read_value(reader.read_number(self._u32), key)
        table = self._read_tensors(tensors)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise FormatError(reader.path, "'general.alignment' is not a power of two")
        data_start = -(-reader.position // alignment) * alignment if tensors else reader.position
        if data_start + table.data_bytes > reader.size_bytes:
            missing = data_start + table.data_bytes - reader.size_bytes
            raise FormatError(
                reader.path,
                f"its tensors need {missing:,} bytes more than the file has: it was cut short",
                offset=reader.size_bytes,
            )
        return GgufPart(
            path=reader.path,
            size_bytes=reader.size_bytes,
            header_bytes=data_start,
            version=self._version,
            big_endian=self._big_endian,
            metadata=metadata,
            tensors=tensors,
            parameters=table.parameters,
            bytes_by_type=table.bytes_by_type,
            groups=table.groups,
            fills_gaps=self._fills_gaps or not _GAP_KEYS.isdisjoint(metadata),
            has_rope_factors=table.has_rope_factors,
        )

    def _read_text(self, limit: int, what: str) -> str:
        return self._reader.read_sized(self._count, limit, what).decode("utf-8", "replace")

    def _read_value(self, kind: int, key: str) -> Value:
        reader = self._reader
        if kind == _STRING:
            length = reader.read_number(self._count)
            if length > (LONGEST_KEPT_TEMPLATE if key == CHAT_TEMPLATE else LONGEST_KEPT_TEXT):
                reader.skip(length)
                return None
            return reader.read_bytes(length).decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._read_array(key)
        layout = self._scalars.get(kind)
        if layout is None:
            raise reader.fail(f"the key '{_shown(key)}' has the unknown type {kind}")
        return reader.read_values(layout)[0]

    def _read_array(self, key: str) -> Array:
        reader = self._reader
        kind = reader.read_number(self._u32)
        length = reader.read_number(self._count)
        if kind == _STRING:
            self._strings_left -= length
            if self._strings_left < 0:
                raise reader.fail(f"'{_shown(key)}' claims {length:,} texts")
            looked_for = _GAP_TOKENS if key == _VOCABULARY else ()
            self._fills_gaps |= reader.skip_strings(length, self._count, looked_for)
            return Array(length, None)
        layout = self._scalars.get(kind)
        if layout is None:
            raise reader.fail(f"the list '{_shown(key)}' has elements of the unknown type {kind}")
        if length > LONGEST_KEPT_LIST:
            reader.skip(length * layout.size)
            return Array(length, None)
        return Array(length, tuple(reader.read_values(layout)[0] for _ in range(length)))

    def _read_tensors(self, count: int) -> _Table:
        reader = self._reader
        names: set[str] = set()
        has_rope_factors = False
        sizes: dict[str, int] = {}
        parameters = data_bytes = 0
        groups: dict[GroupName, Weights] = {}
        for _ in range(count):
            name = self._read_text(LONGEST_KEY, "a tensor's name")
            if name in names:
                raise reader.fail(f"the tensor '{_shown(name)}' comes twice")
            names.add(name)
            has_rope_factors = has_rope_factors or LONG_ROPE in name
            place = reader.read_counted(self._u32, self._places)
            if place is None:
                raise reader.fail(f"the tensor '{_shown(name)}' has more than {MOST_DIMENSIONS} dimensions")
            *extents, number, offset = place
            elements, row = prod(extents), extents[0] if extents else 1
            kind = TENSOR_TYPES.get(number)
            if kind is not None and row % kind.block_size:
                raise reader.fail(f"the tensor '{_shown(name)}' has rows of {row:,} numbers, which {kind.name} cannot hold")
            size = elements // kind.block_size * kind.block_bytes if kind is not None else 0
            if offset + size > reader.size_bytes:
                missing = offset + size - reader.size_bytes
                raise reader.fail(f"the tensor '{_shown(name)}' ends {missing:,} bytes or more past the end of the file")
            label = kind.name if kind is not None else f"type {number}"
            sizes[label] = sizes.get(label, 0) + size
            parameters += elements
            data_bytes = max(data_bytes, offset + size)
            if (group := _group(name)) is not None:
                known = groups.get(group, Weights())
                groups[group] = Weights(known.parameters + elements, known.size_bytes + size)
        return _Table(has_rope_factors, parameters, sizes, data_bytes, groups)


def _group(tensor: str) -> GroupName | None:
    return "experts" if "_exps." in tensor else _GROUPS.get(tensor)


def _shown(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "…"


def _what_else(path: Path, size_bytes: int) -> str:
    """Says what a file is that should have begun with GGUF."""
    if size_bytes == 0:
        return "it is empty"
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        head = b""
    if head.startswith(b"version https://git-lfs"):
        return "it is only a Git LFS pointer to the model, not the model"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"{")):
        return "it is a web page or an error message that was saved as a model"
    if not head.strip(b"\0"):
        return "it begins with zeros: it was reserved on the disk, but never filled"
    return "it does not begin as a GGUF file does"
