"""The cache of a model that was just loaded, with the stores of what it computes."""

from __future__ import annotations

from ...frames import LoadOptions
from ..adapters import Adapters
from ..prefix.fingerprint import fingerprint_files
from ..prefix.memory import MemoryTier
from ..prefix.segments import root_key
from ..prefix.store import PrefixStore
from .llama_cells import Cells
from .llama_model import ENGINE, LlamaModel


def open_cells(model: LlamaModel, options: LoadOptions) -> Cells:
    """Puts the cache together; each mixture of adapters gets a store of its own, and all share their memory.

    Raises:
        OSError: the model's files cannot be read.
    """
    fingerprint = fingerprint_files(model.files)
    memory = MemoryTier(options.prefix.ram_bytes, cuttable=model.cuttable)

    def open_store(adapters: Adapters) -> PrefixStore:
        kind = options.cache_type if options.stretch == 1 else f"{options.cache_type} x{options.stretch}"
        root = root_key(fingerprint, ENGINE.encode(), kind.encode(), model.identify_adapters(adapters))
        return PrefixStore(options.prefix, root=root, cuttable=model.cuttable, label=model.files[0].stem, memory=memory)

    return Cells(
        model.memory,
        size=model.cache_size,
        slots=model.slots,
        cuttable=model.cuttable,
        parks=options.prefix.ram_bytes > 0,
        open_store=open_store,
    )
