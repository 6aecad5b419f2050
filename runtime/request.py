"""What is asked of a model: one internal request that every dialect translates to."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text in a message."""

    text: str


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """A picture in a message, already decoded from its wire form."""

    data: bytes
    media_type: str
    """As `image/png`."""


Part = TextPart | ImagePart


class ToolCall(msgspec.Struct, frozen=True):
    """A call the assistant made in an earlier turn."""

    id: str
    name: str
    arguments: str
    """JSON text, as the client sent it."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    """Of who speaks; in a `tool` message of the tool, where the client says it."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """Which call a `tool` message answers."""
    reasoning: str = ""
    """What an assistant thought before this answer, where the client sends it back."""
    failed: bool = False
    """Whether a `tool` message tells of an error."""

    @property
    def text(self) -> str:
        """The text parts joined; pictures are left out."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function the model may call."""

    name: str
    description: str = ""
    parameters: str = "{}"
    """The JSON Schema of its arguments, as JSON text of an object."""


ToolMode = Literal["auto", "none", "required"]
"""Whether tools are called: as the model likes, not at all, or at least one of them."""


class Thinking(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a model thinks before it answers; None leaves it to the model."""

    enabled: bool | None = None
    effort: str | None = None
    """As "minimal", "low", "medium", "high"; the model's template knows which."""
    budget_tokens: int | None = None
    """After so many tokens of it, the thinking is ended."""


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat", omit_defaults=True):
    """A conversation, rendered by the model's own chat template."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_mode: ToolMode = "auto"
    tool_names: tuple[str, ...] = ()
    """With `auto` and `required`: only these of the tools may be called; () is each."""
    parallel_calls: bool = True
    """Whether one answer may hold several calls."""
    thinking: Thinking = Thinking()
    template_options: dict[str, msgspec.Raw] = {}
    """Further variables of the template, each as JSON text."""
    continues: bool = False
    """Whether the answer goes on with the text of the last message, which is the assistant's."""


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Raw text, given to the model as it is."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, given to the model as they are."""

    token_ids: tuple[int, ...]


class FileText(msgspec.Struct, frozen=True):
    """Another file that a gap is filled with in view."""

    path: str
    text: str


class FillPrompt(msgspec.Struct, frozen=True, tag="fill"):
    """A gap between two texts, filled by a model that was trained for it."""

    prefix: str
    suffix: str
    files: tuple[FileText, ...] = ()


Prompt = ChatPrompt | TextPrompt | TokenPrompt | FillPrompt


class Constraint(msgspec.Struct, frozen=True):
    """What form the whole answer must have, held at every token."""

    kind: Literal["json_object", "json_schema", "gbnf", "lark", "regex", "without"]
    """`without` is any text in which none of the triggers comes."""
    text: str = ""
    """The schema as JSON text, or the grammar; "" for `json_object` and `without`."""
    triggers: tuple[str, ...] = ()
    """The answer is free until one of these texts was written, and what follows it has the form; () is from the start on."""
    param: str = ""
    """The field of the client's request that asked for it, for messages."""
    repeats: bool = True
    """With triggers: True also takes an answer without any, or with several and free text between them. False wants exactly
    one, and nothing behind it."""


class Adapter(msgspec.Struct, frozen=True):
    """A LoRA adapter put over the model's weights."""

    path: str
    scale: float = 1.0


class AdapterChoice(msgspec.Struct, frozen=True):
    """A LoRA adapter by the name or the number that it is listed under."""

    name: str | int
    scale: float = 1.0


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen; a neutral value switches a stage off."""

    temperature: float = 0.8
    """0 is greedy."""
    top_p: float = 0.95
    """1 is off."""
    top_k: int = 40
    """0 is off."""
    min_p: float = 0.05
    """0 is off."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    """1 is off."""
    repeat_last_n: int = 64
    """How many of the newest tokens the penalties look at; -1 is the whole context."""
    typical_p: float = 1.0
    """1 is off."""
    dry_multiplier: float = 0.0
    """Against repeated stretches; 0 is off."""
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    """Stretches up to this length are not penalised."""
    dry_penalty_last_n: int = -1
    """How many of the newest tokens it looks at; -1 is the whole context, 0 is off."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    """How often all but the least of the likely tokens are left out; 0 is off."""
    xtc_threshold: float = 0.1
    mirostat: Literal[0, 1, 2] = 0
    """0 is off; 1 and 2 take the place of the stages that cut candidates."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: dict[int, float] = {}
    """Added to the logits, by token id."""
    seed: int | None = None
    """None draws a fresh one."""


class GenerateRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One generation as the runtime takes it; `n` choices share a prompt."""

    model: str
    """A model id; resolved by the registry."""
    prompt: Prompt
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    """None is as many as the context holds."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these; they are not part of it."""
    top_logprobs: int | None = None
    """None: no logprobs. 0: only the chosen token's. Up to 20: that many alternatives too."""
    n: int = 1
    constraint: Constraint | None = None
    context_limit: int | None = None
    """The client's own bound on prompt and answer together; it never changes how the model is held."""
    draft_tokens: int | None = None
    """At most so many tokens are guessed ahead; 0 is none, None as the settings say."""
    cache_prompt: bool = True
    """Whether tokens computed earlier may be taken over, and these be kept."""
    lora: tuple[AdapterChoice, ...] | None = None
    """None: those of the alias that `model` names. The runtime finds their files, and gives `adapters` to the engine."""
    adapters: tuple[Adapter, ...] = ()
    split: bool = True
    """Whether reasoning and tool calls of a conversation's answer are told apart; False gives all of it as text."""
    keep_alive_s: float | None = None
    """How long the model stays in memory unused from now on; infinity is for good, None leaves it as it is."""
    echo_tps: float | None = None
    """Tokens per second of the echo engine; 0 is as fast as it can, None its default. Other engines ignore it."""
