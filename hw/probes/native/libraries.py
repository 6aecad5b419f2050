"""Opens macOS' libraries and names their functions' types; nothing here raises."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

log = logging.getLogger(__name__)

Function = Callable[..., Any]
"""A C function whose result and arguments have been declared."""

SYSTEM: Final = "/usr/lib/libSystem.B.dylib"
OBJC: Final = "/usr/lib/libobjc.A.dylib"
IO_REPORT: Final = "/usr/lib/libIOReport.dylib"
_FRAMEWORKS: Final = "/System/Library/Frameworks"
CORE_FOUNDATION: Final = f"{_FRAMEWORKS}/CoreFoundation.framework/CoreFoundation"
CORE_GRAPHICS: Final = f"{_FRAMEWORKS}/CoreGraphics.framework/CoreGraphics"
FOUNDATION: Final = f"{_FRAMEWORKS}/Foundation.framework/Foundation"
IO_KIT: Final = f"{_FRAMEWORKS}/IOKit.framework/IOKit"
METAL: Final = f"{_FRAMEWORKS}/Metal.framework/Metal"

POINTER: Final = ctypes.c_void_p
"""Of every CF, IOReport and Objective-C object: an int would lose its upper half."""


@cache
def open_library(path: str) -> ctypes.CDLL | None:
    """Opens a library; None where there is none, as everywhere but on macOS.

    Its files are not on the disk since macOS 11, so whether one exists is only told by opening it.
    """
    if sys.platform != "darwin":
        return None
    try:
        return ctypes.CDLL(path)
    except OSError:
        log.info("%s cannot be opened", path)
        return None


@cache
def bind(path: str, name: str, result: Any, *arguments: Any) -> Function | None:
    """Declares a function of a library; None where the library or the function is missing.

    Args:
        path: of the library.
        name: of the function.
        result: a ctypes type, or None for void.
        *arguments: ctypes types.
    """
    library = open_library(path)
    if library is None:
        return None
    try:
        function = library[name]
    except AttributeError:
        log.info("%s has no %s", path, name)
        return None
    function.restype = result
    function.argtypes = arguments
    return function


def call(path: str, name: str, result: Any, types: tuple[Any, ...], *arguments: object) -> Any:
    """Calls a function of a library; None where the library or the function is missing. The types are as bind() takes them."""
    function = bind(path, name, result, *types)
    return function(*arguments) if function is not None else None
