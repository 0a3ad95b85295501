"""What the pack adds to ComfyUI's start: seconds, and modules. Writes ``results/import_time.json``.

Each measurement is a fresh process that first imports what ComfyUI has imported anyway when it reaches custom nodes.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from results_file import machine

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "import_time.json"
RUNS = 7
LIMIT_SECONDS = 0.3
HEAVY = ("accelerate", "cv2", "diffusers", "pandas", "scipy", "skimage", "sklearn", "torchvision", "transformers")


def measure_here() -> None:
    """Import the pack as ComfyUI does, in this process, and print what that added."""
    import time

    sys.path.insert(0, str(REPOSITORY / "scripts"))
    from support import comfyui_process

    comfyui_process.start(with_pack=False)
    before = set(sys.modules)
    start = time.perf_counter()
    comfyui_process.load_pack()
    seconds = time.perf_counter() - start
    added = sorted(set(sys.modules) - before)
    heavy = [name for name in HEAVY if name in added]
    print(json.dumps({"seconds": seconds, "modules": len(added), "heavy": heavy}))


def main() -> None:
    command = [sys.executable, str(Path(__file__)), "--here"]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for _ in range(RUNS)
    ]
    result = {
        "machine": machine(),
        "runs": RUNS,
        "median_seconds": round(statistics.median(run["seconds"] for run in runs), 4),
        "worst_seconds": round(max(run["seconds"] for run in runs), 4),
        "limit_seconds": LIMIT_SECONDS,
        "modules_added": runs[0]["modules"],
        "heavy_modules_added": runs[0]["heavy"],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    measure_here() if "--here" in sys.argv else main()
