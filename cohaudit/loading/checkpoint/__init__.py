"""Checkpoints: reads the weights from a file without running code from it.

Reads .safetensors files, sharded ones through their index.json, and files of torch.save through
torch.load(weights_only=True). Formats that can run code are refused unless the user trusts the file.
"""

from cohaudit.loading.checkpoint._checkpoint import Checkpoint
from cohaudit.loading.checkpoint._checks import can_compute, check_finite, check_usable
from cohaudit.loading.checkpoint._load import load_checkpoint
from cohaudit.loading.checkpoint._torch_file import load_content

__all__ = ["Checkpoint", "can_compute", "check_finite", "check_usable", "load_checkpoint", "load_content"]
