"""Hostile files, texts and pictures, made of the choices of one ``Random``: seeded, hypothesis' or the fuzzer's bytes.

Well-formed in most parts and lying in a few, since what is broken everywhere is refused at the first byte.
"""

import json
import math
import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from imagdressing_core.application.strengths import LAYER_PRESETS, SCHEDULES
from imagdressing_core.model.garment import Garment, GarmentImage, LayerKV, Origin
from imagdressing_core.model.layers import LAYERS

Random = random.Random
Made = Callable[[Random], bytes]

NUMBERS = (0, 1, 2, -1, 3, 255, 320, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30)
KEYS = ("ref_unet.conv_in.weight", "proj.latents", "unet.conv_in.weight", "conv_in.weight", "module",
        "0.to_k_ip.weight", "adapter_modules.0.to_k_ref.weight",
        "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_k.weight",
        "../../escape", "/etc/passwd", "", "\0", "\ud800", "é" * 300, "ref_unet." + "x" * 5000)  # fmt: skip


class Choices(random.Random):
    """The choices that a fuzzer's bytes make; when they run out, the first of everything."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        taken, self._at = self._data[self._at : self._at + size].ljust(size, b"\0"), self._at + size
        return int.from_bytes(taken, "little") >> (8 * size - k)

    def random(self) -> float:
        return self.getrandbits(53) / 2**53


def mutated(choose: Random, content: bytes) -> bytes:
    """Return it with a few bytes flipped, cut, doubled, or overwritten with numbers that mean much."""
    changed = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(changed) + 1)
        end = min(len(changed), at + choose.choice((1, 4, 8, 64, 4096)))
        match choose.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << choose.randrange(8)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = changed[at:end]
            case 3:
                changed[at : at + 8] = struct.pack("<Q", choose.choice(NUMBERS) % 2**64)
            case 4:
                changed[at:at] = choose.randbytes(choose.choice((1, 4, 16)))
            case _:
                del changed[at:]
    return bytes(changed)


# safetensors

SAFE_DTYPES = ("F16", "F32", "BF16", "F64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "I64", "U8", "BOOL",
               "C64", "U64", "X", "", "f16")  # fmt: skip
SAFE_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8}


def safetensors_file(choose: Random, names: tuple[str, ...], shapes: dict[str, Any], metadata: Any) -> bytes:
    """Return a safetensors file that may lie about its length, offsets, shapes and types."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata is not None else {}
    end = 0
    for name in names:
        dtype = choose.choice(("F16",) * 12 + SAFE_DTYPES)
        shape = (
            shapes.get(name, [2, 3])
            if choose.randrange(12)
            else [choose.choice(NUMBERS) for _ in range(choose.randrange(4))]
        )
        count = 1
        for side in shape:
            count *= side
        size = count * SAFE_BYTES.get(dtype, 1) if 0 <= count < 200_000 else 16
        offsets = [end, end + size]
        if not choose.randrange(20):
            offsets[choose.randrange(2)] = choose.choice(NUMBERS)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end += size
    if not choose.randrange(12):
        header[choose.choice(KEYS)] = choose.choice((1, None, [], {}, {"dtype": "F16"}, "x" * 1000))
    encoded = json.dumps(header).encode()
    if not choose.randrange(12):
        encoded = choose.choice(
            (
                b"[" * 10_000,
                b"{" + encoded[1:-1] + b"," + encoded[1:],
                encoded.replace(b'"F16"', b"1e999"),
                b"\xff" + encoded,
            )
        )
    length = len(encoded) if choose.randrange(10) else choose.choice(NUMBERS) % 2**64
    data = bytes(end if choose.randrange(6) else choose.choice((0, 1, end // 2, end + 1)))
    made = struct.pack("<Q", length) + encoded + data
    return made if choose.randrange(3) else mutated(choose, made)


def safetensors_checkpoint(choose: Random) -> bytes:
    keys = [key for key in KEYS if key.isprintable()]
    names = tuple(choose.choice(keys) for _ in range(choose.randint(1, 5)))
    return safetensors_file(
        choose, names, {"proj.latents": [1, 16, 768]}, choose.choice((None, {"format": "pt"}, {"a": 1}, []))
    )


ORIGIN = {"checkpoint": "a.pt", "fingerprint": "0" * 64, "fit": "pad", "width": 16, "height": 24}


def saved_garment(choose: Random) -> bytes:
    """Return a saved garment whose tensors, origins or format may be wrong."""
    if not choose.randrange(8):
        return mutated(choose, whole_garment())
    parts = choose.choice((("k", "v"), ("k", "v"), ("c",)))
    names = [f"0.{part}.{layer.index}" for part in parts for layer in LAYERS] + ["0.thumbnail"]
    shapes = {f"0.{part}.{layer.index}": [1, 2, layer.channels] for part in parts for layer in LAYERS}
    shapes["0.thumbnail"] = choose.choice(([4, 4, 3], [4], [0, 0, 3]))
    if not choose.randrange(4):
        names[choose.randrange(len(names))] = choose.choice(("0.k.1", "1.k.0", "../0", "x" * 3000))
    origins: Any = [dict(ORIGIN) for _ in range(choose.choice((1, 1, 1, 0, 2, 1000)))]
    if origins and not choose.randrange(3):
        origins[0][choose.choice((*ORIGIN, "surplus"))] = choose.choice((None, True, -1, 10**30, "x" * 5000, [], {}))
    encoded = json.dumps(choose.choice((origins, origins, origins, {}, 7, None, {"0": 1}, ["a"], [[]])))
    encoded = encoded if choose.randrange(8) else choose.choice(("[" * 50_000, "9" * 10_000, "", "NaN", '{"a":'))
    metadata: Any = {"imagdressing.garment": "1", "imagdressing.version": "0", "imagdressing.origins": encoded}
    if not choose.randrange(8):
        metadata[choose.choice(tuple(metadata))] = choose.choice(("2", "", "\n" * 500, 1, None))
    return safetensors_file(choose, tuple(dict.fromkeys(names)), shapes, metadata)


@cache
def whole_garment() -> bytes:
    import tempfile
    from pathlib import Path

    from imagdressing_core.files.garment_file import save_garment

    tokens = {layer.index: torch.zeros(1, 2, layer.channels).half() for layer in LAYERS}
    picture = GarmentImage(
        {index: LayerKV(one, one) for index, one in tokens.items()},
        Origin(**ORIGIN),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "garment.safetensors"
        save_garment(Garment((picture,)), path)
        return path.read_bytes()


# Texts

PIECES = ("0", "1", "15", "16", "-1", "0.5", "1e3", "1e400", "nan", "inf", "-inf", "1_0", "٣", "0x1", "1" * 400, " ",
          "\n", "\0", "\ud800", "None", "__import__('os').system('touch executed')", "{0.__class__}", "%s", "x" * 3000,
          *LAYER_PRESETS, *SCHEDULES)  # fmt: skip


def weights_text(choose: Random) -> str:
    """Return weights by layer or a schedule, or what looks like them."""
    if not choose.randrange(3):
        return "".join(choose.choice((*PIECES, ",", ":")) for _ in range(choose.randrange(12)))
    count = choose.choice((1, 2, 5, 16, 17, 2000))
    pieces = choose.choice((PIECES, ("1", "0.5", "-3", "1e1"), ("0", "1", "0.25")))
    return ",".join(f"{i / choose.choice((1, count))}:{choose.choice(pieces)}" for i in range(count))


# Manifests

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
    "=1+1",
)
COLUMNS = ("picture", "garment", "garment_mask", "pose", "face", "prompt", "pictrue", "", "\ufeffpicture", "x" * 3000)


def manifest(choose: Random, suffix: str) -> bytes:
    """Return rows of a manifest as CSV or JSON, some of them wrong in form or in what they name."""
    columns = ["picture", "garment", *(choose.choice(COLUMNS) for _ in range(choose.randrange(3)))]
    cell = lambda: f"{choose.randrange(100)}.png" if choose.randrange(4) else choose.choice(CELLS)  # noqa: E731
    rows = [
        [cell() for _ in columns[: choose.choice((None, None, None, 1))]] for _ in range(choose.choice((0, 1, 3, 300)))
    ]
    if suffix == ".csv":
        quote = lambda value: '"' + value.replace('"', '""') + '"' if choose.randrange(9) else value  # noqa: E731
        made = "\n".join(",".join(map(quote, row)) for row in (columns, *rows)).encode()
    else:
        whole: Any = [dict(zip(columns, row, strict=False)) for row in rows]
        if whole and not choose.randrange(4):
            whole[0] = choose.choice((None, 7, [], {"picture": 7}, {"picture": ["a"], "garment": {}}, {}))
        made = json.dumps(choose.choice((whole, whole, whole, {"rows": whole}, 7))).encode()
        made = (
            made if choose.randrange(12) else choose.choice((b"[" * 100_000, b"\xff\xfe", b"[" + b"9" * 10_000 + b"]"))
        )
    return made if choose.randrange(4) else mutated(choose, made)


# Training pairs

PATHS = ("a.png", "../a.png", "/dev/zero", "", "\0", "x" * 3000, None, 7, [], {"a": 1})
CAPTIONS = ("a dress", "", " ", ["a", "b"], [], [None], [["a"]], None, 7, {"a": 1}, "x" * 3000, ["\ud800"])


def pairs(choose: Random, keys: tuple[str, str, str]) -> list[Any]:
    """Return entries of training data under these names of person, garment and captions."""
    whole = lambda: dict(zip(keys, (choose.choice(PATHS), choose.choice(PATHS), choose.choice(CAPTIONS)), strict=True))  # noqa: E731
    return [
        whole() if choose.randrange(5) else choose.choice((None, 7, [], "x", {})) for _ in range(choose.randrange(6))
    ]


# Pictures

VALUES = (0.0, 0.5, 1.0, -1.0, 2.0, 1e38, -1e38, float("nan"), float("inf"), float("-inf"))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool)
LARGEST_PICTURE = 2_000_000  # numbers
SIDES = (0, 1, 7, 15, 16, 17, 64, 100, 600)


def pixels(choose: Random, rank: int, channels: tuple[int, ...] | None = None) -> Tensor:
    """Return a picture or mask of any size, type and value; for some, of another rank."""
    rank = rank if choose.randrange(8) else choose.randrange(6)
    shape = [choose.choice((0, 1, 1, 1, 2, 3)), *(choose.choice(SIDES) for _ in range(rank - 1))][:rank]
    if choose.randrange(4) and rank > 2:
        shape[0], shape[1], shape[2] = (
            choose.choice((1, 1, 2)),
            choose.choice((16, 40, 70)),
            choose.choice((16, 33, 64)),
        )
    if channels and rank > 3:
        shape[-1] = choose.choice(channels) if choose.randrange(8) else choose.choice(SIDES)
    if not choose.randrange(20) and rank > 2:
        shape[1:3] = choose.choice(((20_000, 16), (16, 20_000)))
    while math.prod(shape) > LARGEST_PICTURE:
        shape[shape.index(max(shape))] //= 2
    values = torch.full(shape, choose.choice(VALUES[:4] if choose.randrange(3) else VALUES), dtype=torch.float64)
    if values.numel() and choose.randrange(2):
        values.view(-1)[choose.randrange(values.numel())] = choose.choice(VALUES)
    made = values.nan_to_num().to(torch.uint8) if not choose.randrange(8) else values.to(choose.choice(DTYPES[:4]))
    return made.transpose(0, -1).transpose(0, -1).requires_grad_(made.is_floating_point() and not choose.randrange(9))
