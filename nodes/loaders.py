"""Loading and converting IMAGDressing checkpoints."""

from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..imagdressing_core.files.checkpoint import DTYPES, convert_checkpoint, read_checkpoint
from ..imagdressing_core.files.diagnosis import OFFICIAL_NAME
from .comfyui.feedback import SAYS_AGAIN, progress_bar, said
from .comfyui.folders import CHECKPOINTS
from .comfyui.garment_encoder import load_garment_encoder
from .comfyui.wires import require_option
from .sockets import CATEGORY, IMAGDressingModel


def _model_name_input() -> io.Combo.Input:
    return io.Combo.Input(
        "model_name",
        options=CHECKPOINTS.names(),
        default=OFFICIAL_NAME,
        tooltip=f"A file in models/imagdressing: {OFFICIAL_NAME} as published, or a .safetensors file converted from "
        "it.",
    )


class LoadIMAGDressingModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingModelLoader",
            display_name="Load IMAGDressing Model",
            category=CATEGORY,
            description="Loads the garment U-Net, the Q-Former and the garment projections, which encode a garment.",
            search_aliases=["imagdressing", "magic clothing checkpoint"],
            inputs=[_model_name_input()],
            outputs=[IMAGDressingModel.Output(display_name="imagdressing", tooltip="For Encode Garment.")],
            **SAYS_AGAIN,
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None) -> bool | str:
        return CHECKPOINTS.check(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None) -> tuple[str, int, int] | None:
        return CHECKPOINTS.fingerprint(model_name)

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        checkpoint = read_checkpoint(CHECKPOINTS.path(model_name), progress_bar(), mapped=not args.disable_mmap)
        encoder = load_garment_encoder(checkpoint)
        used = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
        dtype = str(checkpoint.dtype).removeprefix("torch.")
        text = f"Loaded ({checkpoint.variant} format) in {dtype}: {used / 1e9:.2f} GB of memory."
        return io.NodeOutput(encoder, ui=said(text))


class ConvertCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IMAGDressingConvertCheckpoint",
            display_name="Convert Checkpoint",
            category=CATEGORY,
            description="Writes a .safetensors file with only the parts that the nodes use, beside the other "
            "checkpoints: safe to share and about half the size.",
            search_aliases=["imagdressing", "safetensors", "convert"],
            inputs=[
                _model_name_input(),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="fp16",
                    tooltip="Precision of the weights in the new file. The official file has fp16.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None) -> bool | str:
        return CHECKPOINTS.check(model_name)

    @classmethod
    def fingerprint_inputs(cls, model_name: str | None, dtype: str | None) -> tuple[str, int, int] | None:
        return CHECKPOINTS.fingerprint(model_name)  # a file that was replaced is converted again

    @classmethod
    def execute(cls, model_name: str, dtype: str) -> io.NodeOutput:
        require_option("dtype", dtype, DTYPES)
        done = convert_checkpoint(
            CHECKPOINTS.path(model_name), CHECKPOINTS.first(), dtype, progress_bar(), mapped=not args.disable_mmap
        )
        report = f"{done.path}\n{done.source_bytes / 1e9:.2f} GB → {done.converted_bytes / 1e9:.2f} GB"
        return io.NodeOutput(ui=ui.PreviewText(report).as_dict() | said(report))
