"""Tells model files apart without reading gigabytes.

What is read of each file: its size, the first MiB, SAMPLES blocks of BLOCK_BYTES evenly spread over all of it, and the last
block. Why that is enough:

- The first MiB holds a GGUF's or safetensors file's header: names, shapes, types, settings, and most of the vocabulary.
  Another architecture, quantization or tokenizer shows there or in the size.
- A fine-tune changes the weights. Training in full moves nearly every number, and a merged adapter moves every number of
  each matrix that it touches, mostly in every layer. In a 4 GB file the blocks lie 4 MB apart, and one layer takes tens of
  megabytes: a change of a single layer meets several of them.
- A truncated or interrupted copy has another size, or zeros at its end.

What it does not see: a change of less than one sample's distance that keeps the size and the header, as one edited tensor
of a few megabytes. Nobody publishes such files under the same name and place; who makes one clears the cache
(`impetus cache clear`). Names, folders and times do not count: a copy is the same model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

HEADER_BYTES = 1024 * 1024
BLOCK_BYTES = 4096
SAMPLES = 1000


def fingerprint_files(paths: Sequence[Path]) -> bytes:
    """Gives 16 bytes that differ for different files; the order of a model's parts counts.

    Raises:
        OSError: one of them cannot be read.
    """
    digest = blake2b(digest_size=16)
    samples = max(1, SAMPLES // max(1, len(paths)))
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size_bytes = os.fstat(descriptor).st_size
            digest.update(size_bytes.to_bytes(8, "little"))
            for offset, count in _places(size_bytes, samples):
                digest.update(os.pread(descriptor, count, offset))
        finally:
            os.close(descriptor)
    return digest.digest()


def _places(size_bytes: int, samples: int) -> list[tuple[int, int]]:
    """Which parts of a file are read, as offset and length."""
    if size_bytes <= HEADER_BYTES + samples * BLOCK_BYTES:
        return [(at, HEADER_BYTES) for at in range(0, size_bytes, HEADER_BYTES)]
    last = size_bytes - BLOCK_BYTES
    spread = [HEADER_BYTES + (last - HEADER_BYTES) * number // samples for number in range(samples)]
    return [(0, HEADER_BYTES), *((offset, BLOCK_BYTES) for offset in spread), (last, BLOCK_BYTES)]
