"""The published model files that workflows, messages and README name: where each comes from and where it belongs."""

from collections.abc import Iterable
from dataclasses import dataclass, field

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Published:
    """What identifies a published file. sha256: in hexadecimal digits; nbytes: its length; when: for people."""

    sha256: str
    nbytes: int
    when: str = field(default="", compare=False)


@dataclass(frozen=True)
class ModelFile:
    """A published model file.

    folder: below ComfyUI's ``models``; repository, source: on the Hugging Face Hub; size: as published, rounded.
    published: every version that has had this name, newest first, where they are known.
    """

    name: str
    folder: str
    repository: str
    source: str
    size: str
    licence: str
    published: tuple[Published, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def url(self) -> str:
        return f"{HUB}/{self.repository}/resolve/main/{self.source}"


GARMENT = ModelFile(
    "IMAGDressing-v1_512.pt",
    "imagdressing",
    "feishen29/IMAGDressing",
    "IMAGDressing-v1_512.pt",
    "5.27 GB",
    "non-commercial research only",
    (
        # By their LFS pointers, and discussion #1 there for the newer one.
        Published("945283c6ee9f4eed0f503187a030a3e01543698c1e28cfd91f6fa0d75a8e71c4", 5_267_356_577, "December 2024"),
        Published("c37a38119c1420735345013ce79b28f927f877267297780b6669f0faa9701ce6", 3_547_959_907, "July 2024"),
    ),
)
DENOISING = ModelFile(
    "Realistic_Vision_V4.0.safetensors",
    "checkpoints",
    "SG161222/Realistic_Vision_V4.0_noVAE",
    "Realistic_Vision_V4.0.safetensors",
    "4.27 GB",
    "CreativeML Open RAIL-M",
)
VAE = ModelFile(
    "vae-ft-mse-840000-ema-pruned.safetensors",
    "vae",
    "stabilityai/sd-vae-ft-mse-original",
    "vae-ft-mse-840000-ema-pruned.safetensors",
    "335 MB",
    "MIT",
)
CLIP_VISION = ModelFile(
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    "clip_vision",
    "h94/IP-Adapter",
    "models/image_encoder/model.safetensors",
    "2.53 GB",
    "Apache-2.0",
)
CONTROLNET = ModelFile(
    "control_v11p_sd15_openpose_fp16.safetensors",
    "controlnet",
    "comfyanonymous/ControlNet-v1-1_fp16_safetensors",
    "control_v11p_sd15_openpose_fp16.safetensors",
    "723 MB",
    "CreativeML Open RAIL-M",
)
CONTROLNET_INPAINT = ModelFile(
    "control_v11p_sd15_inpaint_fp16.safetensors",
    "controlnet",
    "comfyanonymous/ControlNet-v1-1_fp16_safetensors",
    "control_v11p_sd15_inpaint_fp16.safetensors",
    "723 MB",
    "CreativeML Open RAIL-M",
)
CARTOON = ModelFile(
    "Counterfeit-V3.0_fp16.safetensors",
    "checkpoints",
    "gsdf/Counterfeit-V3.0",
    "Counterfeit-V3.0_fp16.safetensors",
    "4.24 GB",
    "CreativeML Open RAIL-M",
)
SAM3 = ModelFile(
    "sam3.1_multiplex_fp16.safetensors",
    "checkpoints",
    "Comfy-Org/sam3.1",
    "checkpoints/sam3.1_multiplex_fp16.safetensors",
    "1.7 GB",
    "SAM License",
)
SDPOSE = ModelFile(
    "sdpose_wholebody_fp16.safetensors",
    "checkpoints",
    "Comfy-Org/SDPose",
    "checkpoints/sdpose_wholebody_fp16.safetensors",
    "1.9 GB",
    "see its page",
)
BIREFNET = ModelFile(
    "birefnet.safetensors",
    "background_removal",
    "Comfy-Org/BiRefNet",
    "background_removal/birefnet.safetensors",
    "0.4 GB",
    "MIT",
)
MAGIC_CLOTHING = ModelFile(
    "magic_clothing_768_vitonhd_joint.safetensors",
    "imagdressing",
    "ShineChen1024/MagicClothing",
    "magic_clothing_768_vitonhd_joint.safetensors",
    "3.44 GB",
    "CC BY-NC-SA 4.0",
)
MAGIC_CLOTHING_EXTRACTOR = ModelFile(
    "garment_extractor.safetensors",
    "imagdressing",
    "ShineChen1024/MagicClothing",
    "stable_ckpt/garment_extractor.safetensors",
    "3.44 GB",
    "CC BY-NC-SA 4.0",
)
MAGIC_CLOTHING_LAYERS = ModelFile(
    "ip_layer.pth",
    "imagdressing",
    "ShineChen1024/MagicClothing",
    "stable_ckpt/ip_layer.pth",
    "99.1 MB",
    "CC BY-NC-SA 4.0",
)

BASE_FILES = (GARMENT, DENOISING, VAE, CLIP_VISION)
WORKFLOW_FILES = (*BASE_FILES, CONTROLNET, CONTROLNET_INPAINT, CARTOON, SAM3, SDPOSE, BIREFNET)
ALL_FILES = (*WORKFLOW_FILES, MAGIC_CLOTHING, MAGIC_CLOTHING_EXTRACTOR, MAGIC_CLOTHING_LAYERS)


def where_to_put(files: Iterable[ModelFile]) -> str:
    """Return instructions for putting ``files`` into place by hand; ``models`` stands for ComfyUI's folder."""
    return "\n".join(_where_to_put(file) for file in files)


def _where_to_put(file: ModelFile) -> str:
    renamed = "" if file.source.endswith(file.name) else f" (rename {file.source.rpartition('/')[2]})"
    sums = "".join(f"\n    sha256 {known.sha256}, {known.nbytes:,} bytes" for known in file.published[:1])
    return f"  models/{file.path}  {file.size}, {file.licence}{renamed}\n    {file.url}{sums}"
