"""Files → tensors: opens a checkpoint without running code from it.

.safetensors, single or sharded by an index.json, and what torch.save writes, through
torch.load(weights_only=True). Formats that can run code are refused unless the user trusts the file.
"""

from cohaudit.loading.checkpoint._checkpoint import Checkpoint
from cohaudit.loading.checkpoint._checks import check_finite
from cohaudit.loading.checkpoint._load import load_checkpoint

__all__ = ["Checkpoint", "check_finite", "load_checkpoint"]
