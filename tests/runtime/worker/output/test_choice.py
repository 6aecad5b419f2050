"""Which family a model belongs to, by what its template and its control tokens have of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from impetus.runtime.worker.output.choice import FAMILIES, choose_family
from impetus.runtime.worker.output.families.generic import Generic


@dataclass(frozen=True)
class Model:
    """As much of a model as tells its family."""

    name: str
    template: str
    controls: tuple[str, ...]
    family: str
    thought: str | None
    """What its thoughts begin with; None for none."""


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
OBJECT = 'Say <tool_call>\n{"name": "…", "arguments": {}}\n</tool_call>. ' + CHATML
TAGS = "Say <tool_call>\n<function=f>\n<parameter=p>\nv\n</parameter>\n</function>\n</tool_call>. " + CHATML
DEEPSEEK = "{{ bos }}<｜User｜>{{ m }}<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{fence}<｜tool▁call▁end｜>"
DEEPSEEK_TOKENS = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
FENCED = DEEPSEEK.replace("{fence}", "function<｜tool▁sep｜>f\n```json\n{}\n```")
PLAIN = DEEPSEEK.replace("{fence}", "f<｜tool▁sep｜>{}")
KIMI_TOKENS = ("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>")
TEKKEN = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]")
ROLES = "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>"

MODELS = (
    Model("Qwen2.5", OBJECT, ("<|im_end|>",), "hermes", "<think>"),
    Model("Qwen3", OBJECT + "<think>\n</think>", ("<|im_end|>",), "hermes", "<think>"),
    Model("Qwen3-Coder", TAGS, ("<|im_end|>",), "qwen3_coder", "<think>"),
    Model(
        "GLM-4.5", "<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call><think></think>", (), "glm", "<think>"
    ),
    Model("Mistral Nemo", "[INST]{{ m }}[/INST][TOOL_CALLS][{}]", TEKKEN, "mistral_list", "[THINK]"),
    Model("Mistral Small 3.1", "[INST]{{ m }}[/INST][TOOL_CALLS][{}]", (*TEKKEN, "[ARGS]"), "mistral_list", "[THINK]"),
    Model(
        "Mistral Small 3.2", "[INST]{{ m }}[/INST][TOOL_CALLS]f[CALL_ID]1[ARGS]{}", (*TEKKEN, "[ARGS]"), "mistral", "[THINK]"
    ),
    Model("Magistral", "[THINK]x[/THINK][INST][TOOL_CALLS]f[ARGS]{}", (*TEKKEN, "[ARGS]", "[THINK]"), "mistral", "[THINK]"),
    Model("DeepSeek R1", FENCED + "{% set c = m.split('</think>') %}", DEEPSEEK_TOKENS, "deepseek_v3", "<think>"),
    Model("DeepSeek V3", FENCED, DEEPSEEK_TOKENS, "deepseek_v3", "<think>"),
    Model("DeepSeek V3.1", PLAIN + "</think>", DEEPSEEK_TOKENS, "deepseek", "<think>"),
    Model("LFM2", "List of tools: <|tool_list_start|>" + CHATML, ("<|tool_call_start|>", "<|tool_call_end|>"), "lfm2", None),
    Model("Llama 4", "Say [func_name1(params_name1=params_value1)]. <|python_start|>", (), "llama_pythonic", None),
    Model("Llama 3.2 pythonic", "[func_name1(params_name1=params_value1)]<|start_header_id|>", (), "llama_pythonic", None),
    Model("Kimi K2", "<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}", KIMI_TOKENS, "kimi", "<think>"),
    Model(
        "Command R7B",
        "<|START_THINKING|>t<|END_THINKING|><|START_ACTION|>[]<|END_ACTION|><|START_RESPONSE|>",
        ("<|START_ACTION|>", "<|END_ACTION|>"),
        "command_r",
        "<|START_THINKING|>",
    ),
    Model("Granite 3.3", "Answer with <|tool_call|> and a list. " + ROLES, ("<|tool_call|>",), "granite", None),
    Model("Granite 4", OBJECT.replace(CHATML, ROLES), ("<|tool_call|>", "<|start_of_role|>"), "hermes", "<think>"),
    Model("Phi-4-mini", "<|tool|>{{ t }}<|/tool|>", ("<|tool_call|>", "<|/tool_call|>", "<|tool|>"), "phi4", "<think>"),
    Model("Nemotron Nano 2", "<TOOLCALL>[]</TOOLCALL><think></think>", (), "nemotron", "<think>"),
    Model("Nemotron 3 Nano", TAGS + "<think></think>", (), "qwen3_coder", "<think>"),
    Model("MiniMax M2", '<minimax:tool_call>\n<invoke name="f">', ("<minimax:tool_call>",), "minimax_m2", "<think>"),
    Model("Seed-OSS", "<seed:tool_call>\n<function=f><parameter=p></seed:think>", (), "seed_oss", "<seed:think>"),
    Model("SmolLM2", CHATML, ("<|im_start|>", "<|im_end|>"), "generic", "<think>"),
    Model("Gemma 3", "<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>", ("<end_of_turn>",), "generic", "<think>"),
    Model(
        "Gemma 4",
        '<|tool_call>call:{{ f }}{<|"|>{{ v }}<|"|>}<tool_call|><|channel>thought\n<channel|>',
        ("<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"),
        "gemma4",
        "<|channel>thought",
    ),
    Model("FunctionGemma", "<start_function_call>call:{{ f }}<end_function_call>", ("<escape>",), "functiongemma", None),
    Model(
        "DeepSeek V3.2",
        "{% set dsml = '｜DSML｜' %}<{{ dsml }}function_calls>{{ m.tool_calls }}</think>",
        (*DEEPSEEK_TOKENS, "｜DSML｜"),
        "deepseek_v32",
        "<think>",
    ),
    Model(
        "DeepSeek V4",
        "{% set dsml = '｜DSML｜' %}<{{ dsml }}tool_calls></think>",
        (*DEEPSEEK_TOKENS, "｜DSML｜"),
        "deepseek_v4",
        "<think>",
    ),
    Model("GigaChat 3.1", "<|function_call|>{{ c }}<|message_sep|>", ("<|function_call|>",), "gigachat", None),
    Model("Apriel 1.6", "<tool_calls>[{{ c }}]</tool_calls><|end|>", ("<|end|>",), "apriel", None),
    Model("FireFunction 2", 'Write functools[{"name": …}].', (), "firefunction", None),
    Model("no template", "", (), "generic", "<think>"),
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_belongs_to_its_family(model: Model) -> None:
    family = choose_family(model.template, model.controls)
    assert family.name == model.family
    assert (family.thoughts and family.thoughts.open) == model.thought


def test_the_settings_may_name_another_family() -> None:
    for name, of_name in FAMILIES.items():
        assert type(choose_family(CHATML, (), name)) is of_name
    assert choose_family("</seed:think>", (), "hermes").controls >= {"<seed:think>", "</seed:think>", "<tool_call>"}
    with pytest.raises(KeyError):
        choose_family(CHATML, (), "unheard_of")


def test_all_that_is_known_has_a_name_of_its_own_and_the_generic_one_comes_last() -> None:
    assert all(name == family.name for name, family in FAMILIES.items())
    assert list(FAMILIES.values())[-1] is Generic


def test_a_model_that_is_named_by_its_tokens_alone_is_known() -> None:
    assert choose_family("", KIMI_TOKENS).name == "kimi"
    assert choose_family("", DEEPSEEK_TOKENS).name == "deepseek"
