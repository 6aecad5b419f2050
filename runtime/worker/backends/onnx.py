"""ONNX graphs by ONNX Runtime: its keys and values lie in our own arrays, so that they can be shared, batched and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...formats.onnx_variants import graph_files
from ...frames import LoadOptions
from ..sequences.runner import Logits, Opened, Turn
from ..sequences.sequence_backend import SequenceBackend
from .backend import LoadError
from .onnx_graph import Graph, find_graph, read_config, read_graph
from .onnx_library import ENGINE, available_providers, open_session
from .onnx_states import Batch, OnnxState, copied, empty_planes, make_room, read_positions, write_positions
from .onnx_trial import choose_providers

DEFAULT_CONTEXT = 4096
MOST_LOGITS_BYTES = 64 << 20
"""Graphs give scores for every token of a prompt, wanted or not."""
MOST_ATTENTION_BYTES = 32 << 20
"""Graphs of plain operators lay out how much each token of a prompt looks at each one before it, for all heads of a layer."""
LEAST_TOKENS = 32
"""Pieces of prompts are not smaller: each piece reads all weights."""


class OnnxRunner:
    """Runs a decoder by the names of its inputs."""

    _graph: Graph

    def __init__(self, providers: Sequence[str] | None = None) -> None:
        """Loads nothing yet.

        Args:
            providers: what computes, by ONNX Runtime's names; None is chosen when a graph is opened.
        """
        self._providers = providers
        self._session: Any = None
        self._batch = Batch()
        self._most_tokens = 1
        self._heads = 0
        """Of a layer, where what they look at takes memory; else 0."""
        self._bound: tuple[list[Any], Any] | None = None
        """Keys and values that are appended in place, and the binding that names them."""

    def open(self, path: Path, options: LoadOptions, on_progress: Callable[[float], None]) -> Opened:
        """Loads a folder's graph, or a graph; raises LoadError."""
        graph, folder = find_graph(path)
        on_progress(0.1)
        providers, why = self._providers, ""
        if providers is None:
            providers, why = choose_providers(graph, options.onnx_provider, available_providers(), options.threads)
        self._session = open_session(graph, options, providers)
        on_progress(0.9)
        config = read_config(folder)
        self._graph = read_graph(self._session, graph, config)
        if not self._graph.rows:
            raise LoadError("neither the graph nor config.json says how large its vocabulary is.")
        self._most_tokens = max(LEAST_TOKENS, MOST_LOGITS_BYTES // (self._graph.rows * 4))
        heads = config.get("num_attention_heads")
        self._heads = heads if isinstance(heads, int) and not self._graph.shares else 0
        length = config.get("max_position_embeddings")
        kind = np.dtype(self._graph.dtype).name
        return Opened(
            folder=folder,
            files=tuple(graph_files(graph)),
            rows=self._graph.rows,
            context_length=length if isinstance(length, int) else options.context_length or DEFAULT_CONTEXT,
            engine=ENGINE,
            cuttable=True,
            precision=kind,
            details={
                "graph": graph.relative_to(folder).as_posix(),
                "computed by": why,
                "keys and values": f"{kind}, {'appended in place' if self._graph.shares else 'handed on'}",
            },
        )

    def begin(self) -> OnnxState:
        """Makes an empty sequence."""
        return OnnxState(empty_planes(self._graph))

    def extend(self, state: OnnxState, tokens: Sequence[int], wanted: Literal["none", "last", "all"]) -> Logits | None:
        """Computes tokens behind others, in pieces whose scores do not take too much memory."""
        self._settle(state)
        found: list[Logits] = []
        most = self._piece_tokens(state.length + len(tokens))
        for at in range(0, len(tokens), most):
            piece = np.array([tokens[at : at + most]], np.int64)
            before, count = state.length, piece.shape[1]
            mask = np.ones((1, before + count), np.int64)
            positions = np.arange(before, before + count, dtype=np.int64)[None]
            if self._graph.shares:
                state.planes = make_room(state.planes, before, before + count)
            logits, state.planes = self._run(piece, mask, positions, state.planes, before)
            state.length += count
            if wanted == "all":
                found.append(logits[0])
            elif wanted == "last" and at + count == len(tokens):
                found.append(logits[0, -1].copy())
            del logits  # before the next piece makes its own
        if wanted == "none":
            return None
        return np.concatenate(found) if wanted == "all" else found[0]

    def decode(self, turns: Sequence[Turn[OnnxState]]) -> Sequence[Logits | int]:
        """Computes one token of each, all at once."""
        if len(turns) == 1:
            row = self.extend(turns[0].state, [turns[0].token], "last")
            return [] if row is None else [row]
        states = [turn.state for turn in turns]
        batch = self._batch
        if not batch.is_of(states):
            batch.dissolve()
            for state in states:
                self._settle(state)
            batch.gather(states, aligned=not self._graph.shares)
        ids = np.array([[turn.token] for turn in turns], np.int64)
        lengths = np.array([state.length for state in states])
        longest = int(lengths.max()) + 1
        places = np.arange(longest)[None]
        if self._graph.shares:
            mask = (places < lengths[:, None] + 1).astype(np.int64)
            batch.planes = make_room(batch.planes, longest - 1, longest)
        else:
            mask = (places >= np.array(batch.begins)[:, None]).astype(np.int64)
        logits, batch.planes = self._run(ids, mask, lengths[:, None].astype(np.int64), batch.planes, longest - 1)
        for state in states:
            state.length += 1
        return [logits[row, -1] for row in range(len(states))]

    def fork(self, state: OnnxState, length: int) -> OnnxState:
        """Copies a beginning."""
        self._settle(state)
        return OnnxState([copied(plane[:, :, :length]) for plane in state.planes], length)

    def cut(self, state: OnnxState, length: int) -> None:
        """Forgets what is behind."""
        self._settle(state)
        state.length = length
        if not self._graph.shares:
            state.planes = [np.ascontiguousarray(plane[:, :, :length]) for plane in state.planes]

    def read(self, state: OnnxState, begin: int, end: int) -> bytes:
        """Gives the bytes of positions."""
        self._settle(state)
        return read_positions(state, begin, end)

    def write(self, state: OnnxState, data: bytes, begin: int, end: int, *, skip: int = 0) -> None:
        """Puts positions behind."""
        self._settle(state)
        write_positions(state, self._graph, data, begin, end, skip=skip)

    def release(self, state: OnnxState) -> None:
        """Lets its arrays go."""
        self._settle(state)
        if self._bound is not None and self._bound[0] is state.planes:
            self._bound = None
        state.planes = []

    def close(self) -> None:
        """Gives the model's memory back."""
        self._batch, self._session, self._bound = Batch(), None, None

    def _piece_tokens(self, length: int) -> int:
        """How many tokens of a prompt are computed at a time, behind which a sequence is so long."""
        if not self._heads:
            return self._most_tokens
        return min(self._most_tokens, max(LEAST_TOKENS, MOST_ATTENTION_BYTES // (self._heads * length * 4)))

    def _run(self, ids: Any, mask: Any, positions: Any, planes: list[Any], before: int) -> tuple[Any, list[Any]]:
        """Runs the graph once.

        Args:
            ids: shape (sequences, tokens).
            mask: shape (sequences, tokens before and now).
            positions: shape (sequences, tokens).
            planes: keys and values before; in them those of now are appended where the graph does so.
            before: how many tokens they are for; behind these is room.

        Returns:
            Scores, shape (sequences, tokens, rows), and the planes that hold all tokens.
        """
        graph = self._graph
        after = planes
        if not graph.shares:
            planes = [plane if plane.shape[2] == before else np.ascontiguousarray(plane[:, :, :before]) for plane in planes]
            size = before + ids.shape[1]
            after = [np.empty((*plane.shape[:2], size, plane.shape[3]), plane.dtype) for plane in planes]
        binding = self._bind(planes, after)
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask)
        if graph.positions:
            binding.bind_cpu_input("position_ids", positions)
        if graph.branch:
            binding.bind_cpu_input("use_cache_branch", np.array([before > 0]))
        logits = np.empty((*ids.shape, graph.rows), graph.logits_dtype)
        binding.bind_output(graph.logits, "cpu", 0, graph.logits_dtype, logits.shape, logits.ctypes.data)
        self._session.run_with_iobinding(binding)
        return logits.astype(np.float32, copy=False), after

    def _bind(self, planes: list[Any], after: list[Any]) -> Any:
        """Names where keys and values are read and written; what is appended in place stays where it was the last time."""
        if self._bound is not None and self._bound[0] is planes is after:
            return self._bound[1]
        binding = self._session.io_binding()
        for place, past, present in zip(self._graph.places, planes, after, strict=True):
            binding.bind_input(place.past, "cpu", 0, self._graph.dtype, past.shape, past.ctypes.data)
            binding.bind_output(place.present, "cpu", 0, self._graph.dtype, present.shape, present.ctypes.data)
        self._bound = (planes, binding) if planes is after else None
        return binding

    def _settle(self, state: OnnxState) -> None:
        if self._batch.holds(state):
            self._batch.dissolve()


def open_backend() -> SequenceBackend[OnnxState]:
    """Makes a backend without a model."""
    return SequenceBackend(OnnxRunner(), OnnxRunner)
