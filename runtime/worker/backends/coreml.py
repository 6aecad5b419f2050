"""Core ML models, in one piece or in parts: on the Neural Engine, the GPU or the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import coremltools as _coremltools  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

from ...frames import LoadOptions
from ..sequences.runner import Logits, Opened, Turn
from ..sequences.sequence_backend import SequenceBackend
from .backend import LoadError
from .coreml_layout import Layout, read_layout
from .coreml_pipeline import Memory, Model, OpenModel, Pipeline
from .coreml_shapes import Sizes
from .coreml_units import (
    MOST_DEVIATION,
    REFERENCE,
    USUAL,
    WITH_ENGINE,
    Remembered,
    Trial,
    choose_units,
    plan_of,
    tell_plans,
    try_out,
)  # fmt: skip

coremltools = cast("Any", _coremltools)
ENGINE = f"Core ML (coremltools {version('coremltools')})"
MOST_LOGITS_BYTES = 64 << 20
"""Most models give scores for every token of a prompt, wanted or not."""


@dataclass(eq=False, slots=True)
class CoremlState:
    """What was computed of one sequence."""

    memory: Memory | None
    """None where the model keeps nothing."""
    length: int = 0
    tokens: list[int] = field(default_factory=list[int])
    """Of a model that keeps nothing: all of them, as each step computes all."""


@dataclass(slots=True)
class Image:
    """A copy of what a sequence keeps, while several pieces of it are read or put back."""

    state: CoremlState
    arrays: dict[str, NDArray[Any]]
    changed: bool = False


def open_model(path: Path, units: str, function: str | None) -> Model:
    """Opens a function of a package or a compiled model by coremltools."""
    kind = coremltools.models.CompiledMLModel if path.suffix == ".mlmodelc" else coremltools.models.MLModel
    return cast("Model", kind(str(path), compute_units=coremltools.ComputeUnit[units], function_name=function))


class CoremlRunner:
    """Feeds a decoder as its own description says.

    Args:
        opener: opens models; tests give another one, as Core ML computes on macOS alone.
    """

    _layout: Layout

    def __init__(self, opener: OpenModel = open_model) -> None:
        self._opener = opener
        self._pipeline: Pipeline | None = None
        self._image: Image | None = None

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a model, or the one in a folder; raises LoadError."""
        self._layout = layout = read_layout(path)
        on_progress(0.1)
        remembered = Remembered(None if options.converted_dir is None else Path(options.converted_dir), layout.files)
        try:
            known = remembered.read()
            units, told = known or self._try_units(on_progress)
            if self._pipeline is None or self._pipeline.units != units:
                self._pipeline = Pipeline(layout, self._opener, units)
            on_progress(0.9)
            rows = self._probe()
        except LoadError:
            self.close()
            raise
        except Exception as error:  # coremltools raises whatever its parts raise
            self.close()
            raise LoadError(f"Core ML cannot compute '{path.name}': {' '.join(str(error).split())[:300]}") from error
        if known is None:
            remembered.write(units, told)
        copyable = self._can_copy()
        layout = self._layout
        details = {
            "units": told,
            "tokens at once": layout.sizes.text,
            "parts": ", ".join(one.path.name for one in layout.parts),
        }
        if where := self._tell_plans(units):
            details["runs on"] = where
        if not copyable:
            details["states"] = "cannot be copied here: earlier prompts are used again only by what goes on from them"
        return Opened(
            folder=layout.folder,
            files=layout.files,
            rows=rows,
            context_length=min(layout.context_length, options.context_length or layout.context_length),
            engine=ENGINE,
            cuttable=True,
            copyable=copyable,
            # What one unit computed is not put before another: their numbers differ.
            precision=f"float16 {units}",
            details=details,
        )

    def begin(self) -> CoremlState:
        """Makes an empty sequence."""
        return CoremlState(self._ready.begin() if self._layout.kept else None)

    def extend(self, state: CoremlState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens, as many at once as the model takes."""
        if state.memory is None:
            return self._extend_anew(state, tokens, wanted)
        layout = self._layout
        if wanted == "all":
            return np.concatenate(list(self._compute(state, tokens, layout.scoring, scores=True)))
        last: Logits | None = None
        if wanted == "none" or (layout.scoring != layout.sizes and len(tokens) > 1):
            before, tokens = (tokens, ()) if wanted == "none" else (tokens[:-1], tokens[-1:])
            for _ in self._compute(state, before, layout.sizes, scores=False):
                pass
        for rows in self._compute(state, tokens, layout.scoring, scores=True):
            last = rows[-1]
        return last

    def decode(self, turns: Sequence[Turn[CoremlState]]) -> Sequence[Logits | int]:
        """Computes one token of each, one after the other: a state is one sequence's."""
        rows = [self.extend(turn.state, [turn.token], "last") for turn in turns]
        return [row for row in rows if row is not None]

    def fork(self, state: CoremlState, length: int) -> CoremlState:
        """Copies a beginning."""
        self._settle()
        copied = self.begin()
        copied.length, copied.tokens = length, state.tokens[:length]
        if state.memory is not None and copied.memory is not None:
            for one in self._layout.kept:
                copied.memory.write_state(one.name, state.memory.read_state(one.name))
        return copied

    def cut(self, state: CoremlState, length: int) -> None:
        """Forgets what is behind: it is written over, and masked until then."""
        state.length = length
        del state.tokens[length:]

    def read(self, state: CoremlState, begin: int, end: int) -> bytes:
        """Gives the bytes of positions."""
        if state.memory is None:
            return np.array(state.tokens[begin:end], np.int32).tobytes()
        arrays = self._look_at(state).arrays
        parts = (np.moveaxis(arrays[one.name], one.axis, 0)[begin:end] for one in self._layout.kept)
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    def write(self, state: CoremlState, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts positions behind."""
        if state.memory is None:
            if len(data) % 4 or len(data) < 4 * (end - begin):
                raise ValueError(f"{len(data)} bytes are no tokens of positions {begin} to {end}")
            state.tokens += np.frombuffer(data, np.int32)[skip : end - begin].tolist()
            state.length = end
            return
        shapes = [one.shape[: one.axis] + one.shape[one.axis :][1:] for one in self._layout.kept]
        kinds = [np.dtype(one.dtype) for one in self._layout.kept]
        each = sum(int(np.prod(shape)) * kind.itemsize for shape, kind in zip(shapes, kinds, strict=True))
        count, rest = divmod(len(data), each)
        if rest or end - begin > count:
            raise ValueError(f"{len(data)} bytes are no state of positions {begin} to {end}")
        image = self._look_at(state)
        image.changed = True
        at = 0
        for one, shape, kind in zip(self._layout.kept, shapes, kinds, strict=True):
            part = np.frombuffer(data, kind, int(np.prod(shape)) * count, at).reshape(count, *shape)
            at += part.nbytes
            np.moveaxis(image.arrays[one.name], one.axis, 0)[begin + skip : end] = part[skip : end - begin]
        state.length = end

    def release(self, state: CoremlState) -> None:
        """Lets its state go."""
        if self._image is not None and self._image.state is state:
            self._image = None
        state.memory = None

    def close(self) -> None:
        """Lets the model go."""
        self._pipeline = self._image = None

    @property
    def _ready(self) -> Pipeline:
        assert self._pipeline is not None  # noqa: S101 - nothing is asked of a runner without a model
        return self._pipeline

    def _compute(self, state: CoremlState, tokens: Sequence[int], sizes: Sizes, *, scores: bool) -> Iterator[Logits]:
        """Computes tokens piece by piece; gives scores of each piece, shape (tokens, rows), where they are wanted."""
        memory = state.memory
        assert memory is not None  # noqa: S101 - looked at before
        self._settle()
        at = 0
        for count, size in sizes.pieces(len(tokens), self._layout.places - state.length):
            piece = tokens[at : at + count]
            rows = self._ready.compute(memory, piece, size, state.length, scores=scores)
            state.length += count
            at += count
            if scores and rows is not None:
                yield rows[:count] if len(rows) == size else rows

    def _extend_anew(self, state: CoremlState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes all tokens of a sequence, as the model keeps nothing."""
        before = state.length
        state.tokens += tokens
        state.length = len(state.tokens)
        if wanted == "none":
            return None
        sizes = self._layout.scoring
        size = next((one for one in sizes.named if one >= state.length), max(sizes.least, state.length))
        if not sizes.allows(size):
            raise MemoryError(f"the model takes {self._layout.context_length} tokens")
        rows = self._ready.compute(Memory(None, {}), state.tokens, size, 0, scores=True)
        assert rows is not None  # noqa: S101 - they were wanted
        return rows[before : state.length] if wanted == "all" else rows[state.length - 1]

    def _look_at(self, state: CoremlState) -> Image:
        """Copies what a sequence keeps, once for all pieces of it that are read or put back."""
        if self._image is None or self._image.state is not state:
            self._settle()
            memory = state.memory
            assert memory is not None  # noqa: S101 - looked at before
            self._image = Image(state, {one.name: memory.read_state(one.name) for one in self._layout.kept})
        return self._image

    def _settle(self) -> None:
        """Gives Core ML what was put back."""
        image, self._image = self._image, None
        if image is not None and image.changed and image.state.memory is not None:
            for name, array in image.arrays.items():
                image.state.memory.write_state(name, array)

    def _try_units(self, on_progress: Callable[[float], None]) -> tuple[str, str]:
        """Tries where the model is right and fastest; gives the units and what was found."""
        tried: list[Trial | tuple[str, str]] = []
        for number, units in enumerate((REFERENCE, USUAL, *WITH_ENGINE)):
            # At most one is held while the next is opened: each may take the memory of all weights.
            self._pipeline = None
            try:
                self._pipeline = Pipeline(self._layout, self._opener, units)
                tried.append(try_out(self._pipeline, self._extend_of(self.begin())))
            except Exception as error:  # units that cannot run it are none to run it on
                if units == REFERENCE:
                    raise
                tried.append((units, " ".join(str(error).split())[:80]))
            on_progress(0.1 + 0.2 * (number + 1))
        return choose_units(tried)

    def _extend_of(self, state: CoremlState) -> Callable[[Sequence[int]], Logits]:
        def extend(tokens: Sequence[int]) -> Logits:
            scores = self.extend(state, tokens, "last")
            assert scores is not None  # noqa: S101 - they were wanted
            return scores

        return extend

    def _probe(self) -> int:
        """Computes once; gives how many scores a token gets.

        Some models that take several tokens give the scores of the last alone: those are fed the token whose scores are wanted
        by itself.
        """
        layout = self._layout
        several = (one for one in layout.scoring.named if one > 1)
        size = next(several, layout.scoring.least) if layout.scoring.named else layout.scoring.best(2, layout.places)
        state = self.begin()
        rows = self._ready.compute(state.memory or Memory(None, {}), [0] * min(size, 2), size, 0, scores=True)
        assert rows is not None  # noqa: S101 - they were wanted
        if len(rows) < size:
            if not (layout.kept and layout.scoring.allows(1)):
                raise LoadError(f"of {size} tokens it gives the scores of {len(rows)} only, and it takes no single ones.")
            self._layout = dataclasses.replace(layout, scoring=Sizes(1, 1, (1,)))
        elif layout.kept:
            most = max(1, MOST_LOGITS_BYTES // (rows.shape[-1] * 4))
            same = layout.scoring == layout.sizes
            scoring = layout.scoring.under(most)
            self._layout = dataclasses.replace(layout, scoring=scoring, sizes=scoring if same else layout.sizes)
        return rows.shape[-1]

    def _can_copy(self) -> bool:
        """Whether what is read of a state makes another one alike: before macOS 15 and coremltools 9 it does not."""
        first = self.begin()
        if first.memory is None:
            return True
        try:
            self.extend(first, [1, 2, 3], "none")
            second = self.fork(first, 3)
            one, two = (self._extend_of(state)([4]) for state in (first, second))
        except Exception:  # whatever it is, it cannot be done
            return False
        return bool(np.abs(one - two).max() <= MOST_DEVIATION * max(1e-6, float(np.ptp(one))))

    def _tell_plans(self, units: str) -> str:
        """Says which units run what, where macOS tells."""
        try:
            return tell_plans(plan_of(self._ready.compiled_paths(), units))
        except Exception:  # an ornament of the log: whatever it is, the model works without
            return ""


def open_backend() -> SequenceBackend[CoremlState]:
    """Makes a backend without a model."""
    return SequenceBackend(CoremlRunner())
