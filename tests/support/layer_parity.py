"""Equation 5 layer by layer, in any precision: each layer's output against float64 from that step's own Q, K and V.

In half precision the synthetic weights turn rounding into a tenth of the whole prediction, with a garment or without
one, so the prediction's error says little there. A single layer's error does, and so does how many times larger the
prediction's error is than plain SD1.5's. ``make gpu`` prints the rows at full
size; ``tests/comfyui/test_layer_parity.py`` asserts them of the narrow U-Net.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from support import comfyui_process as comfyui
from support import parity
from support.parity import Row, relative_error, vectors
from support.plain_reference import plain_attention
from support.sampling import apply_garment

LIMITS = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 2e-2}
OVER_PLAIN = 1.5
TIMESTEP = 501
HEADS = 8
Seen = dict[str, Tensor]
"""Of one layer: "q", "k", "v" (rows, tokens, C), and "z", what reaches ``to_out``."""


def computing_in(model: Any, dtype: str) -> Any:
    return comfyui.call("ModelComputeDtype", model=model, dtype=dtype)


@contextmanager
def watching(model: Any) -> Iterator[tuple[dict[int, Seen], list[bool]]]:
    """While it lasts, note what each layer has, {layer index: …}, and which rows are conditional."""
    unet = model.model.diffusion_model
    seen: dict[int, Seen] = {}
    conditional: list[bool] = []

    def note_rows(_: Any, __: Any, given: dict[str, Any]) -> None:
        conditional[:] = [torch.equal(row, vectors()["input.prompt"][0].to(row)) for row in given["context"]]

    with ExitStack() as hooks:
        hooks.callback(unet.register_forward_pre_hook(note_rows, with_kwargs=True).remove)
        for layer in comfyui.pack("imagdressing_core.model.layers").LAYERS:
            attention, found = unet.get_submodule(f"{layer.ldm_name}.attn1"), seen.setdefault(layer.index, {})

            def note(name: str, found: Seen = found) -> Any:
                return lambda _, __, out: found.__setitem__(name, out)

            def note_z(_: Any, given: tuple[Tensor], found: Seen = found) -> None:
                found["z"] = given[0]

            for name in "qkv":
                module = getattr(attention, f"to_{name}")
                hooks.callback(module.register_forward_hook(note(name)).remove)
            hooks.callback(attention.to_out.register_forward_pre_hook(note_z).remove)
        yield seen, conditional


def rows_of_layers(plain: Any, garment: Any, dtype: str) -> Iterator[Row]:
    """Compare a step that ComfyUI computes in this precision, the unconditional rows too."""
    model = computing_in(apply_garment(plain, garment), dtype)
    with watching(model) as (seen, conditional):
        parity.noise_prediction(model, TIMESTEP, cfg=7.5)
    image, errors = garment.images[0], {True: [], False: []}
    for index, layer in seen.items():
        for i, has_garment in enumerate(conditional):
            expected = plain_attention(layer["q"][i], layer["k"][i], layer["v"][i], HEADS)
            if has_garment:
                k, v = (tensor[0].to(layer["q"]) for tensor in (image.layers[index].k, image.layers[index].v))
                expected = expected + plain_attention(layer["q"][i], k, v, HEADS)
            errors[has_garment].append(relative_error(layer["z"][i], expected.cpu()))
    for has_garment, name in ((True, "with the garment"), (False, "without")):
        assert len(errors[has_garment]) == 16
        yield Row(f"Eq. 5 from the step's own Q, K, V, rows {name}, {dtype}", max(errors[has_garment]), LIMITS[dtype])


def row_over_plain(plain: Any, garment: Any, dtype: str) -> Row:
    """Return how many times plain SD1.5's error the error with a garment is, both against their own float32."""
    ours, theirs = (
        relative_error(*(parity.noise_prediction(computing_in(model, one), TIMESTEP).cpu() for one in (dtype, "fp32")))
        for model in (apply_garment(plain, garment), plain)
    )
    return Row(f"noise prediction's error over plain SD1.5's ({theirs:.1e}), {dtype}", ours / theirs, OVER_PLAIN)


def main() -> None:
    plain, garment = parity.dressing_model(), parity.encoded()[0].garment
    print("| what | relative error | limit |\n| --- | --- | --- |")
    for dtype in LIMITS:
        for row in rows_of_layers(plain, garment, dtype):
            print(f"| {row.what} | {row.error:.1e} | {row.limit:.0e} |", flush=True)
    for dtype in ("fp16", "bf16"):
        row = row_over_plain(plain, garment, dtype)
        print(f"| {row.what} | {row.error:.2f} times | {row.limit} |", flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
