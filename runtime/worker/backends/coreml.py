"""Core ML packages in one piece, as Apple and swift-transformers lay them out: on the Neural Engine, the GPU or the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import coremltools as _coremltools  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

from ...frames import LoadOptions
from ..sequences.runner import Logits, Opened, Turn
from ..sequences.sequence_backend import SequenceBackend
from .backend import LoadError
from .coreml_shapes import MASKED, Inputs, read_inputs

coremltools = cast("Any", _coremltools)
ENGINE = f"Core ML (coremltools {version('coremltools')})"
TRIAL_TOKENS = 8
MOST_DEVIATION = 0.05
"""How far scores may lie from those of the CPU, as a share of their range: the Neural Engine rounds to 16 bits between all
layers, and has been seen to give other tokens altogether."""
_BESIDE = ("tokenizer.json", "tokenizer_config.json")


class Model(Protocol):
    """What coremltools offers of a model."""

    def get_spec(self) -> Any:
        """Gives its description."""
        ...

    def make_state(self) -> Any:
        """Makes what one sequence keeps."""
        ...

    def predict(self, data: dict[str, Any], state: Any = None) -> dict[str, Any]:
        """Computes."""
        ...


OpenModel = Callable[[Path, str], Model]
"""Opens a package on some compute units, by their name in coremltools."""


@dataclass(eq=False, slots=True)
class CoremlState:
    """What was computed of one sequence."""

    kept: Any
    length: int = 0
    tokens: list[int] = field(default_factory=list[int])
    """Of a model that keeps nothing: all of them, as each step computes all."""


def open_model(path: Path, units: str) -> Model:
    """Opens a package by coremltools."""
    if path.suffix == ".mlmodelc":
        raise LoadError("a compiled model does not describe its inputs to coremltools. Download the .mlpackage instead.")
    return cast("Model", coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit[units]))


class CoremlRunner:
    """Feeds a decoder as its own description says.

    Args:
        opener: opens packages; tests give another one, as Core ML computes on macOS alone.
    """

    _inputs: Inputs

    def __init__(self, opener: OpenModel = open_model) -> None:
        self._open_model = opener
        self._model: Model | None = None

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a package, or the one in a folder; raises LoadError."""
        package, folder = find_package(path)
        try:
            reference = self._open_model(package, "CPU_ONLY")
            self._inputs = inputs = read_inputs(reference.get_spec().description)
        except LoadError:
            raise
        except Exception as error:  # coremltools raises whatever its parts raise
            raise LoadError(f"coremltools cannot open '{package.name}': {' '.join(str(error).split())[:300]}") from error
        on_progress(0.3)
        length = inputs.context_length
        if length < 1:
            raise LoadError(f"'{package.name}' does not say how long its context is.")
        tried = self._choose_units(package, reference, on_progress)
        logits = self.extend(self.begin(), [0], "last")
        assert logits is not None  # noqa: S101 - it was wanted
        return Opened(
            folder=folder,
            files=tuple(sorted(file for file in package.rglob("*") if file.is_file())),
            rows=len(logits),
            context_length=min(length, options.context_length or length),
            engine=ENGINE,
            cuttable=True,
            precision="coreml",
            details={"units": tried, "tokens at once": str(inputs.tokens.named or (inputs.tokens.least, inputs.tokens.most))},
        )

    def begin(self) -> CoremlState:
        """Makes an empty sequence."""
        return CoremlState(self._ready.make_state() if self._inputs.states else None)

    def extend(self, state: CoremlState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens, as many at once as the model takes."""
        if not self._inputs.states:
            return self._extend_without_states(state, tokens, wanted)
        found: list[Logits] = []
        at = 0
        while at < len(tokens):
            size = self._inputs.tokens.best(len(tokens) - at)
            piece = list(tokens[at : at + size])
            rows = self._compute(state.kept, piece, size, state.length)
            state.length += len(piece)
            at += len(piece)
            if wanted == "all":
                found.append(rows[: len(piece)])
            elif wanted == "last" and at == len(tokens):
                found.append(rows[len(piece) - 1 : len(piece)])
        if wanted == "none":
            return None
        return np.concatenate(found) if wanted == "all" else found[0][0]

    def decode(self, turns: Sequence[Turn[CoremlState]]) -> Sequence[Logits | int]:
        """Computes one token of each, one after the other: a state is one sequence's."""
        rows = [self.extend(turn.state, [turn.token], "last") for turn in turns]
        return [row for row in rows if row is not None]

    def fork(self, state: CoremlState, length: int) -> CoremlState:
        """Copies a beginning."""
        copied = CoremlState(self.begin().kept, length, state.tokens[:length])
        for name, _ in self._inputs.states:
            copied.kept.write_state(name, state.kept.read_state(name))
        return copied

    def cut(self, state: CoremlState, length: int) -> None:
        """Forgets what is behind: it is written over, and masked until then."""
        state.length = length
        del state.tokens[length:]

    def read(self, state: CoremlState, begin: int, end: int) -> bytes:
        """Gives the bytes of positions."""
        if not self._inputs.states:
            return np.array(state.tokens[begin:end], np.int32).tobytes()
        parts = (state.kept.read_state(name) for name, _ in self._inputs.states)
        return b"".join(np.ascontiguousarray(part[..., begin:end, :], np.float16).tobytes() for part in parts)

    def write(self, state: CoremlState, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts positions behind."""
        if not self._inputs.states:
            state.tokens += np.frombuffer(data, np.int32)[skip : end - begin].tolist()
            state.length = end
            return
        shapes = [(name, shape) for name, shape in self._inputs.states]
        each = sum(int(np.prod(shape)) // shape[-2] for _, shape in shapes) * 2
        count, rest = divmod(len(data), each)
        if rest or end - begin > count:
            raise ValueError(f"{len(data)} bytes are no state of positions {begin} to {end}")
        at = 0
        for name, shape in shapes:
            part_shape = (*shape[:-2], count, shape[-1])
            part = np.frombuffer(data, np.float16, int(np.prod(part_shape)), at).reshape(part_shape)
            at += part.nbytes
            whole = np.array(state.kept.read_state(name))
            whole[..., begin + skip : end, :] = part[..., skip : end - begin, :]
            state.kept.write_state(name, whole)
        state.length = end

    def release(self, state: CoremlState) -> None:
        """Lets its state go."""
        state.kept = None

    def close(self) -> None:
        """Lets the model go."""
        self._model = None

    @property
    def _ready(self) -> Model:
        assert self._model is not None  # noqa: S101 - nothing is asked of a runner without a model
        return self._model

    def _compute(self, kept: Any, piece: list[int], size: int, before: int) -> NDArray[np.float32]:
        """Runs the model over a piece, filled up to the size that it takes; gives scores, shape (size, rows)."""
        inputs = self._inputs
        places = before + size
        if places > inputs.context_length:
            raise MemoryError(f"the model's states hold {inputs.context_length} tokens")
        ids = np.zeros((1, size), np.int32)
        ids[0, : len(piece)] = piece
        data: dict[str, Any] = {inputs.ids: ids}
        if inputs.mask is not None and inputs.places is not None:
            # Some models take one size of mask only: places behind the newest token are masked like all later ones.
            width = inputs.places.best(places)
            if width < places:
                raise MemoryError(f"the model's mask has {width} places, and {places} are needed")
            later = np.arange(width)[None] > np.arange(before, places)[:, None]
            data[inputs.mask] = np.where(later, MASKED, 0)[None, None].astype(np.float16)
        if inputs.positions is not None:
            data[inputs.positions] = np.arange(before, places, dtype=np.int32)
        found = self._ready.predict(data, kept)[inputs.logits]
        return np.asarray(found, np.float32).reshape(-1, np.shape(found)[-1])

    def _extend_without_states(
        self, state: CoremlState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]
    ) -> Logits | None:
        """Computes all tokens of a sequence anew, as the model keeps nothing."""
        state.tokens += tokens
        before, state.length = state.length, len(state.tokens)
        if wanted == "none":
            return None
        size = self._inputs.tokens.best(state.length)
        if size < state.length:
            size = next((one for one in self._inputs.tokens.named if one >= state.length), 0)
        if not size:
            raise MemoryError(f"the model takes {self._inputs.context_length} tokens")
        ids = np.zeros((1, size), np.int32)
        ids[0, : state.length] = state.tokens
        data: dict[str, Any] = {self._inputs.ids: ids}
        if self._inputs.attends is not None:
            data[self._inputs.attends] = (np.arange(size) < state.length).astype(np.int32)[None]
        found = np.asarray(self._ready.predict(data)[self._inputs.logits], np.float32)
        rows = found.reshape(-1, found.shape[-1])
        return rows[before : state.length] if wanted == "all" else rows[state.length - 1]

    def _choose_units(self, package: Path, reference: Model, on_progress: Callable[[float], None]) -> str:
        """Tries where the model is right and fastest; gives what was found, for the log."""
        self._model = reference
        wanted, slowest_s = self._try_out()
        best, best_s = reference, slowest_s
        chosen, told = "CPU_ONLY", [f"CPU_ONLY {slowest_s * 1000:.0f} ms"]
        for number, units in enumerate(("CPU_AND_GPU", "CPU_AND_NE")):
            try:
                self._model = self._open_model(package, units)
                scores, took_s = self._try_out()
            except Exception as error:  # a unit that cannot run it is none to run it on
                told.append(f"{units} failed: {' '.join(str(error).split())[:80]}")
                continue
            off = float(np.abs(scores - wanted).max() / max(1e-6, float(np.ptp(wanted))))
            told.append(f"{units} {took_s * 1000:.0f} ms, {off:.1%} off")
            if off <= MOST_DEVIATION and took_s < best_s:
                chosen, best, best_s = units, self._model, took_s
            on_progress(0.5 + 0.2 * number)
        self._model = best
        return f"{chosen} ({'; '.join(told)})"

    def _try_out(self) -> tuple[Logits, float]:
        """Computes a few tokens; gives the last one's scores and the quickest step's seconds."""
        state = self.begin()
        quickest_s = float("inf")
        scores: Logits | None = None
        for token in range(1, TRIAL_TOKENS + 1):
            began_s = time.perf_counter()
            scores = self.extend(state, [token], "last")
            quickest_s = min(quickest_s, time.perf_counter() - began_s)
        assert scores is not None  # noqa: S101 - they were wanted
        return scores, quickest_s


def find_package(path: Path) -> tuple[Path, Path]:
    """Finds a model and the folder that its tokenizer lies in.

    Raises:
        LoadError: there is none, or it is in several parts.
    """
    if path.suffix in (".mlpackage", ".mlmodelc"):
        beside = next(
            (one for one in (path.parent, path.parent.parent) if any((one / name).is_file() for name in _BESIDE)), None
        )
        return path, beside or path.parent
    found = sorted((*path.glob("*.mlpackage"), *path.glob("*.mlmodelc")))
    if not found:
        raise LoadError("it has no .mlpackage.")
    if len(found) > 1 or (path / "meta.yaml").is_file():
        raise LoadError(f"its {len(found)} parts are one model together, and models in several parts are not served.")
    return found[0], path


def open_backend() -> SequenceBackend[CoremlState]:
    """Makes a backend without a model."""
    return SequenceBackend(CoremlRunner())
