"""Which chip stands behind a Mac's model id, and whether a Mac has a fan or is a virtual machine.

Ids that stand for more than one chip, or of which sources disagree (the MacBook Pros with M5 Pro and M5 Max), are left out.
Sources: the recordings beside this project, and Apple's pages that identify models (support.apple.com/108052 and its like).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_MAC: Final = re.compile(r"Mac([0-9]{1,3}),[0-9]{1,3}")

CHIP_BY_MODEL: Final[Mapping[str, str]] = {
    model: f"Apple {chip}"
    for chip, models in {
        "M1": "MacBookAir10,1 MacBookPro17,1 Macmini9,1 iMac21,1 iMac21,2",
        "M1 Pro": "MacBookPro18,1 MacBookPro18,3",
        "M1 Max": "MacBookPro18,2 MacBookPro18,4 Mac13,1",
        "M1 Ultra": "Mac13,2",
        "M2": "Mac14,2 Mac14,3 Mac14,7 Mac14,15",
        "M2 Pro": "Mac14,9 Mac14,10 Mac14,12",
        "M2 Max": "Mac14,5 Mac14,6 Mac14,13",
        "M2 Ultra": "Mac14,8 Mac14,14",
        "M3": "Mac15,3 Mac15,4 Mac15,5 Mac15,12 Mac15,13",
        "M3 Pro": "Mac15,6 Mac15,7",
        "M3 Max": "Mac15,8 Mac15,9 Mac15,10 Mac15,11",
        "M3 Ultra": "Mac15,14",
        "M4": "Mac16,1 Mac16,2 Mac16,3 Mac16,10 Mac16,12 Mac16,13",
        "M4 Pro": "Mac16,7 Mac16,8 Mac16,11",
        "M4 Max": "Mac16,5 Mac16,6 Mac16,9",
        "M5": "Mac17,2 Mac17,3 Mac17,4",
        "A18 Pro": "Mac17,5",
    }.items()
    for model in models.split()
}

FANLESS_MACS: Final = frozenset(
    {"MacBookAir10,1", "Mac14,2", "Mac14,15", "Mac15,12", "Mac15,13", "Mac16,12", "Mac16,13", "Mac17,3", "Mac17,4", "Mac17,5"}
    | {"MacBook8,1", "MacBook9,1", "MacBook10,1"}
)
_NEWEST_LISTED_MAC: Final = 17
_OLDEST_LISTED_MAC: Final = 13
_VIRTUAL_MODELS: Final = ("VirtualMac", "VMware", "Parallels")
_NAMES_WITH_A_FAN: Final = ("MacBook Pro", "Mac mini", "Mac Studio", "Mac Pro", "iMac")


def is_virtual_model(model: str) -> bool:
    """Tells whether a model id is one of a virtual machine."""
    return model.startswith(_VIRTUAL_MODELS)


def is_fanless(model: str) -> bool | None:
    """Tells whether a Mac of this model id has no fan; None for other machines and for Macs newer than the list."""
    if model in FANLESS_MACS:
        return True
    match = _MAC.fullmatch(model)
    if match is not None:
        return False if _OLDEST_LISTED_MAC <= int(match[1]) <= _NEWEST_LISTED_MAC else None
    return False if re.match(r"(MacBookPro|MacBookAir|Macmini|iMac|iMacPro|MacPro)[0-9]", model) else None


def is_fanless_by_name(name: str, *, apple_silicon: bool | None) -> bool | None:
    """Tells the same by what people call a Mac: an Air has no fan where its chip is Apple's, and one where it is Intel's."""
    if name.startswith("MacBook Neo"):
        return True
    if name.startswith("MacBook Air"):
        return apple_silicon
    return False if name.startswith(_NAMES_WITH_A_FAN) else None
