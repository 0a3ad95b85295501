"""A process of a run on several machines whose configurations differ: the n-th process trains by the n-th file."""

import os
import sys
from pathlib import Path

from imagdressing_core.training.config import read_config
from imagdressing_core.training.trainer import train

train(read_config(Path(sys.argv[1 + int(os.environ["RANK"])])))
