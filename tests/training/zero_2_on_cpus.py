"""A process of a run by DeepSpeed ZeRO-2, as docs/training/zero2.yaml configures it, on a machine without a GPU.

accelerate does not know that DeepSpeed runs on CPUs: it has to find its processes set up for them already.
"""

import os
import sys
from pathlib import Path

os.environ |= {
    "DS_ACCELERATOR": "cpu",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
    "ACCELERATE_GRADIENT_CLIPPING": "1.0",
}

from accelerate.state import PartialState

from imagdressing_core.training.config import read_config
from imagdressing_core.training.trainer import train

PartialState(cpu=True)
train(read_config(Path(sys.argv[1])))
