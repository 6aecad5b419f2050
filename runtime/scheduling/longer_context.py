"""A longer context for agents whose instructions alone do not fit into the one a model was trained for.

An agent that meets an overflow shortens its conversation and asks again. What it cannot shorten are its instructions and
tools; where these alone fill the context, it ends, or asks the same for ever. Then the model is loaded anew with its positions
stretched. Everybody else is told of the overflow as usual: text is better within the trained context.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from ..errors import ContextOverflow, ImpetusError, Overloaded
from ..events import Event
from ..models.model import Model
from ..planner import Planner
from ..request import ChatPrompt, GenerateRequest
from ..tuning.context import stretched_length
from .residency import Residency

log = logging.getLogger(__name__)

MOST_INSTRUCTIONS = 1 / 2
"""Instructions and tools that take more of a context leave too little for work: agents' prompts double within 14 turns."""
LONGEST_WAIT_S = 120.0
"""So long a request waits until the answers that run in its model have ended."""


class LongerContext:
    """Runs requests, and those again that need a longer context than is served.

    Args:
        planner: says what a longer context takes.
        residency: loads models anew.
    """

    def __init__(self, planner: Planner, residency: Residency) -> None:
        self._planner = planner
        self._residency = residency
        self._one_at_a_time = asyncio.Lock()
        self._in_vain: set[tuple[str, int]] = set()
        """Models and lengths that could not be had, not to be tried with every request."""

    async def run(
        self, begin: Callable[[], AsyncGenerator[list[Event], None]], request: GenerateRequest, model: Model
    ) -> AsyncGenerator[list[Event], None]:
        """Runs a request, and once more where the model could be given the context that it needs.

        Args:
            begin: begins it, each time anew.
            request: what is asked.
            model: which model.

        Yields:
            What `begin` yields.

        Raises:
            ContextOverflow: it needs more than there is, and its client can do something about it, or nothing can be done.
        """
        for may_repeat in (True, False):
            try:
                async with aclosing(begin()) as batches:
                    async for batch in batches:
                        yield batch
                return
            except ContextOverflow as error:
                if not may_repeat or not needs_more(request, error) or not await self._lengthen(model, error):
                    raise

    async def _lengthen(self, model: Model, error: ContextOverflow) -> bool:
        """Sees to it that a model is served with room for a prompt; False where that cannot be."""
        config, header = self._planner.config.engine, model.header
        trained = header.context_length
        if config.stretch != "auto" or not trained or self._planner.name_engine(model) != "llama":
            return False
        if error.context_length < trained or 0 < config.context_length <= trained:
            return False  # the settings or the memory keep it shorter than the model would allow
        length = stretched_length(header, error.prompt_tokens, config.context_length)
        if length is None or (model.id, length) in self._in_vain:
            return False
        async with self._one_at_a_time:
            wishes = self._residency.wishes(model)
            if wishes.stretch is None and wishes.context_length is not None:
                return False  # who loaded it named a context
            if (wishes.context_length or 0) >= length:
                return True
            wishes = replace(wishes, context_length=length, stretch="yarn")
            plan = await asyncio.to_thread(self._planner.plan, model, wishes)
            budget = self._planner.budget
            if budget is not None and plan.needed_bytes > budget.models_bytes:
                return False
            why = (
                f"{model.id} is loaded anew with a context of {length} tokens, {length / trained:.3g} times the trained one: "
                f"instructions and tools leave too little of {error.context_length}, in a prompt of {error.prompt_tokens}"
            )
            try:
                async with asyncio.timeout(LONGEST_WAIT_S):
                    await self._residency.lengthen(model, wishes, why)
            except (TimeoutError, Overloaded):
                return False  # another time it may
            except ImpetusError as failure:
                self._in_vain.add((model.id, length))
                log.warning("%s cannot be given a longer context: %s", model.id, failure.message)
                return False
            return True


def needs_more(request: GenerateRequest, error: ContextOverflow) -> bool:
    """Whether what a client cannot shorten, instructions and tools, leaves too little of the context for a conversation."""
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt):
        return False
    fixed = sum(len(tool.name) + len(tool.description) + len(tool.parameters) for tool in prompt.tools)
    fixed += sum(len(message.text) for message in prompt.messages if message.role == "system")
    spoken = sum(
        len(message.text) + sum(len(call.arguments) for call in message.tool_calls)
        for message in prompt.messages
        if message.role != "system"
    )
    return fixed * error.prompt_tokens > (fixed + spoken) * error.context_length * MOST_INSTRUCTIONS
