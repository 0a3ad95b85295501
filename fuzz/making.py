"""Hostile files, texts and pictures, made of the choices of one ``Random``: seeded, hypothesis' or the fuzzer's bytes.

Well-formed in most parts and lying in a few, since what is broken everywhere is refused at the first byte.
"""

import io
import json
import math
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from imagdressing_core.garment import Garment, GarmentPicture, Origin
from imagdressing_core.layers import LAYERS
from imagdressing_core.pickled import LEGACY
from imagdressing_core.strengths import LAYER_PRESETS, SCHEDULES

Random = random.Random
Made = Callable[[Random], bytes]

NUMBERS = (0, 1, 2, -1, 3, 255, 320, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 10**30)
KEYS = ("ref_unet.conv_in.weight", "proj.latents", "unet.conv_in.weight", "conv_in.weight", "module",
        "0.to_k_ip.weight", "adapter_modules.0.to_k_ref.weight",
        "up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_k.weight",
        "../../escape", "/etc/passwd", "", "\0", "\ud800", "é" * 300, "ref_unet." + "x" * 5000)  # fmt: skip
CODE = (("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "open"),
        ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "bytearray"), ("subprocess", "Popen"),
        ("socket", "create_connection"), ("shutil", "rmtree"), ("importlib", "import_module"), ("torch", "load"),
        ("torch.hub", "load_state_dict_from_url"), ("torch", "Tensor"), ("collections", "Counter"),
        ("_codecs", "encode"), ("torch.serialization", "_get_layout"), ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch._utils", "_rebuild_qtensor"), ("torch._utils", "_rebuild_meta_tensor_no_storage"),
        ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"), ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch._utils", "_rebuild_wrapper_subclass"), ("numpy.core.multiarray", "_reconstruct"))  # fmt: skip
PLAIN_CODE = (("collections", "OrderedDict"), ("__builtin__", "set"), ("torch", "Size"), ("torch", "float16"),
              ("torch._utils", "_rebuild_parameter"), ("torch._utils", "_rebuild_tensor_v3"))  # fmt: skip
STORAGES = ("Float", "Half", "BFloat16", "Double", "Byte", "Long", "Bool", "ComplexFloat", "QInt8")
CANARY = "touch executed"


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


# Pickles


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + b"(" + b"".join(arguments) + b"tR"


def tensor(choose: Random) -> bytes:
    """Return the pickle of a tensor that may lie about its storage, sizes, strides and offset."""
    any_number = lambda: choose.choice((1, 1, 2, 4, choose.choice(NUMBERS)))  # noqa: E731
    size = choose.choice(((1,), (320, 4, 3, 3), (1, 16, 768), tuple(any_number() for _ in range(choose.randrange(5)))))
    stride = (0,) * len(size) if choose.randrange(3) else tuple(any_number() for _ in size)
    storage = b"(" + text("storage") + named("torch", f"{choose.choice(STORAGES)}Storage")
    storage += text(choose.choice(("0", "1", "../0"))) + text(choose.choice(("cpu", "cuda:0", "meta", "nowhere")))
    storage += number(any_number()) + b"tQ"
    sizes, strides = (b"(" + b"".join(map(number, part)) + b"t" for part in (size, stride))
    hooks = called("collections", "OrderedDict")
    metadata = choose.choice((b"", b"", b"}" + text("neg") + b"\x88s", b"}" + text("conj") + b"\x88s"))
    return called(
        "torch._utils", "_rebuild_tensor_v2", storage, number(choose.choice((0, 0, any_number()))), sizes, strides,
        choose.choice((b"\x89", b"\x88")), hooks, metadata,
    )  # fmt: skip


def value(choose: Random, depth: int = 3) -> bytes:
    """Return the pickle of anything, some of it code."""
    inner = lambda: value(choose, depth - 1)  # noqa: E731
    match choose.randrange(14 if depth else 5):
        case 0:
            return tensor(choose)
        case 1:
            return choose.choice((b"N", b"\x88", b")", b"}", b"]", b"h\x00", b"h\x01", b"G" + bytes(8)))
        case 2:
            return number(choose.choice(NUMBERS))
        case 3:
            return text(choose.choice(KEYS))
        case 4:
            return named(*choose.choice((*CODE, *PLAIN_CODE)))
        case 5 | 6:
            return called(*choose.choice(CODE), text(CANARY))
        case 7:
            return called(*choose.choice((*CODE, *PLAIN_CODE)), *(inner() for _ in range(choose.randrange(4))))
        case 8:
            return inner() + b"\x85" * choose.choice((1, 2, 100, 200_000))
        case 9:
            return b"}q\x00" + text("self") + b"h\x00s"  # a dictionary in itself
        case 10:
            return b"".join((b"}", *(b"q\x01}(" + text("a") + b"h\x01" + text("b") + b"h\x01u" for _ in range(40))))
        case 11:
            return called("collections", "OrderedDict") + b"}" + text(choose.choice(("get", "items"))) + inner() + b"sb"
        case 12:
            return choose.choice((b"K\x07Q", inner() + b"Q", b"\x93", b"0", b"2", b"iposix\nsystem\n", b"\x82\x01"))
        case _:
            return mapping(choose, depth - 1)


def mapping(choose: Random, depth: int = 3) -> bytes:
    """Return the pickle of a dictionary, most of its keys names of a checkpoint's parts."""
    keys = (text(choose.choice(KEYS)) if choose.randrange(8) else value(choose, 0) for _ in range(choose.randint(1, 4)))
    return b"}q\x00(" + b"".join(key + value(choose, depth) for key in keys) + b"u"


def pickled(choose: Random) -> bytes:
    made = mapping(choose)
    if choose.randrange(2):
        made = b"}" + text("module") + made + b"s"
    made = b"\x80\x02" + made + b"."
    return made if choose.randrange(3) else mutated(choose, made)


def zip_checkpoint(choose: Random) -> bytes:
    """Return a .pt of today's format: an archive that may be packed, doubled, misnamed, commented or cut."""
    if not choose.randrange(8):
        return mutated(choose, whole_checkpoint(zipped=True) if not choose.randrange(8) else small_checkpoint())
    written = io.BytesIO()
    packing = choose.choice((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED,))
    root = choose.choice(("a", "a", "a", "..", "/", "a/../b", "é"))
    with zipfile.ZipFile(written, "w", packing) as archive:
        archive.writestr(
            f"{root}/{choose.choice(('data.pkl', 'data.pkl', 'DATA.PKL', 'constants.pkl'))}", pickled(choose)
        )
        for name in ("version", "byteorder", ".format_version", ".storage_alignment", "data/0", "data/1", "data.pkl"):
            if not choose.randrange(3):
                archive.writestr(
                    f"{root}/{name}", choose.choice((b"3\n", b"little", b"big", bytes(64), bytes(100_000)))
                )
        archive.comment = choose.choice((b"", b"", b"", b"PK\x05\x06" + bytes(18)))
    made = choose.choice((b"", b"", b"", b"before")) + written.getvalue()
    return made if choose.randrange(3) else mutated(choose, made)


def legacy_checkpoint(choose: Random) -> bytes:
    """Return a .pt of the format before zip: pickles one after the other, then numbers, any of it announced wrongly."""
    keys = b"\x80\x02](" + b"".join(text(choose.choice(("0", "1", "x"))) for _ in range(choose.randrange(3))) + b"e."
    numbers = struct.pack("<Q", choose.choice((1, 4, 16, choose.choice(NUMBERS) % 2**64))) + bytes(64)
    # A storage has one entry more here: what it is a view of.
    content = pickled(choose).replace(b"tQ", choose.choice((b"NtQ", text("0") + number(0) + number(2**40) + b"\x87tQ")))
    made = LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + content + keys + numbers
    if not choose.randrange(4):
        made = choose.choice(
            (whole_checkpoint(zipped=False) if not choose.randrange(4) else pickled(choose), made[14:])
        )
    return made if choose.randrange(3) else mutated(choose, made)


@cache
def whole_checkpoint(zipped: bool) -> bytes:
    """Return a checkpoint whole in names and shapes, whose tensors are views of one number each."""
    from imagdressing_core.checkpoint import expected_shapes

    return _saved({key: torch.ones(1).half().expand(shape) for key, shape in expected_shapes().items()}, zipped)


@cache
def small_checkpoint() -> bytes:
    return _saved(
        {"ref_unet.conv_in.weight": torch.zeros(1).expand(320, 4, 3, 3), "proj.latents": torch.zeros(2)}, True
    )


def _saved(weights: dict[str, Tensor], zipped: bool) -> bytes:
    written = io.BytesIO()
    torch.save({"module": weights}, written, _use_new_zipfile_serialization=zipped)
    return written.getvalue()


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

    from imagdressing_core.wardrobe import save_garment

    tokens = {layer.index: torch.zeros(1, 2, layer.channels).half() for layer in LAYERS}
    picture = GarmentPicture({"k": tokens, "v": tokens}, Origin(**ORIGIN), torch.zeros(4, 4, 3, dtype=torch.uint8))
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
