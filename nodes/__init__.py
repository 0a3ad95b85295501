"""The nodes, and the extension through which ComfyUI takes them."""

from comfy_api.latest import ComfyExtension, io

from .apply import ApplyGarment
from .encode import EncodeGarment
from .host.folders import register_model_folder
from .loaders import ConvertCheckpoint, LoadIMAGDressingModel


class IMAGDressingExtension(ComfyExtension):
    async def on_load(self) -> None:
        register_model_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadIMAGDressingModel, EncodeGarment, ApplyGarment, ConvertCheckpoint]


async def comfy_entrypoint() -> ComfyExtension:
    return IMAGDressingExtension()
