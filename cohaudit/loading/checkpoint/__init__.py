"""Checkpoints: reads the weights from a file without running code from it.

Reads .safetensors files, sharded ones through their index.json, and files of torch.save through
torch.load(weights_only=True). Formats that can run code are refused unless the user trusts the file.
"""

from cohaudit.loading.checkpoint._checkpoint import Checkpoint
from cohaudit.loading.checkpoint._checks import check_finite
from cohaudit.loading.checkpoint._load import load_checkpoint

__all__ = ["Checkpoint", "check_finite", "load_checkpoint"]
