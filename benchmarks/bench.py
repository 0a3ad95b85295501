"""Every measurement of speed and memory, part by part: ``python benchmarks/bench.py [part …]``; without a part, all.

Each part is a process of its own, saves each row as soon as it is known, and replaces only its own rows. At the end
``results/tables.md`` and ``results/ratios.svg`` are made of everything that is there.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

# part → (script with its arguments, what it answers)
PARTS = {
    "sampling": ("sampling.py", "How long is a step: plain SD1.5, these nodes, the official pipeline?"),
    "attention-pytorch": (
        "sampling.py --attention pytorch --rounds 6",
        "The same with PyTorch's, the default on a GPU.",
    ),
    "attention-split": ("sampling.py --attention split", "The same with ComfyUI's split attention."),
    "fused-attention": ("fused_attention.py", "Would one call for the base's and the garment's attention be faster?"),
    "compiled": ("sampling.py --attention pytorch --compiled --sizes 256x320", "The same behind TorchCompileModel."),
    "picture": ("picture.py", "How long are 50 steps with everything that is done once per garment?"),
    "growth": ("growth.py", "How does a step grow with garments, their size, the batch and the picture's size?"),
    "memory": ("memory.py", "How much memory does a garment take, at the peak of sampling and between runs?"),
    "loading": ("loading.py", "How long does the checkpoint take to load, against reading its bytes?"),
    "profile": ("step_profile.py", "Where does the time of a step go?"),
    "profile-pytorch": ("step_profile.py --attention pytorch", "The same with PyTorch's attention."),
    "flops": ("flops.py", "How much arithmetic does a garment add?"),
    "import": ("import_time.py", "What does the pack add to ComfyUI's start?"),
    "metrics": ("metrics.py", "How fast is the evaluation?"),
    "training": ("training.py", "What does a training step cost against the official loop's arrangement?"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(f"{part:18} {question}" for part, (_, question) in PARTS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="part", choices=[[], *PARTS], default=[])
    failed = [part for part in parser.parse_args().parts or PARTS if not run(PARTS[part][0])]
    run("report.py")
    sys.exit(f"These parts failed: {', '.join(failed)}" if failed else None)


def run(command: str) -> bool:
    print(f"\n{command}", flush=True)
    script, *arguments = command.split()
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent / "scripts")}
    return subprocess.run([sys.executable, FOLDER / script, *arguments], env=environment, check=False).returncode == 0


if __name__ == "__main__":
    main()
