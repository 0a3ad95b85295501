"""Everything this pack uses of ComfyUI's internals, in one place."""
