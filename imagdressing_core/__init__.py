"""IMAGDressing-v1 (arXiv 2407.12705) in PyTorch: the paper's parts, free of any host application."""

__version__ = "0.1.0"
