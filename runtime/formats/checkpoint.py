"""Finds the tensors inside a PyTorch checkpoint without torch, and without running anything that it holds.

A checkpoint is a pickle, which is a program. This one is run by an interpreter that knows the few calls that make tensors and
refuses all others, so that a file with more in it is refused, not run.

Sources: `torch.serialization` (the zip layout and the one before version 1.6), https://docs.python.org/3/library/pickle.html
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import FormatError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_PICKLE_BYTES = 256 << 20
"""What says where tensors are takes some hundred bytes for each."""
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""How many bytes a number takes, by the names of types in SafeTensors."""
_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_LOCAL_HEAD = struct.Struct("<4s5H3I2H")
"""What stands before each file in a zip archive."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor, and where its numbers are."""

    dtype: str
    """As SafeTensors names it."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In numbers, not bytes."""
    path: Path
    at: int
    """The byte of its first number in the file."""
    size_bytes: int
    """How many bytes of the file its storage has from there on."""

    @property
    def count(self) -> int:
        """How many numbers it has."""
        total = 1
        for length in self.shape:
            total *= length
        return total

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after the other, the last dimension first."""
        expected = 1
        for length, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if length != 1 and step != expected:
                return False
            expected *= length
        return True


def read_checkpoint(path: Path) -> dict[str, StoredTensor]:
    """Finds the tensors of a checkpoint by their names; those in a part of it, as "model" or "state_dict", are taken out of it.

    Raises:
        FormatError: it is damaged, cut short, a TorchScript program, or holds more than tensors.
        OSError: it cannot be read.
    """
    try:
        found = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except (FormatError, OSError):
        raise
    except Exception as error:  # a damaged pickle can raise whatever its bytes make it
        raise FormatError(path, f"its list of tensors cannot be read: {error}", cure="Download it again.") from error
    return _flatten(found, path)


@dataclass(frozen=True, slots=True)
class _Storage:
    """Numbers in the file."""

    dtype: str
    at: int
    size_bytes: int
    path: Path


@dataclass(frozen=True, slots=True)
class _Kind:
    dtype: str


class _LegacyStorage:
    """Numbers whose place is known only once all of the pickle was read."""

    def __init__(self, dtype: str, key: str) -> None:
        self.dtype = dtype
        self.key = key


class _Refused(pickle.UnpicklingError):
    """It holds something else than tensors."""


class _Unpickler(pickle.Unpickler):
    """Runs a checkpoint's pickle with nothing but what makes tensors."""

    def __init__(self, file: BinaryIO, load: Callable[[tuple[Any, ...]], Any]) -> None:
        super().__init__(file, encoding="utf-8")
        self._load = load

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Gives the stand-in for one of the known names."""
        if module_name in ("torch", "torch.storage") and global_name in _STORAGES:
            return _Kind(_STORAGES[global_name])
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_tensor"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): _keep_first,
            ("torch", "Size"): tuple,
            ("torch.serialization", "_get_layout"): _keep_first,
        }
        if (module_name, global_name) not in known:
            raise _Refused(f"it asks for '{module_name}.{global_name}', which is no part of weights")
        return known[module_name, global_name]

    def persistent_load(self, pid: Any) -> Any:
        """Gives the numbers that a pickle speaks of."""
        return self._load(cast("tuple[Any, ...]", pid))


def _rebuild(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> Any:
    return (storage, int(offset), tuple(shape), tuple(stride))


def _keep_first(value: Any, *_: Any) -> Any:
    return value


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        place = next((name for name in names if name.endswith("data.pkl")), None)
        if place is None:
            raise FormatError(path, "it is a zip archive without a list of tensors", cure="It is no checkpoint of weights.")
        root = place[: -len("data.pkl")]
        if any(name.startswith(f"{root}code/") for name in names):
            raise FormatError(
                path,
                "it is a TorchScript program, not a checkpoint of weights, and programs are not run",
                cure="Download the model's weights (safetensors or pytorch_model.bin) instead.",
            )
        if archive.getinfo(place).file_size > MOST_PICKLE_BYTES:
            raise FormatError(path, "its list of tensors is far too large")
        with path.open("rb") as file:

            def load(pid: tuple[Any, ...]) -> _Storage:
                _, kind, key, _, count = pid[:5]
                info = archive.getinfo(f"{root}data/{key}")
                if info.compress_type != zipfile.ZIP_STORED:
                    raise _Refused("its tensors are compressed, which torch never writes")
                file.seek(info.header_offset)
                head = _LOCAL_HEAD.unpack(file.read(_LOCAL_HEAD.size))
                begin = info.header_offset + _LOCAL_HEAD.size + head[-2] + head[-1]
                size = int(count) * ITEM_BYTES[kind.dtype]
                if info.file_size < size:
                    raise _Refused(f"a storage has {info.file_size} bytes where {size} are needed")
                return _Storage(kind.dtype, begin, info.file_size, path)

            with archive.open(place) as text:
                return _Unpickler(cast("BinaryIO", text), load).load()


def _read_legacy(path: Path) -> Any:
    size = path.stat().st_size
    with path.open("rb") as file:
        storages: dict[str, _LegacyStorage] = {}

        def load(pid: tuple[Any, ...]) -> Any:
            _, kind, key, *_ = pid
            return storages.setdefault(str(key), _LegacyStorage(kind.dtype, str(key)))

        def refuse(_: tuple[Any, ...]) -> Any:
            raise _Refused("it is no checkpoint")

        if _Unpickler(file, refuse).load() != LEGACY_MAGIC:
            raise _Refused("it does not begin as a checkpoint does")
        _Unpickler(file, refuse).load()
        _Unpickler(file, refuse).load()
        found = _Unpickler(file, load).load()
        keys = cast("list[Any]", _Unpickler(file, refuse).load())
        placed: dict[str, _Storage] = {}
        for key in keys:
            dtype = storages[str(key)].dtype
            count = int.from_bytes(file.read(8), "little")
            begin, bytes_ = file.tell(), count * ITEM_BYTES[dtype]
            if begin + bytes_ > size:
                raise FormatError(path, "it was cut short", offset=size, cure="Download it again.")
            placed[str(key)] = _Storage(dtype, begin, bytes_, path)
            file.seek(bytes_, 1)
        return _place(found, placed)


def _place(value: Any, placed: Mapping[str, _Storage]) -> Any:
    """Puts the storages whose place is known now where they were spoken of."""
    if isinstance(value, _LegacyStorage):
        return placed[value.key]
    if isinstance(value, dict):
        return {key: _place(inner, placed) for key, inner in cast("dict[Any, Any]", value).items()}
    if isinstance(value, tuple):
        return tuple(_place(inner, placed) for inner in cast("tuple[Any, ...]", value))
    return value


def _flatten(found: Any, path: Path) -> dict[str, StoredTensor]:
    if not isinstance(found, dict):
        raise FormatError(path, "it holds no tensors by name", cure="It is no checkpoint of a model's weights.")
    entries = cast("dict[Any, Any]", found)
    tensors: dict[str, StoredTensor] = {}
    for name, value in entries.items():
        if isinstance(name, str) and _is_tensor(value):
            tensors[name] = _to_tensor(value, path)
    if tensors:
        return tensors
    for part in ("model", "state_dict", "module", "model_state_dict"):
        if isinstance(entries.get(part), dict):
            return _flatten(entries[part], path)
    raise FormatError(path, "it holds no tensors by name", cure="It is no checkpoint of a model's weights.")


def _is_tensor(value: Any) -> bool:
    return isinstance(value, tuple) and len(cast("tuple[Any, ...]", value)) == 4 and isinstance(value[0], _Storage)


def _to_tensor(value: tuple[_Storage, int, tuple[int, ...], tuple[int, ...]], path: Path) -> StoredTensor:
    storage, offset, shape, stride = value
    item = ITEM_BYTES[storage.dtype]
    tensor = StoredTensor(
        storage.dtype, shape, stride, storage.path, storage.at + offset * item, storage.size_bytes - offset * item
    )
    last = sum((length - 1) * step for length, step in zip(shape, stride, strict=True)) if tensor.count else -1
    if offset < 0 or min((*shape, *stride), default=0) < 0 or (last + 1) * item > tensor.size_bytes:
        raise FormatError(path, f"a tensor of shape {list(shape)} reaches beyond its numbers", offset=tensor.at)
    return tensor
