"""The marks that a model puts around what it thinks."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TURN = re.compile(r"<[|｜/a-z_]|\[/?[A-Z_]+\]")
"""What stands between a mark that somebody quoted earlier in the prompt and the prompt's end."""


@dataclass(frozen=True, slots=True)
class ThoughtMarks:
    """The texts before and behind a thought."""

    open: str
    close: str

    def is_open(self, rendered: str) -> bool:
        """Whether a prompt ends inside a thought: right behind its opening, or in the middle of one that is to go on."""
        _, opening, thought = rendered.rpartition(self.open.strip())
        return bool(opening) and self.close.strip() not in thought and _TURN.search(thought) is None


KNOWN = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("<|channel>thought", "<channel|>"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("◁think▷", "◁/think▷"),
    ThoughtMarks("<|think|>", "<|/think|>"),
    ThoughtMarks("<|inner_prefix|>", "<|inner_suffix|>"),
    ThoughtMarks("<|begin_of_thought|>", "<|end_of_thought|>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<thought>", "</thought>"),
    ThoughtMarks("<reasoning>", "</reasoning>"),
)
"""The most specific first."""


def find_thoughts(template: str) -> ThoughtMarks | None:
    """Finds the marks that a chat template knows; None for a model that does not think aloud."""
    return next((marks for marks in KNOWN if marks.close in template), None)
