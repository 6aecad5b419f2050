"""What forms an answer may have, from what the request asks for and which tools it offers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...request import ChatPrompt, Constraint, Tool
from ..output.family import Family
from ..output.tool_schema import loosen

TOOL_PARAM = "tool_choice"
_ANY_OBJECT = '{"type":"object"}'

Forms = tuple[tuple[Constraint, ...], bool]
"""Forms of which the first that can be held is taken, and whether the request fails where none can."""


def choose_forms(
    family: Family, prompt: ChatPrompt, tools: Sequence[Tool], constraint: Constraint | None, *, thinks: bool, end: str
) -> Forms:
    """Chooses what an answer is held to.

    Args:
        family: how the model writes calls and thoughts.
        prompt: the conversation.
        tools: those that were described to the model.
        constraint: what form the answer's text must have.
        thinks: whether a thought may stand before all else.
        end: how the written prompt ends.
    """
    triggers = family.triggers()
    if prompt.tool_mode == "none" and constraint is None:
        return ((Constraint("without", triggers=triggers, param=TOOL_PARAM),) if tools and triggers else ()), False
    tools = [tool for tool in tools if _may_call(prompt, tool)]
    if tools and prompt.tool_mode == "required":
        # Who names one function wants one call of it.
        parallel = prompt.parallel_calls and len(prompt.tool_names) != 1
        grammars = (family.grammar(some, parallel=parallel, thinks=thinks, rendered_end=end) for some in (tools, loosen(tools)))
        return tuple(Constraint("lark", grammar, param=TOOL_PARAM) for grammar in grammars), True
    if constraint is not None:
        alone = _text_form(family, constraint, thinks=thinks, end=end)
        return (*_calls_or_form(family, prompt, tools, constraint, thinks=thinks, end=end), alone), True
    if not tools or not triggers:
        return (), False
    return (Constraint("lark", family.call_grammar(tools), triggers=triggers, param=TOOL_PARAM),), False


def _may_call(prompt: ChatPrompt, tool: Tool) -> bool:
    """Whether a tool that was offered may be called."""
    return prompt.tool_mode != "none" and (not prompt.tool_names or tool.name in prompt.tool_names)


def _calls_or_form(
    family: Family, prompt: ChatPrompt, tools: Sequence[Tool], constraint: Constraint, *, thinks: bool, end: str
) -> tuple[Constraint, ...]:
    """Lets an answer be calls or the form that its text must have, where both can be written as one grammar."""
    form = _json_rule(constraint)
    if not tools or form is None:
        return ()
    calls = (family.call_rules(some, parallel=prompt.parallel_calls) for some in (tools, loosen(tools)))
    start = family.start("(calls | form)", thinks=thinks, rendered_end=end)
    return tuple(Constraint("lark", f"{start}\n{form}\n{rules}", param=constraint.param) for rules in calls)


def _text_form(family: Family, constraint: Constraint, *, thinks: bool, end: str) -> Constraint:
    """Lets a thought stand before a form."""
    marks = family.thoughts
    if marks is None or constraint.triggers or not (thinks or marks.is_open(end)):
        return constraint
    form = _json_rule(constraint)
    if form is not None:
        start = family.start("form", thinks=thinks, rendered_end=end)
        return Constraint("lark", f"{start}\n{form}", param=constraint.param)
    if not marks.is_open(end):
        return constraint
    return msgspec.structs.replace(constraint, triggers=(marks.close,), repeats=False)


def _json_rule(constraint: Constraint) -> str | None:
    """Writes a JSON form as a rule of a grammar; None for another form."""
    match constraint.kind:
        case "json_object":
            return f"form: %json {_ANY_OBJECT}"
        case "json_schema" if not constraint.triggers and constraint.text.lstrip().startswith("{"):
            return f"form: %json {constraint.text.strip()}"
        case _:
            return None
