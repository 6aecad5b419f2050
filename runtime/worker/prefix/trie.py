"""A radix tree over token ids: which of many sequences begins like this one, and for how long."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

from .segments import TOKEN_BYTES, common_tokens, pack_tokens

V = TypeVar("V", bound=Hashable)

_LONG_LABEL = 4096 * TOKEN_BYTES
"""A longer label is not copied for each token appended to it."""


class _Node(Generic[V]):
    """A run of tokens that all sequences below it share."""

    __slots__ = ("children", "label", "newest", "parent", "values")

    def __init__(self, parent: _Node[V] | None, label: bytes) -> None:
        self.parent = parent
        self.label = label
        """Packed tokens on the way from the parent."""
        self.children: dict[bytes, _Node[V]] = {}
        """By their label's first token, packed."""
        self.values: dict[V, int] = {}
        """Whose sequences end here, with the order in which they came."""
        self.newest: tuple[int, V] | None = None
        """The latest value here or below."""

    def refresh(self) -> None:
        """Finds the latest value again."""
        newest = [child.newest for child in self.children.values() if child.newest is not None]
        newest += [(order, value) for value, order in self.values.items()]
        self.newest = max(newest, key=lambda entry: entry[0], default=None)


class TokenTrie(Generic[V]):
    """Token sequences, each under one value; finds the one that shares the longest beginning with a prompt."""

    def __init__(self) -> None:
        self._root: _Node[V] = _Node(None, b"")
        self._ends: dict[V, _Node[V]] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, value: V) -> bool:
        return value in self._ends

    def insert(self, tokens: Sequence[int], value: V) -> None:
        """Stores a sequence; what was stored under the value is replaced."""
        self.discard(value)
        self._place(self._root, pack_tokens(tokens), value)

    def extend(self, value: V, tokens: Sequence[int]) -> None:
        """Appends tokens to a stored sequence, at a cost that does not grow with its length; it counts as just inserted.

        Raises:
            KeyError: nothing is stored under the value.
        """
        end = self._ends.pop(value)
        del end.values[value]
        alone = not end.values and not end.children and end.parent is not None
        more = pack_tokens(tokens)
        if alone and len(end.label) < _LONG_LABEL:
            end.label += more
            self._settle(end, value)
        else:
            self._place(end, more, value)

    def discard(self, value: V) -> None:
        """Forgets the value's sequence, if there is one."""
        node = self._ends.pop(value, None)
        if node is None:
            return
        del node.values[value]
        while node.parent is not None and not node.values and len(node.children) < 2:
            parent = node.parent
            if node.children:
                self._merge(node, parent)
                node = parent
                break
            del parent.children[node.label[:TOKEN_BYTES]]
            node = parent
        above: _Node[V] | None = node
        while above is not None:
            above.refresh()
            above = above.parent

    def longest(self, tokens: Sequence[int]) -> tuple[int, V | None]:
        """Finds the longest beginning that a stored sequence has too.

        Returns:
            Its length, and the value inserted last among those that have it; (0, None) where no sequence shares a token.
        """
        packed = pack_tokens(tokens)
        node, at = self._root, 0
        while (child := node.children.get(packed[at : at + TOKEN_BYTES])) is not None:
            shared = common_tokens(child.label, 0, packed, at) * TOKEN_BYTES
            node, at = child, at + shared
            if shared < len(child.label):
                break
        if at == 0 or node.newest is None:
            return 0, None
        return at // TOKEN_BYTES, node.newest[1]

    def _place(self, node: _Node[V], packed: bytes, value: V) -> None:
        """Puts the value at the end of a run that begins below a node."""
        at = 0
        while (child := node.children.get(packed[at : at + TOKEN_BYTES])) is not None:
            shared = common_tokens(child.label, 0, packed, at) * TOKEN_BYTES
            node = child if shared == len(child.label) else _split(node, child, shared)
            at += shared
        if at < len(packed):
            leaf = _Node(node, packed[at:])
            node.children[leaf.label[:TOKEN_BYTES]] = leaf
            node = leaf
        self._settle(node, value)

    def _settle(self, node: _Node[V], value: V) -> None:
        self._order += 1
        node.values[value] = self._order
        self._ends[value] = node
        above: _Node[V] | None = node
        while above is not None:
            above.newest = (self._order, value)
            above = above.parent

    def _merge(self, node: _Node[V], parent: _Node[V]) -> None:
        """Joins a node that became a mere stop on the way with the only one below it."""
        (child,) = node.children.values()
        child.label = node.label + child.label
        child.parent = parent
        parent.children[child.label[:TOKEN_BYTES]] = child


def _split(parent: _Node[V], node: _Node[V], at: int) -> _Node[V]:
    """Parts a node's label at a byte; gives the new upper node."""
    upper = _Node(parent, node.label[:at])
    parent.children[upper.label[:TOKEN_BYTES]] = upper
    node.label = node.label[at:]
    node.parent = upper
    upper.children[node.label[:TOKEN_BYTES]] = node
    upper.refresh()
    return upper
