"""IMAGDressing-v1 (arXiv 2407.12705) in PyTorch: the paper's parts, without ComfyUI."""

from .errors import IMAGDressingError

__version__ = "0.1.0"

__all__ = ["IMAGDressingError", "__version__"]
