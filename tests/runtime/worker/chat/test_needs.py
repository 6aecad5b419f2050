import itertools

import pytest

from impetus.runtime.request import ChatPrompt, Message, TextPart, Tool, ToolCall
from impetus.runtime.worker.chat.conversation import Conversation
from impetus.runtime.worker.chat.needs import Needs

CALLS = "{% for c in m.tool_calls %}[{{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"
END = "{% endfor %}{% if add_generation_prompt %}<A>{% endif %}"
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
PLAIN = TOOLS + "{% for m in messages %}<{{ m.role }}>{{ m.content }}" + CALLS + END
ALTERNATING = (
    TOOLS + "{% set ns = namespace(n=0) %}{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}{{ raise_exception('roles') }}{% endif %}"
    "{% if m.role in ('user', 'assistant') and not m.tool_calls %}"
    "{% if (m.role == 'user') != (ns.n % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
    "{% set ns.n = ns.n + 1 %}{% endif %}"
    "{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('ids') }}{% endif %}{% endfor %}"
    "<{{ m.role }}>{{ m.content }}" + CALLS + END
)
HOISTING = (
    "{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}"
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments }}{% endfor %}" + END
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('role') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}" + END
)
WANTS_USER = (
    "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{% if not users %}{{ raise_exception('no user') }}{% endif %}" + PLAIN
)
ONE_CALL = PLAIN.replace(CALLS, "{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}" + CALLS)
SOURCES = {
    "plain": PLAIN,
    "alternating": ALTERNATING,
    "hoisting": HOISTING,
    "no_system": NO_SYSTEM,
    "wants_user": WANTS_USER,
    "one_call": ONE_CALL,
}
MESSAGES = (
    Message("system", (TextPart("w0"),)),
    Message("system", (TextPart("w1"),)),
    Message("user", (TextPart("w2"),)),
    Message("user", (TextPart("w3"),)),
    Message("assistant", tool_calls=(ToolCall("call_0123", "f4", '{"x": "w5"}'), ToolCall("call_4567", "f6", '{"x": "w7"}'))),
    Message("tool", (TextPart("w8"),), tool_call_id="call_0123"),
    Message("tool", (TextPart("w9"),), tool_call_id="call_4567"),
    Message("system", (TextPart("wa"),)),
    Message("user", (TextPart("wb"),)),
    Message("assistant", (TextPart("wc"),)),
    Message("tool", (TextPart("wd"),), tool_call_id="call_of_nobody"),
    Message("system", (TextPart("we"),)),
)
WORDS = ("w0", "w1", "w2", "w3", "f4", "w5", "f6", "w7", "w8", "w9", "wa", "wb", "wc", "wd", "we")


def rendered(conversation: Conversation, messages: tuple[Message, ...]) -> str:
    return "".join(segment.text for segment in conversation.write(ChatPrompt(messages)).segments)


@pytest.mark.parametrize("name", SOURCES)
def test_whatever_a_template_refuses_nothing_said_is_lost_or_moved(name: str) -> None:
    text = rendered(Conversation(SOURCES[name]), MESSAGES)
    places = [text.find(word) for word in WORDS]
    assert -1 not in places, text
    systems = [place for word, place in zip(WORDS, places, strict=True) if word not in ("f6", "w7", "w8")]
    assert systems == sorted(systems), text
    assert text.endswith("<A>")


@pytest.mark.parametrize("name", SOURCES)
def test_a_conversation_that_goes_on_keeps_its_prompt(name: str) -> None:
    conversation = Conversation(SOURCES[name])
    turns = (4, 9, len(MESSAGES))
    texts = [rendered(conversation, MESSAGES[:count]).removesuffix("<A>") for count in turns]
    for before, after in itertools.pairwise(texts):
        assert after.startswith(before)


def test_a_template_that_takes_everything_needs_nothing() -> None:
    assert Conversation(PLAIN).needs == Needs()


def test_each_need_is_found() -> None:
    alternating = Conversation(ALTERNATING).needs
    assert (alternating.joins_systems, alternating.moves_systems, alternating.alternates) == (True, True, True)
    assert alternating.answers_results
    assert alternating.short_ids
    hoisting = Conversation(HOISTING).needs
    assert hoisting.moves_systems
    assert (hoisting.arguments, hoisting.tools_native) == (False, False)
    no_system = Conversation(NO_SYSTEM).needs
    assert (no_system.system_native, no_system.calls_native) == (False, False)
    assert Conversation(WANTS_USER).needs.wants_user
    assert Conversation(ONE_CALL).needs.one_call


def test_a_prompt_without_a_user_is_taken() -> None:
    assert "w0" in rendered(Conversation(WANTS_USER), MESSAGES[:1])


def test_ids_stay_paired_when_they_are_shortened() -> None:
    source = ALTERNATING.replace("<{{ m.role }}>", "<{{ m.role }} {{ m.tool_call_id }}>")
    text = rendered(Conversation(source), MESSAGES[:6])
    called = text.split("[")[1].split()[0]
    assert len(called) == 9
    assert f"<tool {called}>w8" in text


CALLED = (
    Message("system", (TextPart("w0"),)),
    Message("user", (TextPart("w1"),)),
    Message("assistant", (TextPart("w2"),), tool_calls=(ToolCall("call_0123", "f3", '{"x": "w4"}'),)),
    Message("tool", (TextPart("w5"),), tool_call_id="call_0123"),
    Message("assistant", (TextPart("w6"),)),
    Message("user", (TextPart("w7"),)),
)
SILENT = "{% if m.tool_calls %}" + CALLS + "{% else %}{{ m.content }}{% endif %}"
SAYS_OR_CALLS = TOOLS + "{% for m in messages %}<{{ m.role }}>" + SILENT + END
ALTERNATING_SILENT = ALTERNATING.replace("{{ m.content }}" + CALLS, SILENT)
SYSTEM_AT_END = (
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>"
    "{% if loop.last and m.role == 'user' and messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{{ m.content }}" + CALLS + END
)
NEVER_EMPTY = "{% for m in messages %}{% if not m.content and not m.tool_calls %}{{ raise_exception('empty') }}{% endif %}"
NEVER_EMPTY = ALTERNATING.replace("{% for m in messages %}", NEVER_EMPTY, 1)


@pytest.mark.parametrize(("source", "place"), [(PLAIN, "with"), (SAYS_OR_CALLS, "before"), (ALTERNATING_SILENT, "turn")])
def test_what_an_answer_says_beside_its_calls_is_kept(source: str, place: str) -> None:
    conversation = Conversation(source)
    assert conversation.needs.call_text == place
    text = rendered(conversation, CALLED)
    places = [text.find(word) for word in ("w0", "w1", "w2", "f3", "w4", "w5", "w6", "w7")]
    assert -1 not in places, text
    assert places == sorted(places), text
    assert rendered(conversation, CALLED).startswith(rendered(conversation, CALLED[:4]).removesuffix("<A>"))


def test_instructions_that_a_template_moves_to_the_end_stay_at_the_beginning() -> None:
    conversation = Conversation(SYSTEM_AT_END)
    assert not conversation.needs.system_native
    texts = [rendered(conversation, CALLED[:count]).removesuffix("<A>") for count in (2, 4, 6)]
    assert "w0" in texts[0]
    assert texts[1].startswith(texts[0])
    assert texts[2].startswith(texts[1])


def test_an_empty_message_says_something_where_it_must() -> None:
    assert Conversation(NEVER_EMPTY).needs.filler == " "
    messages = (*CALLED[:4], CALLED[5])
    assert "w7" in rendered(Conversation(NEVER_EMPTY), messages)


def test_a_conversation_that_begins_with_an_answer_is_taken() -> None:
    assert "w6" in rendered(Conversation(ALTERNATING), (CALLED[0], CALLED[4], CALLED[5]))


def test_tools_that_need_a_user_get_one() -> None:
    users = "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}"
    source = users + "{% if tools and not users %}{{ raise_exception('no user') }}{% endif %}" + PLAIN
    prompt = ChatPrompt((CALLED[0], CALLED[4]), (Tool("f3"),))
    text = "".join(segment.text for segment in Conversation(source).write(prompt).segments)
    assert "<system>w0<user><assistant>w6" in text


@pytest.mark.parametrize(
    "source", [PLAIN, PLAIN.replace("c.function.arguments | tojson", "c.function.arguments.items() | list")]
)
def test_arguments_that_are_no_json_are_shown_all_the_same(source: str) -> None:
    calls = (ToolCall("1", "f", "no json"),)
    text = rendered(Conversation(source), (CALLED[1], Message("assistant", tool_calls=calls)))
    assert text.count("no json") == 1


def test_no_tools_are_an_empty_list_where_a_template_loops_over_them() -> None:
    source = PLAIN.replace(TOOLS, "{% for t in tools %}{{ t.function.name }}{% endfor %}")
    conversation = Conversation(source)
    assert conversation.needs.tools_native
    assert "w1" in rendered(conversation, CALLED)


def test_tools_are_told_in_plain_text_where_the_template_cannot_tell_of_them() -> None:
    details = "{% for t in tools or [] %}{% for p in t.function.parameters.properties.values() %}{{ p.description.strip() }}"
    source = PLAIN.replace(TOOLS, details + "{% endfor %}{{ t.function.name }}{% endfor %}")
    conversation = Conversation(source)
    assert conversation.knows_tools
    tool = Tool("look", "w8", '{"type": "object", "properties": {"where": {"type": "string"}}}')
    text = "".join(segment.text for segment in conversation.write(ChatPrompt(CALLED, (tool,))).segments)
    assert "# Tools" in text
    assert '"name": "look"' in text


def test_a_template_may_keep_a_list_and_read_json() -> None:
    source = (
        "{% set ns = namespace(l=[]) %}{% for m in messages %}{% set _ = ns.l.append(m.content) %}{% endfor %}"
        "{{ ns.l.pop(0) }}{{ ('[7]' | from_json)[0] }}"
    )
    assert rendered(Conversation(source), (CALLED[1],)) == "w17"
