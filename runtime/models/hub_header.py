"""Makes the header of a model that lies on the Hub: of a GGUF file's beginning, or of config.json and the files' sizes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from ..errors import DownloadError, FormatError
from ..formats.config_facts import with_config, with_weights
from ..formats.gguf import to_gguf_header
from ..formats.gguf_part import GgufPart, parse_part
from ..formats.header import Header
from .hub import ANSWER_TIMEOUT_S, Hub
from .hub_choice import Rank, choose_file
from .hub_errors import to_download_error
from .offer import HubFile, Listing, RemoteFile
from .reference import parse_reference

_FIRST_BYTES: Final = 4 << 20
_MOST_BYTES: Final = 64 << 20
"""Vocabulary and table of tensors of the largest models take a third of this."""
_MOST_CONFIG_BYTES: Final = 4 << 20


def read_remote_header(
    reference: str, *, endpoint: str | None = None, rank: Rank = lambda _: 0, listing: Listing | None = None
) -> Header:
    """Reads what is known of a model before it is downloaded; blocks, and needs the internet.

    Args:
        reference: as `impetus pull` takes it.
        endpoint: the Hub's address; None is huggingface_hub's own choice.
        rank: how well a model would be served here; decides where the reference leaves a choice.
        listing: what the repository holds, where that was asked for before.

    Raises:
        DownloadError: it names no model, or the Hub cannot be asked.
    """
    wanted = parse_reference(reference)
    try:
        listing = listing or Hub(endpoint=endpoint, rank=rank).read_listing(wanted.repo)
        file = choose_file(listing, wanted.wanted, rank)
        header = _of_gguf(listing, file, endpoint) if file.format == "gguf" else _of_config(listing, file, endpoint)
    except (DownloadError, FormatError) as error:
        raise DownloadError(f"'{reference}': {error.message}") from error
    except Exception as error:  # huggingface_hub and its client raise their own; each is told in our words
        raise to_download_error(error, repo=wanted.repo, endpoint=endpoint) from error
    name = f"{wanted.repo}:{header.quantization or file.name}"
    return replace(header, name=name, size_bytes=file.size_bytes or header.size_bytes)


def _of_gguf(listing: Listing, file: HubFile, endpoint: str | None) -> Header:
    parts = [_read_part(listing, part, endpoint) for part in file.parts]
    return to_gguf_header(parts[0], parts)


def _read_part(listing: Listing, file: RemoteFile, endpoint: str | None) -> GgufPart:
    """Reads as much of a file's beginning as its header takes."""
    wanted, path = _FIRST_BYTES, Path(PurePosixPath(file.path).name)
    while True:
        head = _read_beginning(listing, file.path, wanted, endpoint)
        try:
            return parse_part(io.BytesIO(head), path, file.size_bytes or len(head))
        except FormatError:
            # Too little of it was read, or it is damaged: more of it tells which.
            if len(head) < wanted or wanted >= _MOST_BYTES:
                raise
        wanted *= 4


def _of_config(listing: Listing, file: HubFile, endpoint: str | None) -> Header:
    """Counts by the config.json in the model's folder; without one only the sizes are known."""
    place = f"{file.place}/config.json" if file.place else "config.json"
    text = _read_beginning(listing, place, _MOST_CONFIG_BYTES, endpoint)
    try:
        config = msgspec.json.decode(text, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise FormatError(Path(place), f"cannot be read: {error}") from error
    return with_weights(with_config(file.header, config), config)


def _read_beginning(listing: Listing, path: str, most_bytes: int, endpoint: str | None) -> bytes:
    """Reads so many bytes of a file at most; raises what huggingface_hub raises."""
    # Imported here, as a start without downloads should not pay for it.
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # pyright: ignore[reportUnknownVariableType]

    url = hf_hub_url(listing.repo, path, revision=listing.commit, endpoint=endpoint)
    # Packed bytes would not be those that the range counts.
    headers = build_hf_headers(library_name="impetus") | {"Accept-Encoding": "identity", "Range": f"bytes=0-{most_bytes - 1}"}
    read = bytearray()
    with get_session().stream("GET", url, headers=headers, timeout=ANSWER_TIMEOUT_S, follow_redirects=True) as answer:
        hf_raise_for_status(answer)
        # Not every host heeds the range.
        for piece in answer.iter_bytes():
            read += piece
            if len(read) >= most_bytes:
                break
    return bytes(read[:most_bytes])
