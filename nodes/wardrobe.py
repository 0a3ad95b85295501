"""Keeping encoded garments: saved, loaded and joined, without checkpoint, VAE or CLIP vision."""

from comfy_api.latest import io, ui

from ..imagdressing_core.files.garment_file import load_garment, save_garment
from ..imagdressing_core.model.garment import Garment, Origin
from .comfyui.counted import counted
from .comfyui.feedback import SAYS_AGAIN, said
from .comfyui.folders import GARMENTS, NOTHING_SAVED, free_garment_path
from .comfyui.wires import GARMENT, require_wires
from .sockets import CATEGORY, IMAGDressingGarment


class SaveGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingSaveGarment",
            display_name="Save Garment",
            category=CATEGORY,
            description="Saves an encoded garment in models/imagdressing_garments, so that you can use it again.",
            search_aliases=["wardrobe"],
            inputs=[
                IMAGDressingGarment.Input("garment", tooltip="From Encode Garment or Join Garments."),
                io.String.Input(
                    "filename_prefix",
                    default="garment",
                    tooltip="Name of the file; the node adds a number. It may begin with a folder, as in summer/shirt, "
                    "and contain the patterns of Save Image, such as %date:yyyy-MM-dd% or %KSampler.seed%.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, garment: Garment, filename_prefix: str) -> io.NodeOutput:
        require_wires(garment=(garment, GARMENT))
        origin = garment.images[0].origin
        path = free_garment_path(filename_prefix, origin.width, origin.height)
        save_garment(garment, path)
        report = f"{path}\n{path.stat().st_size / 1e6:.0f} MB"
        return io.NodeOutput(ui=ui.PreviewText(report).as_dict() | said(report))


class LoadGarment(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingLoadGarment",
            display_name="Load Garment",
            category=CATEGORY,
            description="Loads a saved garment, without checkpoint, VAE or CLIP vision.",
            search_aliases=["wardrobe"],
            inputs=[
                io.Combo.Input(
                    "garment_name",
                    options=GARMENTS.names() or [NOTHING_SAVED],
                    tooltip="A file that Save Garment wrote.",
                )
            ],
            outputs=[
                IMAGDressingGarment.Output(display_name="garment", tooltip="For Apply Garment and Join Garments.")
            ],
            **SAYS_AGAIN,
        )

    @classmethod
    def validate_inputs(cls, garment_name: str | None) -> bool | str:
        return GARMENTS.check(garment_name)

    @classmethod
    def fingerprint_inputs(cls, garment_name: str | None) -> tuple[str, int, int] | None:
        return GARMENTS.fingerprint(garment_name)

    @classmethod
    def execute(cls, garment_name: str) -> io.NodeOutput:
        garment = load_garment(GARMENTS.path(garment_name))
        return io.NodeOutput(counted(garment), ui=said(*(_summary(image.origin) for image in garment.images)))


def _summary(origin: Origin) -> str:
    return f"Encoded at {origin.width} × {origin.height}, fit {origin.fit}, by {origin.checkpoint}."


class JoinGarments(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingJoinGarments",
            display_name="Join Garments",
            category=CATEGORY,
            description="Joins two garments of any sizes into one: views of one garment for batch = broadcast, or one "
            "for each image of a batch for batch = one per image.",
            search_aliases=["batch of garments"],
            inputs=[
                IMAGDressingGarment.Input("garment_1", tooltip="Its images come first."),
                IMAGDressingGarment.Input("garment_2", tooltip="Its images come second."),
            ],
            outputs=[IMAGDressingGarment.Output(display_name="garment", tooltip="For Apply Garment (Advanced).")],
        )

    @classmethod
    def execute(cls, garment_1: Garment, garment_2: Garment) -> io.NodeOutput:
        require_wires(garment_1=(garment_1, GARMENT), garment_2=(garment_2, GARMENT))
        return io.NodeOutput(counted(Garment(garment_1.images + garment_2.images)))
