"""Would one call for both attentions be faster than two? The base's rows and the garment's, stacked and apart.

The self-attention of SD1.5 at 512 × 640 with cfg: two rows attend to themselves, and the second to a garment as well.
"""

from collections.abc import Callable, Iterator

import torch
from results_file import DEVICE, Row, save
from timing import ON_GPU, against, in_turn, timed
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

HEADS = 8
LAYERS = ((5120, 320), (1280, 640), (320, 1280), (80, 1280))  # tokens, channels
REPEATS = 20 if ON_GPU else 3


def apart(q: Tensor, k: Tensor, v: Tensor, garment_k: Tensor, garment_v: Tensor) -> Tensor:
    z = scaled_dot_product_attention(q, k, v)
    return torch.cat((z[:1], z[1:] + scaled_dot_product_attention(q[1:], garment_k, garment_v)))


def stacked(q: Tensor, k: Tensor, v: Tensor, garment_k: Tensor, garment_v: Tensor) -> Tensor:
    q, k, v = (torch.cat(pair) for pair in ((q, q[1:]), (k, garment_k), (v, garment_v)))
    z = scaled_dot_product_attention(q, k, v)
    return torch.cat((z[:1], z[1:2] + z[2:]))


def repeated(attention: Callable[..., Tensor], given: tuple[Tensor, ...]) -> Callable[[int], list[float]]:
    return lambda _: [timed(lambda: attention(*given)) for _ in range(REPEATS)]


def measure() -> Iterator[Row]:
    dtype = torch.float16 if ON_GPU else torch.float32
    for tokens, channels in LAYERS:
        q, k, v = torch.randn(3, 2, HEADS, tokens, channels // HEADS, device=DEVICE, dtype=dtype)
        garment_k, garment_v = torch.randn(2, 1, HEADS, tokens, channels // HEADS, device=DEVICE, dtype=dtype)
        given = (q, k, v, garment_k, garment_v)
        torch.testing.assert_close(stacked(*given), apart(*given))
        seconds = in_turn({"stacked": repeated(stacked, given), "apart": repeated(apart, given)})
        yield against(
            f"both attentions in one call against two, {tokens} tokens, {DEVICE}", seconds["stacked"], seconds["apart"]
        )


if __name__ == "__main__":
    with torch.inference_mode():
        save("fused-attention", measure())
