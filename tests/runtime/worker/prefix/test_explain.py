"""Why a prompt was computed again, on prompts as agents send them."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Generator, Sequence

import pytest
from engine_tools import find_starter
from llama_cpp import llama_cpp as native

from impetus.runtime.events import MissCause, PrefixMiss
from impetus.runtime.worker.backends.llama_vocab import Vocabulary
from impetus.runtime.worker.prefix.explain import SLACK_TOKENS, Explainer

Message = tuple[str, str]
Tokenize = Callable[[str], list[int]]


class Words:
    """A tokenizer for which each word, mark and control token is a token."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self.texts: list[str] = []

    def tokenize(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in re.findall(r"<\|\w+\|>|\s*\w+|\s*[^\w\s]|\s+", text):
            if piece not in self.ids:
                self.ids[piece] = len(self.texts)
                self.texts.append(piece)
            ids.append(self.ids[piece])
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self.texts[token] for token in tokens)


class Starter:
    """The starter model's tokenizer."""

    def __init__(self) -> None:
        params = native.llama_model_default_params()
        params.vocab_only = True
        model = native.llama_model_load_from_file(str(find_starter()).encode(), params)
        assert model
        self.model = model
        self.vocabulary = Vocabulary(native.llama_model_get_vocab(model))

    def tokenize(self, text: str) -> list[int]:
        return self.vocabulary.tokenize(text, control=True)

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary.text_of(token) for token in tokens)

    def close(self) -> None:
        native.llama_model_free(self.model)


@pytest.fixture(scope="module", params=["words", "starter"])
def tokenizer(request: pytest.FixtureRequest) -> Generator[Words | Starter]:
    if request.param == "words":
        yield Words()
        return
    starter = Starter()
    yield starter
    starter.close()


def prose(seed: int, words: int) -> str:
    """Text with lines and code in it, never the same for two seeds."""
    draw = random.Random(seed)
    vocabulary = (
        "read the file return value def class import test when error list path of with and user tool call " * 2
    ).split()
    lines = [
        " ".join(draw.choice(vocabulary) for _ in range(draw.randint(4, 14))) + f" {draw.randint(0, 9999)}"
        for _ in range(words // 9)
    ]
    return "\n".join(lines)


def tool(name: str) -> dict[str, object]:
    path = {"type": "object", "properties": {"path": {"type": "string", "description": f"What {name} works on"}}}
    function = {"name": name, "description": f"Does {name}. " + prose(len(name), 30), "parameters": path}
    return {"type": "function", "function": function}


TOOLS = [tool(name) for name in ("read_file", "write_file", "run_command", "search", "finish")]
SYSTEM = "You are Ada, a coding agent.\n" + prose(1, 500)
HISTORY: list[Message] = [
    ("user", "Add a module pretty.py with a test.\n" + prose(2, 60)),
    ("assistant", "I read the file first.\n" + prose(3, 120)),
    ("tool", "total 20\n" + prose(4, 400)),
    ("assistant", "Then I write the module.\n" + prose(5, 200)),
    ("tool", "written\n" + prose(6, 150)),
]


def chatml(messages: Sequence[Message], tools: Sequence[dict[str, object]] = ()) -> str:
    """A conversation as Qwen's template writes it, up to where the reply begins."""
    text = ""
    for place, (role, content) in enumerate(messages):
        if place == 0 and tools:
            listed = "\n".join(json.dumps(each) for each in tools)
            content += f"\n\n# Tools\n\nYou may call functions.\n\n<tools>\n{listed}\n</tools>\n\nAnswer with the call."
        text += f"<|im_start|>{role}\n{content}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


def agent(system: str = SYSTEM, history: Sequence[Message] = tuple(HISTORY), tools: Sequence[dict[str, object]] = ()) -> str:
    return chatml([("system", system), *history], tools)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def explain(tokenizer: Words | Starter, earlier: str, later: str, reused: int | None = None) -> PrefixMiss | None:
    """Explains a prompt that comes after another; all that they begin with in common is reused unless told."""
    explainer = Explainer(tokenizer.text)
    before, after = tokenizer.tokenize(earlier), tokenizer.tokenize(later)
    explainer.remember(before)
    return explainer.explain(after, min(common(before, after), len(after) - 1) if reused is None else reused)


def with_line(line: str, *, first: bool = True) -> str:
    return agent(f"{line}\n{SYSTEM}" if first else f"{SYSTEM}\n{line}")


@pytest.mark.parametrize("first", [True, False], ids=["at the beginning", "at the end"])
@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (
            "Current date and time: Monday, March 9, 2026 at 06:00:31 PM PDT",
            "Current date and time: Monday, March 9, 2026 at 06:00:58 PM PST",
        ),
        ("Current time is 15:09:20. Today's date is 2026-09-09.", "Current time is 15:09:34. Today's date is 2026-09-10."),
        ("Conversation started: Monday, April 13, 2026 12:59 AM", "Conversation started: Tuesday, April 14, 2026 1:00 AM"),
        ("Today Date: 26 Jul 2024", "Today Date: 1 August 2024"),
        ("<now>2026-08-19T10:11:12.131Z</now>", "<now>2026-08-19T10:12:01.007Z</now>"),
        ("Session 8b3df1b0-3c1e-4a72-9a39-1a2b3c4d5e6f", "Session f10bca11-0c1e-4a72-9a39-0a2b3c4d5e6f"),
        ("MEMORY (your personal notes) [49% - 1,085/2,200 chars]", "MEMORY (your personal notes) [5% - 99/2,200 chars]"),
    ],
    ids=["date and time", "clock", "minutes", "template's date", "milliseconds", "uuid", "counter"],
)
def test_a_line_with_another_time_or_number_is_named(tokenizer, earlier: str, later: str, first: bool) -> None:
    miss = explain(tokenizer, with_line(earlier, first=first), with_line(later, first=first))
    assert miss is not None
    assert miss.cause == "timestamp"
    assert f"because the line '{later}' changed at token {miss.at:,}." in miss.why
    assert later[-12:] in miss.found
    assert earlier[-12:] in miss.expected
    assert (miss.at < 60) == first


def test_the_sentence_counts_what_had_been_computed_before(tokenizer) -> None:
    earlier, later = with_line("Now: 15:09:20"), with_line("Now: 15:09:34")
    miss = explain(tokenizer, earlier, later + "and a thousand new words " * 200)
    assert miss is not None
    lost = int(miss.why.split()[0].replace(",", ""))
    same = len(tokenizer.tokenize(SYSTEM)) + len(tokenizer.tokenize(chatml(HISTORY)))
    assert same - 40 < lost < same + 40


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (
            "x-anthropic-billing-header: cc_version=2.1.117.48f; cc_entrypoint=cli; cch=71fea;",
            "x-anthropic-billing-header: cc_version=2.1.117.48f; cc_entrypoint=cli; cch=defac;",
        ),
        ("X-Request-Id: 8b3df1b0", "X-Request-Id: 11aa22bb"),
        ("Mode: plan", "Mode: act"),
        ("- Working directory: /home/ada/one", "- Working directory: /home/ada/two"),
    ],
)
def test_a_field_before_the_system_prompt_is_a_header(tokenizer, earlier: str, later: str) -> None:
    miss = explain(tokenizer, with_line(earlier), with_line(later))
    assert miss is not None
    assert miss.cause == "header"
    assert f"'{later}'" in miss.why


def test_such_a_field_far_behind_is_the_system_prompt(tokenizer) -> None:
    miss = explain(tokenizer, with_line("Mode: plan", first=False), with_line("Mode: act", first=False))
    assert miss is not None
    assert miss.cause == "system_prompt"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TOOLS, TOOLS[:-2]),
        (TOOLS[:-2], TOOLS),
        (TOOLS, TOOLS[::-1]),
        (TOOLS, [*TOOLS[:2], tool("grep"), *TOOLS[2:]]),
        (TOOLS, []),
        ([], TOOLS),
    ],
    ids=["fewer", "more", "other order", "one between", "none", "some again"],
)
def test_another_list_of_tools_is_named(tokenizer, before, after) -> None:
    miss = explain(tokenizer, agent(tools=before), agent(tools=after))
    assert miss is not None
    assert miss.cause == "tools"


def test_tools_as_bare_json_are_tools_too(tokenizer) -> None:
    def system(tools: Sequence[dict[str, object]]) -> str:
        return f"{SYSTEM}\nYou can use:\n{json.dumps(tools, indent=1)}"

    miss = explain(tokenizer, agent(system(TOOLS)), agent(system(TOOLS[:3])))
    assert miss is not None
    assert miss.cause == "tools"


def test_what_follows_the_tools_is_not_the_tools(tokenizer) -> None:
    def prompt(last: str) -> str:
        return agent(tools=TOOLS).replace("Answer with the call.", last, 1)

    miss = explain(tokenizer, prompt("Plan first, then ask."), prompt("Act now and do not ask."))
    assert miss is not None
    assert miss.cause == "system_prompt"


def test_another_system_prompt_before_the_same_conversation_is_named(tokenizer) -> None:
    miss = explain(tokenizer, agent(), agent(SYSTEM.replace("a coding agent", "a planning agent that asks")))
    assert miss is not None
    assert (miss.cause, miss.at < 20) == ("system_prompt", True)
    assert "the system prompt changed" in miss.why


@pytest.mark.parametrize(
    ("place", "words"),
    [(0, "an earlier message of the user"), (1, "an earlier reply"), (2, "an earlier tool result")],
)
def test_an_earlier_message_that_changed_is_history(tokenizer, place: int, words: str) -> None:
    role, content = HISTORY[place]
    edited = [*HISTORY[:place], (role, "Edited: " + content), *HISTORY[place + 1 :]]
    miss = explain(tokenizer, agent(), agent(history=edited))
    assert miss is not None
    assert miss.cause == "history"
    assert words in miss.why
    assert "Edited" in miss.found
    assert "Edited" not in miss.expected


def test_messages_that_were_left_out_are_history(tokenizer) -> None:
    miss = explain(tokenizer, agent(), agent(history=[HISTORY[0], *HISTORY[3:]]))
    assert miss is not None
    assert miss.cause == "history"


def test_a_number_in_an_earlier_file_is_no_timestamp(tokenizer) -> None:
    def turn(number: int) -> str:
        return agent(history=[("user", f"Fix this:\nlimit = {number}\n{prose(7, 300)}"), *HISTORY[1:]])

    miss = explain(tokenizer, turn(5), turn(6))
    assert miss is not None
    assert miss.cause == "history"


def test_plain_text_without_messages_is_told_apart_from_a_chat(tokenizer) -> None:
    miss = explain(tokenizer, f"one beginning\n{prose(8, 400)}", f"another start\n{prose(8, 400)}")
    assert miss is not None
    assert miss.cause == "unknown"
    miss = explain(tokenizer, f"Updated 10:15\n{prose(8, 400)}", f"Updated 10:16\n{prose(8, 400)}")
    assert miss is not None
    assert miss.cause == "timestamp"


def test_a_prompt_that_goes_on_where_the_last_one_ended_needs_no_word(tokenizer) -> None:
    reply = "I am done with it.\n" + prose(9, 150)
    later = chatml([("system", SYSTEM), *HISTORY, ("assistant", reply), ("tool", prose(10, 300))])
    assert explain(tokenizer, agent() + reply + "<|im_end|>\n", later) is None


def test_another_conversation_with_the_same_system_prompt_needs_no_word(tokenizer) -> None:
    assert explain(tokenizer, agent(tools=TOOLS), agent(history=[("user", prose(11, 200))], tools=TOOLS)) is None


def test_a_client_that_wraps_its_first_message_in_the_same_words_needs_no_word(tokenizer) -> None:
    def first(task: str) -> str:
        return agent(history=[("user", f"<task>\n{task}\n</task>\n# Progress\n{prose(12, 120)}")])

    assert explain(tokenizer, first(prose(13, 150)), first(prose(14, 150))) is None


def test_a_prompt_nobody_saw_before_needs_no_word(tokenizer) -> None:
    assert explain(tokenizer, agent(), chatml([("system", prose(15, 600)), ("user", prose(16, 300))]), reused=3) is None
    assert Explainer(tokenizer.text).explain(tokenizer.tokenize(agent()), 0) is None


def test_the_same_prompt_that_was_not_reused_was_evicted(tokenizer) -> None:
    tokens = tokenizer.tokenize(agent())
    explainer = Explainer(tokenizer.text)
    explainer.remember(tokens)
    miss = explainer.explain(tokens, 100)
    assert miss is not None
    assert (miss.cause, miss.at, miss.expected) == ("evicted", 100, "")
    assert miss.found == tokenizer.text(tokens[60:140])
    assert miss.why.startswith(f"{len(tokens) - 101:,} tokens were computed again because")
    assert explainer.explain(tokens, len(tokens) - 1 - SLACK_TOKENS) is None
    assert explainer.explain(tokens, len(tokens) - 1) is None


def test_a_model_that_cannot_be_cut_back_says_from_where_it_went_on(tokenizer) -> None:
    earlier, later = tokenizer.tokenize(agent()), tokenizer.tokenize(agent(history=[*HISTORY[:3], ("user", prose(17, 200))]))
    explainer = Explainer(tokenizer.text)
    explainer.remember(earlier)
    parted = common(earlier, later)
    miss = explainer.explain(later, 512, cuttable=False)
    assert miss is not None
    assert (miss.cause, miss.at) == ("model_state", 512)
    assert f"cannot be cut back to token {parted:,}" in miss.why
    assert "ends at token 512" in miss.why


def test_the_costlier_of_two_reasons_is_told(tokenizer) -> None:
    earlier, later = with_line("Now: 10:00"), with_line("Now: 10:01")
    miss = explain(tokenizer, earlier, later, reused=0)
    assert miss is not None
    assert miss.cause == "timestamp"
    early, late = f"{HISTORY[4][1]} at 10:00 {prose(18, 80)}", f"{HISTORY[4][1]} at 10:01 {prose(18, 80)}"
    miss = explain(tokenizer, agent(history=[*HISTORY, ("tool", early)]), agent(history=[*HISTORY, ("tool", late)]), reused=0)
    assert miss is not None
    assert miss.cause == "evicted"


def test_other_settings_are_named_where_only_they_keep_the_prompt_apart(tokenizer) -> None:
    tokens = tokenizer.tokenize(agent())
    explainer = Explainer(tokenizer.text)
    explainer.remember(tokens, "adapter a")
    miss = explainer.explain(tokens, 0, settings="adapter b")
    assert miss is not None
    assert (miss.cause, miss.at) == ("settings", 0)
    explainer.remember(tokens, "adapter b")
    miss = explainer.explain(tokens, 0, settings="adapter b")
    assert miss is not None
    assert miss.cause == "evicted"


def test_more_than_is_remembered_can_be_reused(tokenizer) -> None:
    """From the disk, of a run before this one."""
    assert explain(tokenizer, with_line("Now: 10:00"), with_line("Now: 10:01"), reused=300) is None


def test_the_newest_of_the_prompts_that_begin_alike_is_compared(tokenizer) -> None:
    explainer = Explainer(tokenizer.text)
    explainer.remember(tokenizer.tokenize(agent(f"Now: 10:00\n{SYSTEM}")))
    # It agrees a token or two farther by chance, but is another conversation.
    explainer.remember(tokenizer.tokenize(agent(f"Now: 10:01\n{prose(19, 500)}", [("user", prose(20, 200))])))
    miss = explainer.explain(tokenizer.tokenize(agent(f"Now: 10:01:30\n{SYSTEM}")), 6)
    assert miss is not None
    assert miss.cause == "timestamp"
    assert "10:00" in miss.expected


def test_only_the_newest_prompts_are_kept_and_one_that_goes_on_counts_once(tokenizer) -> None:
    explainer = Explainer(tokenizer.text, keep=2)
    prompts = [tokenizer.tokenize(prose(seed, 300)) for seed in (21, 22, 23)]
    for prompt in (*prompts[:2], prompts[1][:200], prompts[1] + prompts[0], prompts[0]):
        explainer.remember(prompt)
    assert [explainer.explain(prompt, 0) is not None for prompt in prompts] == [True, True, False]
    explainer.remember(prompts[2])
    assert [explainer.explain(prompt, 0) is not None for prompt in prompts] == [True, False, True]
    explainer.remember(prompts[0][: SLACK_TOKENS - 1], "short ones take no place")
    assert explainer.explain(prompts[0], 0) is not None


CAUSES: tuple[MissCause, ...] = ("timestamp", "evicted")


@pytest.mark.parametrize("cause", CAUSES)
def test_many_long_prompts_are_searched_in_a_few_milliseconds(cause: MissCause) -> None:
    draw = random.Random(1)
    system = [draw.randrange(49_152) for _ in range(40_000)]
    explainer = Explainer(lambda tokens: "")
    for _ in range(64):
        at = draw.randrange(39_000)
        tail = [draw.randrange(49_152) for _ in range(1000)] * 20
        explainer.remember([*system[:at], draw.randrange(49_152), *system[at + 1 :], *tail])
    prompt = [*system, *[draw.randrange(49_152) for _ in range(20_000)]]
    if cause == "evicted":
        explainer.remember(prompt)
    took: list[float] = []
    for _ in range(5):
        began_s = time.perf_counter()
        assert explainer.explain(prompt, 0) is not None
        took.append(time.perf_counter() - began_s)
    # A bound for a machine that does much else: alone it takes a tenth.
    assert min(took) < 0.05
