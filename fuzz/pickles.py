"""Hostile checkpoints: pickles that lie, copy, recurse and call, in archives and in the format before zip."""

import io
import pickle
import struct
import zipfile
from functools import cache

import torch
from hostile_input import KEYS, NUMBERS, Bytes, damaged, mostly, one_of
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from imagdressing_core.files.checkpoint import expected_shapes
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


EMPTY = called("collections", "OrderedDict")


@st.composite
def tensors(draw: DrawFn) -> bytes:
    """Return the pickle of a tensor that may lie about its storage, sizes, strides and offset."""
    any_number = mostly(one_of(1, 2, 4), one_of(*NUMBERS), 4)
    size = draw(one_of((1,), (320, 4, 3, 3), (1, 16, 768)) | st.lists(any_number, max_size=4).map(tuple))
    stride = draw(mostly((0,) * len(size), st.lists(any_number, min_size=len(size), max_size=len(size)), 3))
    storage = b"(" + text("storage") + named("torch", f"{draw(one_of(*STORAGES))}Storage")
    storage += text(draw(one_of("0", "1", "../0"))) + text(draw(one_of("cpu", "cuda:0", "meta", "nowhere")))
    storage += number(draw(any_number)) + b"tQ"
    sizes, strides = (b"(" + b"".join(map(number, part)) + b"t" for part in (size, stride))
    metadata = draw(one_of(b"", b"", b"}" + text("neg") + b"\x88s", b"}" + text("conj") + b"\x88s"))
    offset, wants_gradient = number(draw(mostly(0, any_number))), draw(one_of(b"\x89", b"\x88"))
    return called(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, sizes, strides, wants_gradient, EMPTY, metadata
    )


LEAVES = st.one_of(
    tensors(),
    one_of(b"N", b"\x88", b")", b"}", b"]", b"h\x00", b"h\x01", b"G" + bytes(8), b"K\x07Q"),
    one_of(*NUMBERS).map(number),
    one_of(*KEYS).map(text),
    one_of(*CODE, *PLAIN_CODE).map(lambda name: named(*name)),
    one_of(*CODE).map(lambda name: called(*name, text(CANARY))),
    one_of(
        b"}q\x00" + text("self") + b"h\x00s",  # a dictionary in itself
        b"}" + (b"q\x01}(" + text("a") + b"h\x01" + text("b") + b"h\x01u") * 40,
        *(b"\x93", b"0", b"2", b"iposix\nsystem\n", b"\x82\x01"),
    ),
)


def mappings(values: Bytes) -> Bytes:
    """Return a strategy for pickles of dictionaries, most of their keys names of a checkpoint's parts."""
    entry = st.tuples(mostly(one_of(*KEYS).map(text), values), values).map(b"".join)
    return st.lists(entry, min_size=1, max_size=4).map(lambda entries: b"}q\x00(" + b"".join(entries) + b"u")


def _nested(inner: Bytes) -> Bytes:
    calls = st.tuples(one_of(*CODE, *PLAIN_CODE), st.lists(inner, max_size=3))
    return st.one_of(
        mappings(inner),
        calls.map(lambda call: called(*call[0], *call[1])),
        st.tuples(inner, one_of(1, 2, 100, 200_000)).map(lambda pair: pair[0] + b"\x85" * pair[1]),
        st.tuples(one_of("get", "items"), inner).map(lambda pair: EMPTY + b"}" + text(pair[0]) + pair[1] + b"sb"),
        inner.map(lambda value: value + b"Q"),
    )


VALUES = st.recursive(LEAVES, _nested, max_leaves=6)
"""Pickles of anything, some of it code."""
WHOLE = st.tuples(mappings(VALUES), st.booleans()).map(
    lambda made: b"\x80\x02" + (b"}" + text("module") + made[0] + b"s" if made[1] else made[0]) + b"."
)
PICKLES = damaged(WHOLE)


@st.composite
def _archives(draw: DrawFn) -> bytes:
    """Return a .pt of today's format: an archive that may be packed, misnamed, commented or preceded."""
    written = io.BytesIO()
    packing = draw(mostly(zipfile.ZIP_STORED, st.just(zipfile.ZIP_DEFLATED), 6))
    root = draw(mostly("a", one_of("..", "/", "a/../b", "é"), 4))
    with zipfile.ZipFile(written, "w", packing) as archive:
        archive.writestr(f"{root}/{draw(mostly('data.pkl', one_of('DATA.PKL', 'constants.pkl')))}", draw(PICKLES))
        others = one_of("version", "byteorder", ".format_version", ".storage_alignment", "data/0", "data/1", "data.pkl")
        contents = one_of(b"3\n", b"little", b"big", bytes(64), bytes(100_000))
        for name, content in draw(st.dictionaries(others, contents, max_size=4)).items():
            archive.writestr(f"{root}/{name}", content)
        archive.comment = draw(mostly(b"", st.just(b"PK\x05\x06" + bytes(18)), 4))
    return draw(mostly(b"", st.just(b"before"), 4)) + written.getvalue()


@st.composite
def _before_zip(draw: DrawFn) -> bytes:
    """Return a .pt of the format before zip: pickles one after the other, then numbers, any of it announced wrongly."""
    keys = b"\x80\x02](" + b"".join(map(text, draw(st.lists(one_of("0", "1", "x"), max_size=2)))) + b"e."
    numbers = struct.pack("<Q", draw(mostly(one_of(1, 4, 16), one_of(*NUMBERS), 4)) % 2**64) + bytes(64)
    # A storage has one entry more here: what it is a view of.
    content = draw(PICKLES).replace(b"tQ", draw(one_of(b"NtQ", text("0") + number(0) + number(2**40) + b"\x87tQ")))
    made = LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + content + keys + numbers
    return draw(mostly(made, st.just(made[14:]) | PICKLES))


ZIP_CHECKPOINTS = damaged(
    mostly(_archives(), mostly(st.builds(lambda: small_checkpoint()), st.builds(lambda: whole_checkpoint(True))))
)
LEGACY_CHECKPOINTS = damaged(mostly(_before_zip(), st.builds(lambda: whole_checkpoint(False)), 16))


@cache
def whole_checkpoint(zipped: bool) -> bytes:
    """Return a checkpoint whole in names and shapes, whose tensors are views of one number each."""
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
