"""The few functions of CoreFoundation that reading needs; objects are addresses, and what is created is released here."""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Final

from . import libraries

_UTF8: Final = 0x08000100
_SINT64: Final = 4
_POINTER: Final = libraries.POINTER
_KINDS: Final = ("Key", "Value")


class CoreFoundation:
    """Strings, numbers, data, dictionaries and arrays."""

    @cached_property
    def available(self) -> bool:
        """Whether the library is there."""
        return libraries.open_library(libraries.CORE_FOUNDATION) is not None

    def call(self, name: str, result: Any, types: tuple[Any, ...], *arguments: object) -> Any:
        """Calls a function of the library; None where it is missing."""
        return libraries.call(libraries.CORE_FOUNDATION, name, result, types, *arguments)

    def release(self, address: int | None) -> None:
        """Gives an object back; None is none."""
        if address:
            self.call("CFRelease", None, (_POINTER,), address)

    @contextmanager
    def string(self, text: str) -> Generator[int | None]:
        """Makes a string for as long as the context lasts."""
        types = (_POINTER, ctypes.c_char_p, ctypes.c_uint32)
        made: int | None = self.call("CFStringCreateWithCString", _POINTER, types, None, text.encode(), _UTF8)
        try:
            yield made
        finally:
            self.release(made)

    def to_text(self, address: int | None) -> str | None:
        """Takes a string's text; None for what is no string."""
        if not self.is_of(address, "CFString"):
            return None
        buffer = ctypes.create_string_buffer(512)
        types = (_POINTER, ctypes.c_char_p, ctypes.c_long, ctypes.c_uint32)
        fits = self.call("CFStringGetCString", ctypes.c_bool, types, address, buffer, len(buffer), _UTF8)
        return buffer.value.decode("utf-8", "replace") if fits else None

    def to_integer(self, address: int | None) -> int | None:
        """Takes a number; None for what is none, or does not fit."""
        if not self.is_of(address, "CFNumber"):
            return None
        value = ctypes.c_int64()
        types = (_POINTER, ctypes.c_long, _POINTER)
        exact = self.call("CFNumberGetValue", ctypes.c_bool, types, address, _SINT64, ctypes.byref(value))
        return value.value if exact else None

    def to_bytes(self, address: int | None) -> bytes | None:
        """Takes a data object's bytes."""
        if not self.is_of(address, "CFData"):
            return None
        length: int = self.call("CFDataGetLength", ctypes.c_long, (_POINTER,), address)
        start: int | None = self.call("CFDataGetBytePtr", _POINTER, (_POINTER,), address)
        return ctypes.string_at(start, length) if start and 0 < length < 1 << 20 else None

    def find(self, dictionary: int | None, name: str) -> int | None:
        """Finds a value of a dictionary by its name; the dictionary keeps it."""
        if not self.is_of(dictionary, "CFDictionary"):
            return None
        with self.string(name) as key:
            return self.call("CFDictionaryGetValue", _POINTER, (_POINTER, _POINTER), dictionary, key) if key else None

    def items(self, array: int | None) -> Iterator[int]:
        """Goes through an array, which keeps what it holds."""
        if not self.is_of(array, "CFArray"):
            return
        count: int = self.call("CFArrayGetCount", ctypes.c_long, (_POINTER,), array)
        for place in range(count):
            item: int | None = self.call("CFArrayGetValueAtIndex", _POINTER, (_POINTER, ctypes.c_long), array, place)
            if item:
                yield item

    def is_of(self, address: int | None, kind: str) -> bool:
        """Tells whether an object is of a kind, as "CFString"."""
        if not address or not self.available:
            return False
        type_id = self.call("CFGetTypeID", ctypes.c_ulong, (_POINTER,), address)
        return type_id == self.call(f"{kind}GetTypeID", ctypes.c_ulong, ())

    @contextmanager
    def numbers(self, values: Mapping[str, int]) -> Generator[int | None]:
        """Makes a dictionary of numbers by their names for as long as the context lasts."""
        library = libraries.open_library(libraries.CORE_FOUNDATION)
        if library is None:
            yield None
            return
        with ExitStack() as stack:
            keys = [stack.enter_context(self.string(name)) for name in values]
            made = [self._number(value) for value in values.values()]
            for address in made:
                stack.callback(self.release, address)
            callbacks = [
                ctypes.addressof(ctypes.c_byte.in_dll(library, f"kCFTypeDictionary{kind}CallBacks")) for kind in _KINDS
            ]
            types = (_POINTER, _POINTER, _POINTER, ctypes.c_long, _POINTER, _POINTER)
            array = _POINTER * len(values)
            dictionary: int | None = self.call(
                "CFDictionaryCreate", _POINTER, types, None, array(*keys), array(*made), len(values), *callbacks
            )
            stack.callback(self.release, dictionary)
            yield dictionary

    def _number(self, value: int) -> int | None:
        stored = ctypes.c_int64(value)
        types = (_POINTER, ctypes.c_long, _POINTER)
        return self.call("CFNumberCreate", _POINTER, types, None, _SINT64, ctypes.byref(stored))
