"""Fetching the model files: ``python path/to/ComfyUI-IMAGDressing``, with the Python that runs ComfyUI.

Python puts a folder that is run on its search path in every mode, those of Windows' portable ComfyUI included.
"""

from scripts.download_models import main

if __name__ == "__main__":
    main()
