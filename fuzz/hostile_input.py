"""Hostile files, texts and images as strategies of hypothesis, which shrinks whatever fails to the smallest that does.

Well-formed in most parts and lying in a few, since a reader refuses at the first byte what is broken everywhere.
"""

import json
import math
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES
from imagdressing_core.files.garment_file import save_garment
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS

Bytes = SearchStrategy[bytes]

NUMBERS = (0, 1, 2, -1, 3, 255, 320, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30)
KEYS = ("ref_unet.conv_in.weight", "proj.latents", "unet.conv_in.weight", "conv_in.weight", "module",
        "0.to_k_ip.weight", "adapter_modules.0.to_k_ref.weight",
        "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_k.weight",
        "../../escape", "/etc/passwd", "", "\0", "\ud800", "é" * 300, "ref_unet." + "x" * 5000)  # fmt: skip


def one_of(*values: Any) -> SearchStrategy[Any]:
    """Return a strategy for one of these; the first is the simplest, and what is named twice is twice as likely."""
    return st.sampled_from(values)


def mostly(usual: Any, rare: SearchStrategy[Any], of: int = 8) -> SearchStrategy[Any]:
    """Return a strategy for the usual, a value or a strategy, and once in ``of`` times for the rare."""
    usually = usual if isinstance(usual, SearchStrategy) else st.just(usual)
    return st.integers(1, of).flatmap(lambda n: rare if n == of else usually)


def damaged(content: Bytes, of: int = 3) -> Bytes:
    """Return a strategy for the content, once in ``of`` times flipped, cut, doubled or overwritten in a few places."""
    edit = st.tuples(
        one_of("cut", "remove", "double", "put", "flip"),
        st.floats(0, 1),
        one_of(1, 4, 8, 64, 4096),
        one_of(*NUMBERS).map(lambda n: struct.pack("<Q", n % 2**64)) | st.binary(min_size=1, max_size=16),
    )
    return st.tuples(content, mostly([], st.lists(edit, min_size=1, max_size=4), of)).map(_edited)


def _edited(content_and_edits: tuple[bytes, list[tuple[str, float, int, bytes]]]) -> bytes:
    content, edits = content_and_edits
    changed = bytearray(content)
    for kind, place, size, put in edits:
        at = round(place * len(changed))
        match kind:
            case "cut":
                del changed[at:]
            case "remove":
                del changed[at : at + size]
            case "double":
                changed[at:at] = changed[at : at + size]
            case "put":
                changed[at : at + len(put)] = put
            case _:
                changed[at : at + 1] = bytes(byte ^ (1 << size % 8) for byte in changed[at : at + 1])
    return bytes(changed)


# safetensors

SAFE_DTYPES = ("F16", "F32", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "I64", "U8", "BOOL",
               "C64", "U64", "X", "", "f16")  # fmt: skip
SAFE_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}
LIE = (
    st.fixed_dictionaries({"dtype": one_of(*SAFE_DTYPES)})
    | st.fixed_dictionaries({"shape": st.lists(one_of(*NUMBERS), max_size=3)})
    | st.fixed_dictionaries({"data_offsets": st.lists(one_of(*NUMBERS), min_size=2, max_size=2)})
)


@st.composite
def safetensors_files(draw: DrawFn, names: list[str], shapes: dict[str, Any], metadata: Any) -> bytes:
    """Return a safetensors file that may lie about its length, offsets, shapes and types."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    lies = draw(mostly({}, st.dictionaries(one_of(*names), LIE, min_size=1, max_size=3), 3))
    end = 0
    for name in names:
        told = {"dtype": "F16", "shape": shapes.get(name, [2, 3])} | lies.get(name, {})
        count = math.prod(told["shape"])
        size = count * SAFE_BYTES.get(told["dtype"], 1) if 0 <= count < 200_000 else 16
        header[name] = {"data_offsets": [end, end + size]} | told
        end += size
    surplus = one_of(1, None, [], {}, {"dtype": "F16"}, "x" * 1000)
    header |= draw(mostly({}, st.dictionaries(one_of(*KEYS), surplus, min_size=1, max_size=1)))
    encoded = json.dumps(header).encode()
    broken = one_of(
        b"[" * 10_000,
        b"{" + encoded[1:-1] + b"," + encoded[1:],
        encoded.replace(b'"F16"', b"1e999"),
        b"\xff" + encoded,
    )
    encoded = draw(mostly(encoded, broken))
    length = draw(mostly(len(encoded), one_of(*NUMBERS)))
    return struct.pack("<Q", length % 2**64) + encoded + bytes(draw(mostly(end, one_of(0, 1, end // 2, end + 1))))


@st.composite
def safetensors_checkpoints(draw: DrawFn) -> bytes:
    names = draw(st.lists(one_of(*(key for key in KEYS if key.isprintable())), min_size=1, max_size=5, unique=True))
    metadata = draw(one_of(None, {"format": "pt"}, {"a": 1}, []))
    return draw(damaged(safetensors_files(names, {"proj.latents": [1, 16, 768]}, metadata)))


ORIGIN = {"checkpoint": "a.pt", "fingerprint": "0" * 64, "fit": "pad", "width": 16, "height": 24}


@st.composite
def saved_garments(draw: DrawFn) -> bytes:
    """Return a saved garment whose tensors, origins or format may be wrong."""
    parts = draw(one_of("kv", "kv", "c"))
    shapes = {f"0.{part}.{layer.index}": [1, 2, layer.channels] for part in parts for layer in LAYERS}
    shapes["0.thumbnail"] = draw(one_of([4, 4, 3], [4], [0, 0, 3]))
    names = list(shapes)
    replaced = st.dictionaries(one_of(*names), one_of("0.k.1", "1.k.0", "../0", "x" * 3000), min_size=1, max_size=2)
    replaced = draw(mostly({}, replaced))
    names = list(dict.fromkeys(replaced.get(name, name) for name in names))
    origins: list[Any] = [dict(ORIGIN)] * draw(one_of(1, 1, 1, 0, 2, 1000))
    wrong = one_of(None, True, -1, 10**30, "x" * 5000, [], {})
    lie = draw(mostly({}, st.dictionaries(one_of(*ORIGIN, "surplus"), wrong, min_size=1, max_size=2), 3))
    origins[:1] = [origin | lie for origin in origins[:1]]
    encoded = json.dumps(draw(mostly(origins, one_of({}, 7, None, {"0": 1}, ["a"], [[]]))))
    encoded = draw(mostly(encoded, one_of("[" * 50_000, "9" * 10_000, "", "NaN", '{"a":')))
    metadata: Any = {"imagdressing.garment": "1", "imagdressing.version": "0", "imagdressing.origins": encoded}
    metadata |= draw(mostly({}, st.dictionaries(one_of(*metadata), one_of("2", "", "\n" * 500, 1, None), min_size=1)))
    made = safetensors_files(names, shapes, metadata)
    return draw(damaged(mostly(made, st.builds(whole_garment)), 5))


@cache
def whole_garment() -> bytes:
    tokens = {layer.index: torch.zeros(1, 2, layer.channels).half() for layer in LAYERS}
    layers = {index: LayerKV(one, one) for index, one in tokens.items()}
    image = GarmentImage(layers, Origin(**ORIGIN), torch.zeros(4, 4, 3, dtype=torch.uint8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "garment.safetensors"
        save_garment(Garment((image,)), path)
        return path.read_bytes()


# Texts

PIECES = ("0", "1", "15", "16", "-1", "0.5", "1e3", "1e400", "nan", "inf", "-inf", "1_0", "٣", "0x1", "1" * 400, " ",
          "\n", "\0", "\ud800", "None", "__import__('os').system('touch executed')", "{0.__class__}", "%s", "x" * 3000,
          *LAYER_PRESETS, *SCHEDULES)  # fmt: skip


@st.composite
def _pairs_of_text(draw: DrawFn) -> str:
    count = draw(one_of(1, 2, 5, 16, 17, 2000))
    values = draw(st.lists(mostly("1", one_of(*PIECES, "-3", "0.25")), min_size=1, max_size=5))
    places = draw(one_of(1, count))
    return ",".join(f"{i / places}:{values[i % len(values)]}" for i in range(count))


WEIGHTS_TEXTS = _pairs_of_text() | st.lists(one_of(",", ":", *PIECES), max_size=12).map("".join)
"""Weights by layer or a schedule, or what looks like them."""


# Manifests of the evaluation, and training pairs

CELLS = (
    "a.png",
    "../a.png",
    "/etc/passwd",
    "",
    "\0",
    "a\nb",
    '"',
    "x" * 3000,
    "é",
    "..\\a",
    "a/../../b",
    "C:\\a",
    "=1",
)
COLUMNS = ("picture", "garment", "garment_mask", "pose", "face", "prompt", "pictrue", "", "\ufeffpicture", "x" * 3000)
PATHS = ("a.png", "../a.png", "/dev/zero", "", "\0", "x" * 3000, None, 7, [], {"a": 1})
CAPTIONS = ("a dress", "", " ", ["a", "b"], [], [None], [["a"]], None, 7, {"a": 1}, "x" * 3000, ["\ud800"])


@st.composite
def manifests(draw: DrawFn) -> tuple[str, bytes]:
    """Return a suffix, and rows as CSV or JSON, some of them wrong in form or in what they name."""
    columns = ["picture", "garment", *draw(st.lists(one_of(*COLUMNS), max_size=2))]
    cell = mostly(st.integers(0, 99).map("{}.png".format), one_of(*CELLS), 4)
    row = mostly(st.lists(cell, min_size=len(columns), max_size=len(columns)), st.lists(cell, max_size=1))
    rows = draw(st.lists(row, max_size=3)) * draw(one_of(1, 1, 1, 100))
    if draw(st.booleans()):
        quoted = draw(mostly(True, st.just(False), 4))
        cells = [['"' + c.replace('"', '""') + '"' if quoted else c for c in one] for one in (columns, *rows)]
        return ".csv", draw(damaged(st.just("\n".join(map(",".join, cells)).encode()), 4))
    whole: Any = [dict(zip(columns, one, strict=False)) for one in rows]
    whole[:1] = draw(
        mostly(whole[:1], st.just([]) | one_of(None, 7, [], {"picture": 7}, {"picture": ["a"]}).map(_alone))
    )
    made = json.dumps(draw(mostly(whole, one_of({"rows": whole}, 7)))).encode()
    return ".json", draw(damaged(mostly(made, one_of(b"[" * 100_000, b"\xff\xfe", b"[" + b"9" * 10_000 + b"]"), 12), 4))


def _alone(value: Any) -> list[Any]:
    return [value]


def training_pairs(keys: tuple[str, str, str], join: Callable[[list[Any]], str]) -> Bytes:
    """Return a strategy for entries under these names of person, garment and captions, joined to a file."""
    entry = st.tuples(one_of(*PATHS), one_of(*PATHS), one_of(*CAPTIONS)).map(lambda e: dict(zip(keys, e, strict=True)))
    entries = st.lists(mostly(entry, one_of(None, 7, [], "x", {}), 5), max_size=5)
    return damaged(entries.map(lambda found: join(found).encode()))


# Images

VALUES = (0.5, 0.0, 1.0, -1.0, 2.0, 1e38, -1e38, float("nan"), float("inf"), float("-inf"))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8)
LARGEST = 2_000_000  # numbers
SIDES = (16, 40, 33, 64, 0, 1, 7, 15, 17, 100, 600)


@st.composite
def pixels(draw: DrawFn, rank: int, channels: tuple[int, ...] = (3,)) -> Tensor:
    """Return an image or mask of any size, type and value; some of another rank."""
    sides = [draw(one_of(1, 1, 1, 2, 3, 0)), *draw(st.lists(one_of(*SIDES), min_size=2, max_size=2))]
    sides[1:] = draw(mostly(sides[1:], one_of([20_000, 16], [16, 20_000]), 20))
    shape = sides + [draw(mostly(one_of(*channels), one_of(*SIDES)))] * (rank > 3)
    shape = draw(mostly(shape, st.lists(one_of(*SIDES), max_size=5)))
    while math.prod(shape) > LARGEST:
        shape[shape.index(max(shape))] //= 2
    values = torch.full(shape, draw(one_of(*VALUES)), dtype=torch.float64)
    if values.numel() and draw(st.booleans()):
        values.view(-1)[draw(st.integers(0, values.numel() - 1))] = draw(one_of(*VALUES))
    dtype = draw(one_of(*DTYPES))
    made = (values if dtype.is_floating_point else values.nan_to_num()).to(dtype)
    return made.requires_grad_(made.is_floating_point() and draw(mostly(False, st.just(True))))
