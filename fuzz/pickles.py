"""Hostile checkpoints: pickles that lie, copy, recurse and call, in archives and in the format before zip."""

import io
import pickle
import struct
import zipfile
from functools import cache

import torch
from making import KEYS, NUMBERS, Random, mutated
from torch import Tensor

from imagdressing_core.files.pickled import LEGACY

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
    from imagdressing_core.files.checkpoint import expected_shapes

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
