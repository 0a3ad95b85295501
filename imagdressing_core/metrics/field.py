"""Scores that the field expects beside the paper's, by maintained libraries; none of them is in the paper.

CLIP-I, DINO and DISTS compare a garment with the one in the image, each cut to the box of its mask and put on a white
square. FID and KID compare all images of a method with photographs of persons, so they have one value for a method.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy
from PIL import Image, ImageOps

from ..errors import packages
from .images import ImageArray, Mask, checked_mask, clip_pixels, cut_to_box, read_image
from .manifest import PairFiles
from .outcome import NoScore
from .paper import CamiProtocol, Column
from .scoring import MASKS, Score, Scorer, Scores
from .weights import CLIP, DINO, INCEPTION, VGG, load_whole, loading_weights

if TYPE_CHECKING:  # PyTorch is imported only where a score needs it
    from torch import Tensor

Compare: TypeAlias = "Callable[[Sequence[ImageArray], Sequence[ImageArray]], Tensor]"
"""Garments and images of one size → a value for each pair, (pairs,)."""
CLIP_SIDE, DISTS_SIDE = 224, 256  # DISTS' own code reduces the shorter side to 256
FEATURES = 2048
MOST_IN_A_SUBSET = 1000  # images, of KID
FID, KID = Column("FID", (), higher_is_better=False), Column("KID", (), higher_is_better=False, digits=4)
DISTANCES = {"fid": FID, "kid": KID}


def framed(image: ImageArray, mask: Mask | None, side: int) -> ImageArray:
    """Return the garment on a white square, (side, side, 3).

    Raises:
        NoScore: the mask is empty or of another size than its image.
    """
    cut, where = cut_to_box(image, checked_mask(image, mask, "image"))
    garment = numpy.where(where[..., None], cut, numpy.uint8(255))
    return numpy.array(ImageOps.pad(Image.fromarray(garment), (side, side), Image.Resampling.BICUBIC, "white"))


def _load_clip_i(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    with packages("CLIP-I"):
        from transformers import CLIPVisionModelWithProjection
    with loading_weights(CLIP, weights[0]):
        model = load_whole(CLIPVisionModelWithProjection, weights[0]).to(device)

    def embed(images: Sequence[ImageArray]) -> "Tensor":
        return model(pixel_values=clip_pixels(images, CLIP_SIDE).to(device)).image_embeds

    return _compared("clip_i", CLIP_SIDE, _cosine_of(embed))


def _load_dino(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    with packages("DINO"):
        from transformers import AutoImageProcessor, AutoModel
    with loading_weights(DINO, weights[0]):
        processor: Any = AutoImageProcessor.from_pretrained(weights[0])
        model = load_whole(AutoModel, weights[0]).to(device)
        if not hasattr(getattr(model, "embeddings", None), "cls_token"):
            raise ValueError("it has no class token, so it is no DINO")

    def embed(images: Sequence[ImageArray]) -> "Tensor":
        pixels = processor(images=list(images), return_tensors="pt").to(device)
        return model(**pixels).last_hidden_state[:, 0]  # of the class token

    return _compared("dino", CLIP_SIDE, _cosine_of(embed))


def _cosine_of(embed: Callable[[Sequence[ImageArray]], "Tensor"]) -> Compare:
    from torch.nn.functional import cosine_similarity

    return lambda ours, theirs: cosine_similarity(embed(ours), embed(theirs))


def _load_dists(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
    with packages("DISTS"):
        import torch
        from torchmetrics.functional.image.dists import DISTSNetwork
    with loading_weights(VGG, VGG.hub_id):
        model = DISTSNetwork().eval().to(device)

    def compare(ours: Sequence[ImageArray], theirs: Sequence[ImageArray]) -> "Tensor":
        pixels = (torch.from_numpy(numpy.stack(one)).to(device).movedim(-1, 1) / 255 for one in (ours, theirs))
        return model(*pixels).reshape(-1)

    return _compared("dists", DISTS_SIDE, compare)


def _compared(term: str, side: int, compare: Compare) -> Score:
    """Return the function that scores pairs by ``compare``, which takes framed garments and framed images."""
    import torch

    def framed_all(images: list[ImageArray], masks: list[Mask | None]) -> list[ImageArray]:
        return [framed(image, mask, side) for image, mask in zip(images, masks, strict=True)]

    @torch.inference_mode()
    def scored(**parts: list[Any]) -> list[Scores]:
        garments = framed_all(parts["garment"], parts["garment_mask"])
        images = framed_all(parts["generated"], parts["generated_mask"])
        return [{term: value} for value in compare(garments, images).tolist()]

    return scored


PAIR = ("garment", "generated")
FIELD = (
    Scorer("clip-i", ("clip_i",), PAIR, _load_clip_i, takes=MASKS, weights=(CLIP,)),
    Scorer("dino", ("dino",), PAIR, _load_dino, takes=MASKS, weights=(DINO,)),
    Scorer("dists", ("dists",), PAIR, _load_dists, takes=MASKS, weights=(VGG,), lower_is_better=True, digits=4),
)


def scorer_of_distances(names: Sequence[str]) -> list[Scorer]:
    """Return what stands for the distances among the scorers of images: it names and loads their weights, no more."""

    def load(weights: Sequence[str], device: str, protocol: CamiProtocol) -> Score:
        load_inception(None if weights[0] == INCEPTION.hub_id else weights[0], device)
        return list

    return [Scorer(", ".join(names), (), (), load, weights=(INCEPTION,))] if names else []


def distances_of(
    pairs: Sequence[PairFiles], names: Sequence[str], weights: str | None, device: str
) -> dict[Column, list[dict[str, Any]]]:
    """Return each method's FID and KID from the photographs in the manifest's column ``person``, as cells of a table.

    Args:
        pairs: All images.
        names: Of :data:`DISTANCES`.
        weights: The Inception file of torch-fidelity, which fetches it where it is None.
        device: Where it runs.

    Raises:
        IMAGDressingError: a package or the weights are missing.
    """
    if not names:
        return {}
    inception = load_inception(weights, device)
    persons = list(dict.fromkeys(one.case.person for one in pairs if one.case.person is not None))
    real = _features(persons, inception, device)
    cells: dict[Column, list[dict[str, Any]]] = {DISTANCES[name]: [] for name in names}
    for method in dict.fromkeys(one.method for one in pairs):
        images = [method.folder / one.case.file_name for one in pairs if one.method == method]
        made = _features(images, inception, device)
        for name in names:
            cell = {"method": method.name, "column": DISTANCES[name].name, "of": len(images), "pictures": len(made)}
            cells[DISTANCES[name]].append(cell | {"reason": "", "note": "", "p": None} | _distance(name, real, made))
    return cells


def load_inception(weights: str | None, device: str) -> Any:
    """Return torch-fidelity's Inception, the network of the published numbers: 2048 features of images in 8 bits."""
    with packages("FID and KID"):
        import torch_fidelity  # noqa: F401  # torchmetrics says less clearly that it is missing
        from torchmetrics.image.fid import NoTrainInceptionV3
    with loading_weights(INCEPTION, weights or INCEPTION.hub_id):
        # torchmetrics' default, antialias, reduces images otherwise than torch-fidelity.
        return NoTrainInceptionV3("inception-v3-compat", ["2048"], weights, antialias=False).to(device)


def _features(paths: Sequence[Any], inception: Any, device: str) -> "Tensor":
    """Return Inception's features of all images that can be read, (images, 2048), float64 on the CPU."""
    import torch

    found = []
    for path in paths:
        try:
            pixels = torch.from_numpy(read_image(path)).movedim(-1, 0)[None].to(device)
        except NoScore:
            continue
        with torch.inference_mode():
            found.append(inception(pixels).reshape(1, -1).double().cpu())
    return torch.cat(found) if found else torch.empty(0, FEATURES)


def _distance(name: str, real: "Tensor", made: "Tensor") -> dict[str, Any]:
    """Return the mean, or the reason why there is none; KID's is of 100 subsets."""
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    if not len(real):
        return {"mean": None, "reason": "no person given"}
    if min(len(real), len(made)) < 2:
        return {"mean": None, "reason": "fewer than two images"}
    as_they_are: Any = torch.nn.Identity()  # the features are there already
    as_they_are.num_features = FEATURES
    subset = min(MOST_IN_A_SUBSET, len(real), len(made))
    metric: Any = (
        FrechetInceptionDistance(as_they_are)
        if name == "fid"
        else KernelInceptionDistance(as_they_are, subset_size=subset)
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)  # of KID's subsets
        metric.set_dtype(torch.float64)
        metric.update(real, real=True)
        metric.update(made, real=False)
        value = metric.compute()
    return {"mean": float(value if name == "fid" else value[0])}
