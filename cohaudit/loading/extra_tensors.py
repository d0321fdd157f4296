"""Tensors of a checkpoint that are not the network's: what may be left out, and what a person must name.

Training code stores more than a network: the weights of its loss, the states of metrics, counters of tools, a
second network. What is left out is said. A layer that the model lacks is never left out by itself: it is the
sign of another model.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

_COUNTERS = {"total_ops", "total_params", "n_averaged", "num_updates"}
"""Last parts of names that tools add to a module: thop, AveragedModel, moving averages."""
_PART_OF_TRAINING = re.compile(
    r"(?:.*_)?(?:criterion|loss|losses|loss_fn|loss_func|objective|metric|metrics|acc|accuracy|auroc|f1|f1_score"
    r"|precision|recall|confmat|confusion_matrix)(?:_.*)?|(?:train|val|valid|test)_[a-z0-9_]+"
    r"|(?:class|pos|loss)_weights?|(?:.*_)?(?:ema|swa)(?:_.*)?",
    re.IGNORECASE,
)
"""First part of the name of a loss, a metric, or an averaged copy in a training module."""
_MAX_PREFIXES = 6
"""Prefixes to name in a message."""


def without_named(tensors: Mapping[str, Tensor], prefix: str, ignored: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without the prefix and without ignored names.

    Args:
        tensors: Name → weights of the checkpoint.
        prefix: Start of the network's names; empty for none.
        ignored: Patterns of names, such as aux.*; in them, * stands for anything.
    """
    patterns = [re.compile(fnmatch.translate(one)) for one in ignored]
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix) and not any(one.match(name) for one in patterns)
    }


def whole_prefixes(names: Collection[str], own: Collection[str]) -> list[str]:
    """Return every prefix under which a checkpoint has all the names of the model.

    Args:
        names: Names in the checkpoint.
        own: Names in the model, at least one.
    """
    given = set(names)
    # the shortest name is the end of the fewest others
    first = min(own, key=len)
    starts = (name.removesuffix(first) for name in names if name.endswith(f".{first}"))
    return [start for start in dict.fromkeys(starts) if all(start + name in given for name in own)]


def belongs_to_training(name: str, own: Collection[str]) -> bool:
    """Tell whether a tensor that the model lacks is of the training run, not of the network.

    Args:
        name: Name of the tensor.
        own: Names in the model.
    """
    if name.rpartition(".")[2] in _COUNTERS:
        return True
    first = name.partition(".")[0]
    # a model can have a layer called loss
    return bool(_PART_OF_TRAINING.fullmatch(first)) and not any(one.partition(".")[0] == first for one in own)


def choose_prefix_advice(prefixes: Sequence[str]) -> str:
    """Return what to do about a checkpoint that holds the model's names under several prefixes."""
    return f"choose one of its networks: {' or '.join(f'--prefix {one}' for one in prefixes[:_MAX_PREFIXES])}"
