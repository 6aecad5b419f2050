"""Lets prompts in, or tells them to come later, while memory is short or the machine is too hot."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..errors import Overloaded
from ..events import Admitted, Event, PrefixReport, speaks
from .governors import RETRY_AFTER_S, Governors


class PromptGate:
    """Watches one request until its first word.

    Args:
        governors: who decides.
        model: the id of the model.
        growth_bytes: what one more token of context takes, beyond what was written at the load.
    """

    def __init__(self, governors: Governors, model: str, growth_bytes: int) -> None:
        self._governors = governors
        self._model = model
        self._growth_bytes = growth_bytes

    def note_prefix(self, report: PrefixReport) -> None:
        """Takes how much of the prompt is to be computed; raises Overloaded where that is too much now."""
        why = self._governors.judge_prompt(self._model, report.computed_tokens)
        if why is not None:
            raise Overloaded(why, retry_after_s=RETRY_AFTER_S)

    async def guard(self, batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[list[Event], None]:
        """Passes a generation's batches on.

        While long prompts are refused, `Admitted` waits for what follows it, so that a refusal can still be a plain answer.

        Raises:
            Overloaded: the context would grow beyond what is free.
        """
        held: list[Event] = []
        try:
            async with aclosing(batches):
                async for batch in batches:
                    for event in batch:
                        if isinstance(event, Admitted):
                            self._promise(event.prompt_tokens)
                    spoke = speaks(batch)
                    if not spoke and self._governors.refusing is not None:
                        held += batch
                        continue
                    yield [*held, *batch]
                    held = []
                    if spoke:
                        break
                self._governors.settle(self)
                async for batch in batches:
                    yield batch
        finally:
            self._governors.settle(self)

    def _promise(self, prompt_tokens: int) -> None:
        why = self._governors.promise_growth(self, self._model, prompt_tokens * self._growth_bytes)
        if why is not None:
            raise Overloaded(why, retry_after_s=RETRY_AFTER_S)
