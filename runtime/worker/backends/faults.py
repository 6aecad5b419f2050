"""How often a scripted fault came about already, which also the process that follows a crashed one must know."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path

import msgspec

from ...request import ChatPrompt
from .script import ScriptedTurn, find_script


class FaultCounter:
    """Counts in a file of this user's that is named by the server's process, the parent of all engine processes."""

    def __init__(self, path: Path | None = None) -> None:
        user = os.getuid() if hasattr(os, "getuid") else 0
        self._path = path or Path(tempfile.gettempdir()) / f"impetus-faults-{user}-{os.getppid()}"

    def is_due(self, turn: ScriptedTurn, prompt: ChatPrompt) -> bool:
        """Whether a turn's fault comes about this time; one that does is counted.

        A client's retry is the same turn with the same tools; a question it asks beside, as for a title, has others.
        """
        if turn.fault is None or turn.times is None:
            return turn.fault is not None
        name = _name(turn, prompt)
        with self._path.open("a+") as file:
            file.seek(0)
            if file.read().split().count(name) >= turn.times:
                return False
            file.write(f"{name}\n")
        return True

    def forget(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)


def _name(turn: ScriptedTurn, prompt: ChatPrompt) -> str:
    said = sum(message.role == "assistant" for message in prompt.messages)
    tools = ",".join(tool.name for tool in prompt.tools)
    return sha256(msgspec.json.encode((find_script(prompt), turn, said, tools))).hexdigest()
