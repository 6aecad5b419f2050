"""What a model that was just loaded gets beside it: stores for its states, and who guesses its tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from ...frames import LoadOptions
from ..adapters import Adapters
from ..draft.guesses import Guesses
from ..prefix.fingerprint import fingerprint_files
from ..prefix.memory import MemoryTier
from ..prefix.segments import root_key
from ..prefix.store import PrefixStore
from ..prefix.stores import Stores
from .draft_model import DraftModel
from .folder_vocabulary import FolderVocabulary
from .overlay import Overlay
from .runner import Opened, Runner, S


def open_stores(opened: Opened, options: LoadOptions, overlay: Overlay[S]) -> Stores:
    """Makes the stores of a model's states; each mixture of adapters gets one of its own, and all share their memory.

    Raises:
        OSError: the model's files cannot be read.
    """
    fingerprint = fingerprint_files(opened.files)
    memory = MemoryTier(options.prefix.ram_bytes, cuttable=opened.cuttable)
    kinds = (opened.engine, opened.precision, options.cache_type)

    def open_store(adapters: Adapters) -> PrefixStore:
        parts = [kind.encode() for kind in kinds] + ([overlay.identify(adapters)] if adapters else [])
        root = root_key(fingerprint, *parts)
        return PrefixStore(options.prefix, root=root, cuttable=opened.cuttable, label=opened.folder.name, memory=memory)

    stores = Stores(open_store)
    stores.under(())
    return stores


def open_guesses(
    opened: Opened,
    options: LoadOptions,
    vocabulary: FolderVocabulary,
    make_runner: Callable[[], Runner[S]] | None,
    *,
    limit_s: float,
) -> tuple[Guesses, str]:
    """Opens what guesses a model's tokens ahead, and says in words what that is.

    Args:
        opened: the model.
        options: whether, and by what.
        vocabulary: the model's.
        make_runner: makes an engine for a model that guesses; None where no guess is checked.
        limit_s: how long a step may take that others wait for.

    Raises:
        LoadError: the model that is to guess cannot.
    """
    if options.draft == "off" or make_runner is None:
        off = msgspec.structs.replace(options, draft="off")
        return Guesses(off, None, cuttable=opened.cuttable, limit_s=limit_s), "none"
    if not opened.cuttable:
        words = "none: this model's memory cannot go back to an earlier token"
        return Guesses(options, None, cuttable=False, limit_s=limit_s), words
    if options.draft != "model" or options.draft_path is None:
        return Guesses(options, None, cuttable=True, limit_s=limit_s), "from prompt and answer"
    path = Path(options.draft_path)
    drafter = DraftModel(make_runner(), path, options)
    drafter.check_vocabulary(vocabulary, opened.folder.name)
    return Guesses(options, drafter, cuttable=True, limit_s=limit_s), f"from prompt and answer, and by {path.name}"
