"""What travels on the pipe between us and an engine's process, and its framing.

A frame is a 4-byte little-endian length and that many bytes of MessagePack, one tagged Struct. Frames for the engine go
to its stdin, its frames come from the descriptor that was its stdout when it started.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Literal

import msgspec

from .events import FinishReason, PrefixReport, TokenLogprob
from .questions import Answer, Question
from .request import GenerateRequest

LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 256 * 1024 * 1024
"""No frame is larger; a length above it means that something else wrote to the pipe."""


CacheType = Literal["f16", "q8_0", "q4_0"]
"""How precisely keys and values are kept."""


ToolSupport = Literal["native", "generic"]
"""Whether a model's chat template knows tools, or the model is told of them in the system message."""


class PrefixOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of computed prompts, and where."""

    ram_bytes: int = 0
    """Memory for states that are not in the context memory; 0 keeps none."""
    disk_dir: str | None = None
    """A folder of our own; None keeps nothing on the disk."""
    disk_max_bytes: int = 0
    disk_ttl_s: float = 0.0
    """States that nobody used for so long are deleted; 0 is never."""
    key_path: str | None = None
    """A file with the key that what is on the disk is encrypted with; None leaves it plain."""


MOST_VOCABULARY_DIFFERENCE = 128
"""A draft model's vocabulary may have so many tokens more or fewer: those of one family are filled up to different sizes. As
llama.cpp's common/speculative.cpp has it."""


class LoadOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an engine holds its model; what the plan decided."""

    context_length: int | None = None
    """None is the model's own, bounded by what fits."""
    stretch: float = 1.0
    """How many times longer the context is than the model was trained for; positions are stretched by YaRN."""
    threads: int | None = None
    """For decoding; None leaves it to the engine."""
    threads_batch: int | None = None
    """For prefill; None is as `threads`."""
    batch_tokens: int = 512
    """The most prompt tokens in one step."""
    micro_batch_tokens: int = 512
    """As many of them as llama.cpp computes at a time."""
    max_sequences: int = 16
    slots: int | None = None
    """Sequences that the context memory is laid out for: running ones, ended ones that are kept, and one that moves between
    memories; None leaves it to the engine."""
    gpu_layers: int = -1
    """-1 is all of them."""
    cache_tokens: int | None = None
    """Cells of the context memory, for all sequences and for what is kept of ended ones; None is one context."""
    cache_type: CacheType = "f16"
    """Below 16 bits it needs flash attention."""
    step_target_s: float | None = None
    """How long a step that answers wait for may take; None leaves it to the engine."""
    prefix: PrefixOptions = PrefixOptions()
    normalise: bool = True
    """Whether known noise that changes every turn is taken out of prompts."""
    end_loops: bool = False
    """Whether an answer that only repeats itself is ended."""
    draft: Literal["off", "lookup", "model"] = "off"
    """Whether tokens are guessed ahead, and by what."""
    draft_path: str | None = None
    """The draft model's file or folder."""
    draft_tokens: int = 64
    """The most tokens guessed at a time."""
    projector_path: str | None = None
    """The file that turns pictures into what the model takes; None where it takes none."""
    memory_limit_bytes: int | None = None
    """What the process may allocate, mapped files apart; the system enforces it where it can. None sets no limit."""
    tool_family: str = "auto"
    """The syntax that the model's tool calls are read in, by its name; "auto" finds it out."""
    converted_dir: str | None = None
    """Where weights are kept in layouts that their model did not come in; None keeps none."""
    freed_bytes: int | None = None
    """How much of what it freed an engine may keep for its next steps; None leaves it to the engine."""
    weight_bits: Literal[4, 8] | None = None
    """Weights of 16 bits or more are quantized to so many; None leaves them as they are."""
    onnx_provider: Literal["cpu", "coreml"] = "cpu"
    """What computes ONNX graphs; Core ML only where a trial with the graph speaks for it."""
    echo_tps: float = 0.0
    """The echo engine's default speed; 0 is as fast as it can."""


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """May come before `Load`: which engine's library will be needed."""

    backend: str


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The first frame, or the one after `Prepare`: which model to hold."""

    backend: str
    model: str
    """The id, for messages only."""
    path: str
    options: LoadOptions = LoadOptions()


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """One choice of one request."""

    id: int
    """Unique within the process's life."""
    request: GenerateRequest


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question; its answer is one frame."""

    id: int
    """Unique within the process's life, also among generations."""
    question: Question


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The reader of this generation left, or nobody waits for this answer any more."""

    id: int


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """The reader of this generation is far behind: it gets no further tokens until it is released."""

    id: int


class Release(msgspec.Struct, frozen=True, tag="release"):
    """The reader of a held generation caught up."""

    id: int


class Limits(msgspec.Struct, frozen=True, tag="limits", omit_defaults=True):
    """How much less than it could the engine does from now on, while memory is short or the machine is hot."""

    most_running: int | None = None
    """So many generations at once; those that run already go on. None is as many as there is room for."""
    prefill_duty: float = 1.0
    """The share of the time that prompts are computed, above 0; the engine rests after each step."""
    decode_duty: float = 1.0
    """The same of steps that only answer."""
    cache_share: float = 1.0
    """How much of their room computed prompts in memory keep."""
    background: bool = True
    """Whether what can wait is done while nothing runs."""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """Leave now, in good order."""


ToEngine = Prepare | Load | Generate | Ask | Cancel | Hold | Release | Limits | Shutdown


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """The engine's library is imported; where it cannot be, loading will say so."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The model is loaded."""

    context_length: int
    max_sequences: int
    vocabulary_size: int
    load_s: float
    engine: str
    """Name and version, as "llama.cpp (llama-cpp-python 0.3.36)"."""
    details: dict[str, str] = {}
    """What the engine says of itself, for the log."""
    tools: ToolSupport | None = None
    """None where the model is not spoken with."""
    thinks: bool = False
    """Whether the model is known to think before it answers."""


class LoadRefused(msgspec.Struct, frozen=True, tag="load_refused"):
    """The engine cannot load the model; it leaves after this."""

    why: str


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far loading has come."""

    fraction: float


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """A generation's prompt is tokenised and fits."""

    id: int
    prompt_tokens: int


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """The answer to a question; nothing else comes for this id."""

    id: int
    answer: Answer


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A generation or a question cannot be served; nothing else comes for this id."""

    id: int
    kind: str
    """`invalid`, `overflow`, `overloaded` or `failed`."""
    message: str
    param: str | None = None
    prompt_tokens: int = 0
    context_length: int = 0


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """New text of one generation."""

    id: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    kind: Literal["text", "reasoning", "call", "arguments"] = "text"
    """What the text is; with `call` it is the name of the tool."""
    call: int = 0
    """Number of the tool call, from 0."""
    call_id: str = ""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """The end of one generation."""

    id: int
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    prefill_s: float
    decode_s: float
    draft_tokens: int = 0
    accepted_tokens: int = 0
    reasoning_tokens: int = 0
    stop_text: str | None = None


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """A prompt began to be computed, and where its tokens come from."""

    id: int
    report: PrefixReport


class Step(msgspec.Struct, frozen=True, tag="step"):
    """What one step of the engine gave, for all its generations at once."""

    deltas: list[Delta]
    done: list[Done] = []
    tokens: int = 0
    """Tokens decoded in this step."""
    begun: list[Begun] = []


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """How busy the engine is; sent about once a second while it works and once when it turns idle."""

    running: int
    waiting: int
    kv_used_tokens: int
    kv_size_tokens: int
    step_ms: float
    """Mean duration of the steps since the last report."""
    overhead_percent: float
    """Share of the step that was not spent inside the engine's own compute call."""
    prefill_tps: float | None
    decode_tps: float | None
    kv_kept_tokens: int = 0
    """Of ended sequences; they give way to running ones."""
    plain_step_ms: float | None = None
    """Mean time the engine computed in steps of one token for each of `plain_width` answers and nothing else, whose speed tells
    of the machine alone; None where there were too few."""
    plain_width: int = 0
    prefix_bytes: int = 0
    """What computed prompts take in memory, outside of the context memory."""


FromEngine = Prepared | Ready | LoadRefused | Progress | Accepted | Answered | Refused | Step | Stats

_encoder = msgspec.msgpack.Encoder()
_to_engine = msgspec.msgpack.Decoder(ToEngine)
_from_engine = msgspec.msgpack.Decoder(FromEngine)


def encode(frame: ToEngine | FromEngine) -> bytes:
    """Gives a frame's bytes with the length before them."""
    body = _encoder.encode(frame)
    return LENGTH.pack(len(body)) + body


def decode_from_engine(body: bytes | memoryview) -> FromEngine:
    """Reads what an engine sent; raises msgspec.DecodeError for anything else."""
    return _from_engine.decode(body)


def read_to_engine(stream: BinaryIO) -> ToEngine | None:
    """Reads the next frame for an engine, blocking; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = stream.read(length)
    return _to_engine.decode(body) if len(body) == length else None
