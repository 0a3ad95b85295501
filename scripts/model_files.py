"""The model files that the shipped workflows name: where each comes from, what it is called and where it belongs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelFile:
    """A published model file. folder: below the host's ``models``; size: as published, rounded."""

    name: str
    folder: str
    url: str
    size: str
    licence: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


HUB = "https://huggingface.co"

GARMENT = ModelFile(
    "IMAGDressing-v1_512.pt",
    "imagdressing",
    f"{HUB}/feishen29/IMAGDressing/resolve/main/IMAGDressing-v1_512.pt",
    "5.27 GB",
    "non-commercial research",
)
DRESSING = ModelFile(
    "Realistic_Vision_V4.0.safetensors",
    "checkpoints",
    f"{HUB}/SG161222/Realistic_Vision_V4.0_noVAE/resolve/main/Realistic_Vision_V4.0.safetensors",
    "4.27 GB",
    "CreativeML Open RAIL-M",
)
VAE = ModelFile(
    "vae-ft-mse-840000-ema-pruned.safetensors",
    "vae",
    f"{HUB}/stabilityai/sd-vae-ft-mse-original/resolve/main/vae-ft-mse-840000-ema-pruned.safetensors",
    "335 MB",
    "MIT",
)
CLIP_VISION = ModelFile(
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    "clip_vision",
    f"{HUB}/h94/IP-Adapter/resolve/main/models/image_encoder/model.safetensors",
    "2.53 GB",
    "Apache-2.0",
)
CONTROLNET = ModelFile(
    "control_v11p_sd15_openpose_fp16.safetensors",
    "controlnet",
    f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11p_sd15_openpose_fp16.safetensors",
    "723 MB",
    "CreativeML Open RAIL-M",
)
CONTROLNET_INPAINT = ModelFile(
    "control_v11p_sd15_inpaint_fp16.safetensors",
    "controlnet",
    f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11p_sd15_inpaint_fp16.safetensors",
    "723 MB",
    "CreativeML Open RAIL-M",
)
CARTOON = ModelFile(
    "Counterfeit-V3.0_fp16.safetensors",
    "checkpoints",
    f"{HUB}/gsdf/Counterfeit-V3.0/resolve/main/Counterfeit-V3.0_fp16.safetensors",
    "4.24 GB",
    "CreativeML Open RAIL-M",
)

BASE_FILES = (GARMENT, DRESSING, VAE, CLIP_VISION)
ALL_FILES = (*BASE_FILES, CONTROLNET)  # those that the synthetic ones stand in for
