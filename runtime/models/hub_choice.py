"""Finds which of a repository's models a reference means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import DownloadError
from ..formats.header import Format, Header
from .offer import HubFile, Listing
from .quantization import preference, same_quantization

Rank = Callable[[Header], int]
"""How well a model would be served on this machine; the lowest is the best."""

_FORMATS: dict[str, Format] = {
    "gguf": "gguf", "safetensors": "safetensors", "hf": "safetensors", "transformers": "safetensors", "mlx": "mlx",
    "pytorch": "pytorch", "torch": "pytorch", "bin": "pytorch", "onnx": "onnx", "coreml": "coreml",
}  # fmt: skip
"""The words by which a reference may ask for a format."""
_SAFEST_FIRST: tuple[Format, ...] = ("gguf", "safetensors", "mlx", "onnx", "coreml", "pytorch")
"""Where the machine serves formats alike: a checkpoint of PyTorch is a program."""


def sort_files(files: Sequence[HubFile], rank: Rank) -> list[HubFile]:
    """Sorts models, the one first that we would take here: by its engine, then by the bargain of size and quality."""
    return sorted(
        files,
        key=lambda file: (
            rank(file.header),
            _SAFEST_FIRST.index(file.format) if file.format in _SAFEST_FIRST else len(_SAFEST_FIRST),
            preference(file.quantization),
            file.size_bytes or 0,
            file.name,
        ),
    )


def choose_file(listing: Listing, wanted: str | None, rank: Rank = lambda _: 0) -> HubFile:
    """Finds the model a reference means.

    Args:
        listing: what there is.
        wanted: a file's or folder's name or path, a quantisation, a format, both ("onnx-q4"), or None for the best for this
            machine.
        rank: how well a model would be served here.

    Raises:
        DownloadError: there is no such one; says what there is.
    """
    files = listing.files
    if not files:
        raise DownloadError(f"'{listing.repo}' {listing.without or 'has no model'}.")
    if wanted is None:
        return sort_files(files, rank)[0]
    for same in _readings(files, wanted.lower()):
        if same:
            return sort_files(same, rank)[0]
    raise DownloadError(f"'{listing.repo}' has no file or quantisation '{wanted}'. {_tell(files)}")


def _readings(files: Sequence[HubFile], low: str) -> Iterator[list[HubFile]]:
    """What a word may mean, the most exact reading first."""
    yield [file for file in files if low in _weights(file)]
    yield [file for file in files if any(path.rpartition("/")[2] in (low, f"{low}.gguf") for path in _weights(file))]
    yield [file for file in files if low in (file.place.lower(), file.place.lower().rpartition("/")[2])]
    yield [file for file in files if same_quantization(file.quantization, low)]
    # "Q4_K_XL" means "UD-Q4_K_XL" where that is the only one.
    yield [file for file in files if same_quantization(file.quantization, f"ud-{low}")]
    yield _of_format(files, low)
    for mark in "-/_ ":
        kind, _, quantization = low.partition(mark)
        yield [file for file in _of_format(files, kind) if same_quantization(file.quantization, quantization)]


def _weights(file: HubFile) -> list[str]:
    """The paths that name a model: its own, and those of its shards."""
    if file.format == "gguf":
        return [part.path.lower() for part in file.parts]
    return [file.name.lower(), *(part.path.lower() for part in file.parts if part.path.endswith((".safetensors", ".bin")))]


def _of_format(files: Sequence[HubFile], word: str) -> list[HubFile]:
    kind = _FORMATS.get(word.replace("core ml", "coreml"))
    # SafeTensors of MLX are SafeTensors too.
    kinds = {kind, "mlx"} if kind == "safetensors" else {kind}
    return [file for file in files if file.format in kinds]


def _tell(files: Sequence[HubFile]) -> str:
    """Says what there is instead."""
    formats = sorted({file.format for file in files})
    quantizations = list(dict.fromkeys(file.quantization for file in sort_files(files, lambda _: 0) if file.quantization))
    told = f"Quantisations there: {', '.join(quantizations)}." if quantizations else ""
    if not told:
        told = f"Files there: {', '.join(file.name for file in files)}."
    return f"{told} Formats there: {', '.join(formats)}." if formats != ["gguf"] else told
