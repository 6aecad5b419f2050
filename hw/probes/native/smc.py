"""The system management controller: temperatures, fans and the power of the whole machine.

The structure has 80 bytes and goes to selector 2 of AppleSMCKeysEndpoint, as smcFanControl and macmon use it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

Exchange = Callable[[bytes], "bytes | None"]
"""Sends a structure and gives the one that comes back; None where it is refused."""

LENGTH: Final = 80
_READ_BYTES: Final = 5
_READ_KEY: Final = 8
_READ_INFO: Final = 9
_SIZE_AT: Final = 28
_TYPE_AT: Final = 32
_RESULT_AT: Final = 40
_COMMAND_AT: Final = 42
_INDEX_AT: Final = 44
_BYTES_AT: Final = 48
_MOST_BYTES: Final = 32
_MOST_KEYS: Final = 8192
_CHIP_SENSORS: Final = ("Tp", "Te", "Ts", "Tg")
_COLDEST_C: Final = 15.0
_HOTTEST_C: Final = 130.0
"""A core that is switched off reads 0 to 9 °C, an unconnected sensor -21.5 °C."""
_MOST_FANS: Final = 16


@dataclass(frozen=True, slots=True)
class SmcReading:
    """One look at the sensors; None is what cannot be read."""

    temperature_c: float | None = None
    """The hottest sensor of CPU and GPU."""
    fan_rpm: float | None = None
    """The fastest fan; 0 is one that stands still."""
    system_w: float | None = None


@dataclass(slots=True)
class Smc:
    """Reads keys over an open connection; which sensors there are is found at the first look."""

    exchange: Exchange
    _sensors: Sequence[str] | None = None
    _types: dict[str, tuple[int, str]] = field(default_factory=dict[str, "tuple[int, str]"])

    def read(self) -> SmcReading:
        """Reads the sensors."""
        if self._sensors is None:
            self._sensors = [key for key in self._list_keys() if key.startswith(_CHIP_SENSORS) and self._info(key)[1] == "flt "]
        heat = hottest(self.read_number(key) for key in self._sensors)
        fans = self.read_fan_count() or 0
        speeds = [self.read_number(f"F{fan}Ac") for fan in range(min(fans, _MOST_FANS))]
        power = self.read_number("PSTR")
        return SmcReading(heat, max((rpm for rpm in speeds if rpm is not None and rpm >= 0), default=None), power or None)

    def read_fan_count(self) -> int | None:
        """Reads how many fans there are; 0 is a machine without."""
        count = self.read_number("FNum")
        return int(count) if count is not None else None

    def read_number(self, key: str) -> float | None:
        """Reads a key's number."""
        size, kind = self._info(key)
        if not 0 < size <= _MOST_BYTES:
            return None
        answer = self._ask(request(key, _READ_BYTES, size=size))
        return to_number(kind, answer[_BYTES_AT : _BYTES_AT + size]) if answer is not None else None

    def _info(self, key: str) -> tuple[int, str]:
        if key not in self._types:
            answer = self._ask(request(key, _READ_INFO))
            self._types[key] = to_info(answer) if answer is not None else (0, "")
        return self._types[key]

    def _list_keys(self) -> list[str]:
        count = self.read_number("#KEY") or 0
        answers = (self._ask(request("", _READ_KEY, index=place)) for place in range(min(int(count), _MOST_KEYS)))
        return [answer[3::-1].decode("ascii", "replace") for answer in answers if answer is not None]

    def _ask(self, wanted: bytes) -> bytes | None:
        answer = self.exchange(wanted)
        if answer is None or len(answer) < LENGTH or answer[_RESULT_AT] != 0:
            return None
        return answer


def request(key: str, command: int, *, size: int = 0, index: int = 0) -> bytes:
    """Makes the structure of a command; a key is a number whose highest byte is its first letter."""
    structure = bytearray(LENGTH)
    structure[0:4] = key.encode("ascii").ljust(4, b"\0")[::-1]
    struct.pack_into("<I", structure, _SIZE_AT, size)
    structure[_COMMAND_AT] = command
    struct.pack_into("<I", structure, _INDEX_AT, index)
    return bytes(structure)


def to_info(answer: bytes) -> tuple[int, str]:
    """Takes size and type of a key's value from an answer."""
    size: int = struct.unpack_from("<I", answer, _SIZE_AT)[0]
    return size, answer[_TYPE_AT : _TYPE_AT + 4][::-1].decode("ascii", "replace")


def to_number(kind: str, raw: bytes) -> float | None:
    """Takes a value: `flt ` is a little-endian float, `ui8 ` to `ui32` are big-endian, `sp78` and `fpe2` fixed points."""
    match kind, len(raw):
        case "flt ", 4:
            value: float = struct.unpack("<f", raw)[0]
            return value if math.isfinite(value) else None
        case ("ui8 ", 1) | ("ui16", 2) | ("ui32", 4):
            return int.from_bytes(raw, "big")
        case "sp78", 2:
            return int.from_bytes(raw, "big", signed=True) / 256
        case "fpe2", 2:
            return int.from_bytes(raw, "big") / 4
        case _:
            return None


def hottest(values: Iterable[float | None]) -> float | None:
    """Picks the hottest of the temperatures that can be true."""
    return max((value for value in values if value is not None and _COLDEST_C <= value <= _HOTTEST_C), default=None)
