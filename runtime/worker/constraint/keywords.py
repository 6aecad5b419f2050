"""The keywords of JSON Schema, drafts 4 to 2020-12, by what is done with them.

After https://json-schema.org/draft/2020-12/json-schema-validation and the matching core document.
"""

from __future__ import annotations

from collections.abc import Mapping

from .json_types import Json

KEPT = frozenset(
    {
        "type",
        "const",
        "enum",
        "required",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    }
)
"""Given to the matcher as they are."""
NESTED = frozenset(
    {
        "properties",
        "patternProperties",
        "additionalProperties",
        "items",
        "prefixItems",
        "additionalItems",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
        "pattern",
        "format",
        "multipleOf",
    }
)
"""Given to the matcher once what is in them was looked at."""
REWRITTEN = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "uniqueItems",
        "unevaluatedProperties",
        "unevaluatedItems",
    }
)
"""The matcher does not know them; said with others where that is exact, else refused."""
REFUSED = frozenset({"contains", "$dynamicRef", "$recursiveRef"})
"""They constrain values in a way that no token-by-token matcher here can hold."""
IDLE = frozenset({"minContains", "maxContains"})
"""Without `contains` they mean nothing, and with it that one is refused."""
CONSTRAINING = KEPT | NESTED | REWRITTEN | REFUSED | IDLE
"""Whatever is not among these describes a value and does not constrain it."""
IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "$ref", "not", "if", "dependentSchemas", "dependencies", "contains"})
"""Keywords whose schemas look at the same value, and so at the same properties and items."""

_LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_IN_CALENDAR = f"^(?:[0-9]{{4}}-(?:0[13-9]|1[0-2]).*|[0-9]{{4}}-02-(?:[01]|2[0-8]).*|{_LEAP}-02-29.*)$"
_NO_LEAP_SECOND = "^[^:]*:[^:]*:[0-5].*$"
_PLAIN_LABEL = "(?:[^.]{0,2}|[^.]{2}(?:[^.-][^.]*|-(?:[^.-][^.]*)?))"

FORMATS: Mapping[str, list[Json]] = {
    "date": [{"pattern": _IN_CALENDAR}],
    "time": [{"pattern": _NO_LEAP_SECOND}],
    "date-time": [{"pattern": _IN_CALENDAR}, {"pattern": _NO_LEAP_SECOND}],
    "duration": [],
    "email": [],
    "hostname": [{"maxLength": 253}, {"pattern": f"^{_PLAIN_LABEL}(?:\\.{_PLAIN_LABEL})*$"}],
    "ipv4": [],
    "ipv6": [],
    "uuid": [],
    "uri": [],
}
"""The formats of texts that are held, and what the matcher's own idea of each is narrowed by: no 29th of February in a
common year, no leap seconds, no names in Punycode."""
IDLE_FORMATS = frozenset({"password", "binary"})
"""Formats that any text has, by https://spec.openapis.org/registry/format/."""
