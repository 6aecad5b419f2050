"""GGUF models by llama.cpp: all sequences in one batch per step, over one cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Literal

from llama_cpp import llama_cpp as native

from ...events import PrefixReport
from ...frames import LoadOptions
from ...request import ChatPrompt, FillPrompt, GenerateRequest, TextPrompt, TokenPrompt
from ..prompt import CHATML, CHATML_STOP, ChatTemplate, Segment
from .backend import Admission, Begun, Loaded, LoadError, Lost, Occupancy, PromptTooLong, Refusal, Sampled, StepOutcome
from .llama_batch import Batch
from .llama_model import ENGINE, LlamaModel
from .llama_sampler import Sampler, check_sampling, read_logprob
from .llama_sharing import LEAST_SHARED, common_prefix
from .llama_vocab import Vocabulary

MIXED_STEP_S = 0.2
"""How long a step may take by new prompts where others wait for their next token."""
LEAST_CHUNK = 32
GROWTH_TOKENS = 32
"""How much room in the cache each running sequence keeps before another one is let in."""
CACHE_FULL = 1

log = logging.getLogger(__name__)


class _Sequence:
    """One generation's tokens, and how many of them are in the cache."""

    __slots__ = ("active", "began", "held", "in_cache", "number", "sampler", "slot", "tokens", "top_logprobs")

    def __init__(self, number: int, slot: int, tokens: list[int], sampler: Sampler, top_logprobs: int | None) -> None:
        self.number = number
        self.slot = slot
        self.tokens = tokens
        """Prompt and reply; the newest one of a reply is computed in the next step."""
        self.sampler = sampler
        self.top_logprobs = top_logprobs
        self.in_cache = 0
        self.active = False
        """Whether it has a share of the cache; one that has not waits for room, and computes its tokens anew then."""
        self.began = False
        self.held = False

    @property
    def pending(self) -> int:
        """How many tokens must be computed before the next one can be chosen."""
        return len(self.tokens) - self.in_cache


class LlamaBackend:
    """Holds one GGUF model."""

    _model: LlamaModel
    _vocabulary: Vocabulary
    _template: ChatTemplate
    _batch: Batch

    def __init__(self) -> None:
        self._sequences: dict[int, _Sequence] = {}
        """By number, oldest first."""
        self._free_slots: list[int] = []
        self._own_template = False
        self._prefill_tps = 0.0

    def load(self, path: str, options: LoadOptions, on_progress: Callable[[float], None]) -> Loaded:
        """Loads the model, makes its context and computes a first token."""
        self._model = model = LlamaModel(path, options, on_progress)
        self._vocabulary = vocabulary = Vocabulary(model.vocab)
        self._own_template = model.chat_template is not None
        self._template = ChatTemplate(
            model.chat_template or CHATML,
            bos=vocabulary.text_of(vocabulary.bos),
            eos=vocabulary.text_of(vocabulary.eos),
            control_texts=list(vocabulary.control_texts),
        )
        self._batch = Batch(max(options.batch_tokens, options.max_sequences))
        self._free_slots = list(reversed(range(options.max_sequences)))
        self._warm_up()
        on_progress(1.0)
        return Loaded(model.context_length, options.max_sequences, vocabulary.size, ENGINE, self._details())

    def admit(self, request: GenerateRequest) -> Admission:
        """Renders and tokenises the prompt, and checks every token id in the request."""
        check_sampling(request.sampling, self._vocabulary)
        stop: tuple[str, ...] = ()
        match request.prompt:
            case ChatPrompt(messages):
                ids = self._tokenize(self._template.render(messages))
                stop = () if self._own_template else (CHATML_STOP,)
            case TextPrompt(text):
                ids = self._tokenize([Segment(text, control=True)])
            case TokenPrompt(token_ids):
                if not self._vocabulary.are_known(token_ids):
                    raise Refusal(
                        "invalid", f"The prompt has a token id outside of 0 to {self._vocabulary.size - 1}.", param="prompt"
                    )
                ids = list(token_ids)
            case FillPrompt():
                raise Refusal("invalid", "This model was not made to fill gaps.", param="suffix")
        if not ids:
            raise Refusal("invalid", "The prompt is empty.", param="prompt")
        if len(ids) >= self._model.context_length:
            raise PromptTooLong(len(ids), self._model.context_length)
        return Admission(ids, stop)

    def start(self, sequence: int, admission: Admission, request: GenerateRequest) -> None:
        """Takes a sequence in; it is computed as soon as the cache has room for it."""
        tokens = list(admission.token_ids)
        sampler = Sampler(request.sampling, self._vocabulary, context_length=self._model.context_length, prompt=tokens)
        self._sequences[sequence] = _Sequence(sequence, self._free_slots.pop(), tokens, sampler, request.top_logprobs)

    def step(self) -> StepOutcome:
        """Computes one token for each sequence that is past its prompt, and a part of the prompts of the others."""
        outcome = StepOutcome()
        self._let_in()
        while wanted := self._compose(outcome):
            began_s = time.perf_counter()
            code = self._batch.decode(self._model.context)
            took_s = time.perf_counter() - began_s
            outcome.compute_s += took_s
            if code == 0:
                self._note_speed(outcome.prefill_tokens, took_s)
                self._sample(wanted, outcome)
                break
            if code != CACHE_FULL:
                self._lose_all(f"llama_decode gave {code}. {self._model.last_errors()}".strip(), outcome)
                break
            self._make_room(outcome)
        return outcome

    def wait_s(self) -> float | None:
        """There is always a next step, unless every sequence is held."""
        return None if all(sequence.held for sequence in self._sequences.values()) else 0

    def hold(self, sequence: int, held: bool) -> None:
        """Leaves a sequence out of the batch, but in the cache."""
        if (kept := self._sequences.get(sequence)) is not None:
            kept.held = held

    def drop(self, sequence: int) -> None:
        """Frees a sequence's cache, slot and sampler."""
        dropped = self._sequences.pop(sequence, None)
        if dropped is not None:
            self._vacate(dropped)
            self._free_slots.append(dropped.slot)
            dropped.sampler.close()

    def occupancy(self) -> Occupancy:
        """Counts the cells in use."""
        in_cache = sum(sequence.in_cache for sequence in self._sequences.values())
        # Shared cells are counted once for each who shares them, as each would need its own without the others.
        return Occupancy(min(in_cache, self._model.cache_size), self._model.cache_size)

    def close(self) -> None:
        """Frees everything."""
        for number in tuple(self._sequences):
            self.drop(number)
        self._model.close()

    def _tokenize(self, segments: list[Segment]) -> list[int]:
        """Tokenises a prompt, with a beginning-of-sequence token where the model wants one and the template wrote none.

        Raises:
            PromptTooLong: it is too long even if every token were the longest one; its count is then an estimate.
        """
        vocabulary = self._vocabulary
        size = sum(len(segment.text.encode("utf-8", "replace")) for segment in segments)
        if size > self._model.context_length * vocabulary.longest_bytes:
            # To cut tens of megabytes would take seconds, in which nobody else gets a token.
            raise PromptTooLong(max(size // 4, self._model.context_length), self._model.context_length)
        ids = [token for segment in segments for token in vocabulary.tokenize(segment.text, control=segment.control)]
        if vocabulary.adds_bos and vocabulary.bos is not None and ids[:1] != [vocabulary.bos]:
            ids.insert(0, vocabulary.bos)
        return ids

    def _let_in(self) -> None:
        """Gives waiting sequences their share of the cache, oldest first, as far as there is room.

        Held ones give up theirs where another needs it: their readers may take minutes, or never come back.
        """
        active = [sequence for sequence in self._sequences.values() if sequence.active]
        taken = sum(map(_share, active))
        idle = [sequence for sequence in active if sequence.held]
        for sequence in self._sequences.values():
            if sequence.active or sequence.held:
                continue
            while idle and taken + _share(sequence) > self._model.cache_size:
                taken -= _share(idle[-1])
                self._vacate(idle.pop())
            if taken and taken + _share(sequence) > self._model.cache_size:
                return
            taken += _share(sequence)
            sequence.active = True

    def _compose(self, outcome: StepOutcome) -> list[tuple[_Sequence, int, int]]:
        """Fills the batch; gives what is in it as (sequence, tokens, index of its last token)."""
        batch = self._batch
        batch.clear()
        parts: list[tuple[_Sequence, int, int]] = []
        prompts: list[_Sequence] = []
        for sequence in self._working():
            if sequence.pending == 1:
                index = batch.add(sequence.slot, sequence.in_cache, sequence.tokens[-1:], sample=True)
                parts.append((sequence, 1, index))
            else:
                prompts.append(sequence)
        room = min(batch.room, self._chunk()) if parts else batch.room
        outcome.prefill_tokens = 0
        for sequence in prompts:
            count = min(room, sequence.pending)
            if count == 0:
                break
            if sequence.in_cache == 0 and self._model.shares_prefixes and not self._take_over(sequence, parts):
                continue
            count = min(room, sequence.pending)
            if not sequence.began:
                sequence.began = True
                kept = sequence.in_cache
                outcome.begun.append(Begun(sequence.number, PrefixReport(kept, 0, len(sequence.tokens) - kept)))
            chunk = sequence.tokens[sequence.in_cache : sequence.in_cache + count]
            index = batch.add(sequence.slot, sequence.in_cache, chunk, sample=count == sequence.pending)
            parts.append((sequence, count, index))
            outcome.prefill_tokens += count
            room -= count
        return parts

    def _take_over(self, sequence: _Sequence, parts: list[tuple[_Sequence, int, int]]) -> bool:
        """Lets a new prompt share the cells of the sequence that begins most like it; nothing is copied.

        Returns:
            False where it had better wait a step, as the batch is just computing more of what it needs.
        """
        prompt = sequence.tokens[:-1]
        donor, most = None, 0
        for other in self._sequences.values():
            if other is not sequence and other.in_cache > most:
                shared = common_prefix(prompt, other.tokens[: other.in_cache])
                if shared > most:
                    donor, most = other, shared
        for other, count, _ in parts:
            coming = other.tokens[: other.in_cache + count]
            if count > 1 and common_prefix(prompt, coming) >= most + LEAST_SHARED:
                return False
        if donor is not None and most >= LEAST_SHARED:
            native.llama_memory_seq_cp(self._model.memory, donor.slot, sequence.slot, 0, most)
            sequence.in_cache = most
        return True

    def _working(self) -> Iterator[_Sequence]:
        return (sequence for sequence in self._sequences.values() if sequence.active and not sequence.held)

    def _chunk(self) -> int:
        """How many prompt tokens a step may take that others wait for. Alone, a prompt's cuts never depend on the clock."""
        return max(LEAST_CHUNK, int(self._prefill_tps * MIXED_STEP_S))

    def _note_speed(self, prefill_tokens: int, took_s: float) -> None:
        if prefill_tokens >= LEAST_CHUNK:
            tps = prefill_tokens / took_s
            self._prefill_tps = tps if not self._prefill_tps else 0.7 * self._prefill_tps + 0.3 * tps

    def _sample(self, parts: list[tuple[_Sequence, int, int]], outcome: StepOutcome) -> None:
        context, vocabulary = self._model.context, self._vocabulary
        for sequence, count, index in parts:
            sequence.in_cache += count
            if sequence.in_cache < len(sequence.tokens):
                continue
            token = sequence.sampler.sample(context, index)
            sequence.tokens.append(token)
            if token in vocabulary.ends:
                outcome.tokens.append(Sampled(sequence.number, b"", end=True))
                continue
            top = sequence.top_logprobs
            logprob = None if top is None else read_logprob(context, index, vocabulary, token=token, top=top)
            outcome.tokens.append(Sampled(sequence.number, vocabulary.piece(token), logprob=logprob))

    def _make_room(self, outcome: StepOutcome) -> None:
        """Sends a held sequence or the youngest one back to wait for room; one that is alone and still does not fit is lost."""
        active = [sequence for sequence in self._sequences.values() if sequence.active]
        youngest = next((sequence for sequence in reversed(active) if sequence.held), active[-1])
        if len(active) > 1:
            log.info("the cache is full; one of %d sequences waits", len(active))
            self._vacate(youngest)
        else:
            self._lose(youngest, "overloaded", "The context memory is full.", outcome)

    def _vacate(self, sequence: _Sequence) -> None:
        native.llama_memory_seq_rm(self._model.memory, sequence.slot, -1, -1)
        sequence.in_cache = 0
        sequence.active = False

    def _lose(self, sequence: _Sequence, kind: Literal["overloaded", "failed"], why: str, outcome: StepOutcome) -> None:
        self.drop(sequence.number)
        outcome.lost.append(Lost(sequence.number, kind, why))

    def _lose_all(self, why: str, outcome: StepOutcome) -> None:
        log.error("%s", why)
        for sequence in tuple(self._working()):
            self._lose(sequence, "failed", why, outcome)

    def _warm_up(self) -> None:
        """Computes one token, so that the first request does not pay for reading the weights, and a broken build shows now."""
        token = self._vocabulary.bos if self._vocabulary.bos is not None else 0
        self._batch.clear()
        self._batch.add(0, 0, [token], sample=True)
        code = self._batch.decode(self._model.context)
        native.llama_memory_clear(self._model.memory, False)
        if code != 0:
            self._model.close()
            raise LoadError(
                f"the model loads but does not compute (llama_decode gave {code}). {self._model.last_errors()}".strip()
            )

    def _details(self) -> dict[str, str]:
        model = self._model
        template = "the model's own" if self._own_template else "none in the file; messages are written as ChatML"
        return {
            "model": f"{model.description}, {model.parameters / 1e6:.0f} M parameters, {model.weights_bytes / 2**20:.0f} MiB",
            "context": f"{model.context_length} of {model.trained_context} trained, "
            f"{model.cache_bytes_per_token * model.context_length / 2**20:.0f} MiB",
            "chat template": self._template.problem or template,
            "threads": str(model.threads),
            "system": model.system_info,
        }


def _share(sequence: _Sequence) -> int:
    """How much of the cache is reckoned for a sequence."""
    return len(sequence.tokens) + GROWTH_TOKENS
