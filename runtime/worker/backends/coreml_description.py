"""What a Core ML model says of itself: its functions, and what each takes, gives and keeps.

A package says so in its specification, a compiled model in metadata.json; of both the same is read.

Source: https://apple.github.io/coremltools/mlmodel/Format/FeatureTypes.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import coremltools as _coremltools  # pyright: ignore[reportMissingTypeStubs]

from .backend import LoadError
from .coreml_files import check_items, check_weights

coremltools = cast("Any", _coremltools)
Shape = tuple[int, ...]
_TYPES = {65568: "float32", 65552: "float16", 131104: "int32", 65600: "float64"}
_COMPILED_TYPES = {"Float32": "float32", "Float16": "float16", "Int32": "int32", "Double": "float64"}
WINDOW = "co.huggingface.exporters.sliding_window"
"""Where swift-transformers' exporter says how far back a windowed mask may look."""


@dataclass(frozen=True, slots=True)
class Feature:
    """An input, an output or a state."""

    name: str
    shape: Shape
    """What it has unless something else is asked for; () where that is not said."""
    dtype: str = "float32"
    ranges: tuple[tuple[int, int], ...] = ()
    """The least and the largest size of each dimension, -1 without bound; () where sizes do not vary so."""
    named: tuple[Shape, ...] = ()
    """The only shapes that are allowed, in the model's order; () where they are not listed."""
    optional: bool = False

    def allows(self, shape: Shape) -> bool:
        """Says whether it may have a shape."""
        if self.named:
            return shape in self.named
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                least <= size and (most < 0 or size <= most) for size, (least, most) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape


@dataclass(frozen=True, slots=True)
class Function:
    """One way to compute with a model."""

    name: str | None
    """None where the model has but one."""
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """A whole model."""

    functions: tuple[Function, ...]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    """What whoever made it wrote into it."""


def describe(path: Path) -> Description:
    """Reads a package's or a compiled model's description, and looks whether its weights are there.

    Raises:
        LoadError: it is damaged, or half-downloaded.
    """
    if path.suffix == ".mlmodelc":
        return _describe_compiled(path)
    check_items(path)
    try:
        spec = coremltools.models.utils.load_spec(str(path))
        found = to_description(spec.description)
    except Exception as error:  # coremltools raises whatever its parts raise
        raise LoadError(
            f"the specification of '{path.name}' cannot be read: {' '.join(str(error).split())[:200]}. Download it again."
        ) from error
    check_weights(path, spec.mlProgram)
    return found


def to_description(told: Any) -> Description:
    """Reads a ModelDescription of a specification."""
    named = [_to_function(one.name, one) for one in told.functions]
    return Description(tuple(named) or (_to_function(None, told),), dict(told.metadata.userDefined))


def _to_function(name: str | None, told: Any) -> Function:
    inputs = tuple(_to_feature(one.name, one.type.multiArrayType, one.type.isOptional) for one in told.input)
    outputs = tuple(_to_feature(one.name, one.type.multiArrayType) for one in told.output)
    return Function(name, inputs, outputs, tuple(_to_feature(one.name, one.type.stateType.arrayType) for one in told.state))


def _to_feature(name: str, array: Any, optional: bool = False) -> Feature:
    ranges: tuple[tuple[int, int], ...] = ()
    named: tuple[Shape, ...] = ()
    match array.WhichOneof("ShapeFlexibility"):
        case "enumeratedShapes":
            named = tuple(_ints(one.shape) for one in array.enumeratedShapes.shapes)
        case "shapeRange":
            ranges = tuple((int(one.lowerBound), int(one.upperBound)) for one in array.shapeRange.sizeRanges)
        case _:
            pass
    return Feature(name, _ints(array.shape), _TYPES.get(array.dataType, "float32"), ranges, named, bool(optional))


def _describe_compiled(path: Path) -> Description:
    try:
        content: Any = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
        told = cast("Mapping[str, Any]", content[0])
        several = cast("list[Mapping[str, Any]]", told.get("functions") or [])
        named = [_to_compiled_function(one, str(one["name"])) for one in several]
        metadata = cast("Mapping[str, str]", told.get("userDefinedMetadata") or {})
        return Description(tuple(named) or (_to_compiled_function(told, None),), metadata)
    except FileNotFoundError as error:
        raise LoadError(
            f"'{path.name}' has no metadata.json, which describes it. Download it again, or its .mlpackage."
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LoadError(f"'{path.name}/metadata.json' cannot be read: {error}. Download it again.") from error


def _to_compiled_function(told: Mapping[str, Any], name: str | None) -> Function:
    parts = (
        tuple(_to_compiled_feature(one) for one in told.get(key) or ())
        for key in ("inputSchema", "outputSchema", "stateSchema")
    )
    return Function(name, *parts)


def _to_compiled_feature(told: Mapping[str, Any]) -> Feature:
    """Reads one entry; all its values are texts, and the shapes in them are JSON."""
    named = json.loads(told.get("enumeratedShapes") or "[]")
    return Feature(
        str(told["name"]),
        _ints(json.loads(told.get("shape") or "[]")),
        _COMPILED_TYPES.get(str(told.get("dataType")), "float32"),
        tuple((int(least), int(most)) for least, most in json.loads(told.get("shapeRange") or "[]")),
        tuple(_ints(one) for one in named),
        str(told.get("isOptional", "0")) == "1",
    )


def _ints(values: Iterable[Any]) -> Shape:
    return tuple(int(value) for value in values)
