"""The nodes, and the extension through which ComfyUI takes them."""

from comfy_api.latest import ComfyExtension, io

from .apply import ApplyGarment, ApplyGarmentAdvanced
from .comfyui.folders import CHECKPOINTS, GARMENTS
from .comfyui.old_template_names import keep_old_names
from .comfyui.requirements import require_only_copy, require_supported_comfyui
from .encode import EncodeGarment
from .evaluate import EvaluateGarmentFidelity
from .image import CropToMask, GarmentHeatMap, InpaintControl, PasteBack
from .loaders import ConvertCheckpoint, LoadIMAGDressingModel
from .wardrobe import JoinGarments, LoadGarment, SaveGarment

require_only_copy("IMAGDressingModelLoader")  # before ComfyUI serves this copy's web folder, too


class IMAGDressingExtension(ComfyExtension):
    async def on_load(self) -> None:
        require_supported_comfyui()
        CHECKPOINTS.register()
        GARMENTS.register()
        keep_old_names()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadIMAGDressingModel,
            EncodeGarment,
            ApplyGarment,
            ApplyGarmentAdvanced,
            SaveGarment,
            LoadGarment,
            JoinGarments,
            CropToMask,
            InpaintControl,
            PasteBack,
            GarmentHeatMap,
            EvaluateGarmentFidelity,
            ConvertCheckpoint,
        ]


async def comfy_entrypoint() -> ComfyExtension:
    return IMAGDressingExtension()
