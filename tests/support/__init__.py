"""The tests' library, which demo and benchmarks use too. It is importable where ``tests`` is on PYTHONPATH.

- The real ComfyUI: ``comfyui_release`` (fetched), ``comfyui_process`` (in this process), ``comfyui_server`` (by HTTP),
  ``shipped_prompts`` (our workflows, to be queued), ``editor`` (in a browser), ``fresh`` (newly installed).
- Models: ``synthetic_models`` (official formats, full size), ``narrow_unet`` and ``narrow_encoder`` (SD1.5's structure
  in ComfyUI's classes, for whatever is not about widths or files), ``tiny_*`` (miniatures in folder formats).
- Oracles: ``plain_reference`` (hybrid attention by hooks), ``parity`` and ``layer_parity`` (the official numbers),
  ``straightforward_cami`` (the official scores), ``contract`` (what was released).
- What others do: ``other_nodes`` (nodes beside ours), ``bad_checkpoints`` and ``known_files`` (files from strangers),
  ``faults`` (allocations that fail), ``hub`` (the model hub).
"""
