"""IOReport: the counters behind powermetrics, without its rights. A private library: whatever is missing gives nothing."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from functools import partial
from typing import Final

from . import libraries
from .core_foundation import CoreFoundation
from .energy import Counter, States

_call: Final = partial(libraries.call, libraries.IO_REPORT)
_POINTER: Final = libraries.POINTER
_SIMPLE: Final = 1
_STATE: Final = 2
"""kIOReportFormatSimple and kIOReportFormatState."""
_GROUPS: Final = (("Energy Model", None), ("GPU Stats", "GPU Performance States"))
_MOST_STATES: Final = 64


class IoReport:
    """Keeps a subscription and the last sample; gives what changed since."""

    def __init__(self, foundation: CoreFoundation) -> None:
        self._foundation = foundation
        self._channels: int | None = None
        self._subscription: int | None = None
        self._last: int | None = None
        self._last_s = 0.0
        self._subscribe()

    def read(self) -> tuple[list[Counter], list[States], float]:
        """Reads what changed since the last call, and the seconds in between; nothing at the first one."""
        if self._subscription is None:
            return [], [], 0.0
        now_s = time.monotonic()
        types = (_POINTER, _POINTER, _POINTER)
        sample: int | None = _call("IOReportCreateSamples", _POINTER, types, self._subscription, self._channels, None)
        if sample is None:
            return [], [], 0.0
        last, self._last = self._last, sample
        seconds, self._last_s = now_s - self._last_s, now_s
        if last is None:
            return [], [], 0.0
        delta: int | None = _call("IOReportCreateSamplesDelta", _POINTER, types, last, sample, None)
        self._foundation.release(last)
        try:
            counters: list[Counter] = []
            states: list[States] = []
            for channel in self._items(delta):
                if isinstance(channel, Counter):
                    counters.append(channel)
                else:
                    states.append(channel)
            return counters, states, seconds
        finally:
            self._foundation.release(delta)

    def _subscribe(self) -> None:
        merged: int | None = None
        for group, subgroup in _GROUPS:
            channels = self._copy_group(group, subgroup)
            if merged is None:
                merged = channels
            elif channels is not None:
                _call("IOReportMergeChannels", None, (_POINTER, _POINTER, _POINTER), merged, channels, None)
                self._foundation.release(channels)
        if merged is None:
            return
        types = (_POINTER, ctypes.c_long, _POINTER)
        self._channels = self._foundation.call("CFDictionaryCreateMutableCopy", _POINTER, types, None, 0, merged)
        self._foundation.release(merged)
        subscribed = ctypes.c_void_p()
        more = (_POINTER, _POINTER, ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint64, _POINTER)
        arguments = (None, self._channels, ctypes.byref(subscribed), 0, None)
        # There may be groups that can be found but not subscribed to: then this is NULL.
        self._subscription = _call("IOReportCreateSubscription", _POINTER, more, *arguments)

    def _copy_group(self, group: str, subgroup: str | None) -> int | None:
        whole = (ctypes.c_uint64,) * 3
        with self._foundation.string(group) as name, self._foundation.string(subgroup or "") as inner:
            arguments = (name, inner if subgroup is not None else None, 0, 0, 0)
            return _call("IOReportCopyChannelsInGroup", _POINTER, (_POINTER, _POINTER, *whole), *arguments)

    def _items(self, delta: int | None) -> Iterator[Counter | States]:
        for channel in self._foundation.items(self._foundation.find(delta, "IOReportChannels")):
            group, name = self._text("Group", channel), self._text("ChannelName", channel)
            kind = _call("IOReportChannelGetFormat", ctypes.c_uint8, (_POINTER,), channel)
            if kind in {None, _SIMPLE} and group == "Energy Model":
                value = _call("IOReportSimpleGetIntegerValue", ctypes.c_int64, (_POINTER, ctypes.c_int32), channel, 0)
                if value is not None:
                    yield Counter(group, name, self._text("UnitLabel", channel), value)
            elif kind in {None, _STATE} and group == "GPU Stats":
                yield States(group, name, tuple(self._states(channel)))

    def _states(self, channel: int) -> Iterator[tuple[str, int]]:
        count: int | None = _call("IOReportStateGetCount", ctypes.c_int32, (_POINTER,), channel)
        types = (_POINTER, ctypes.c_int32)
        for place in range(min(count or 0, _MOST_STATES)):
            name = _call("IOReportStateGetNameForIndex", _POINTER, types, channel, place)
            ticks = _call("IOReportStateGetResidency", ctypes.c_int64, types, channel, place)
            if ticks is not None:
                yield self._foundation.to_text(name) or "", ticks

    def _text(self, what: str, channel: int) -> str:
        found: int | None = _call(f"IOReportChannelGet{what}", _POINTER, (_POINTER,), channel)
        return self._foundation.to_text(found) or ""
