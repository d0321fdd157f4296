"""Removes the prefixes that DataParallel, torch.compile and Lightning add to the names of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

_PREFIXES = ("module.", "_orig_mod.", "model.")
"""Prefixes that DataParallel, torch.compile and Lightning put before every name."""

_MAX_NESTED_PREFIXES = 4
"""Prefixes to remove from one name at most, so that no name makes the search endless."""

_UPDATE_COUNT = "n_averaged"
"""Key under which torch.optim.swa_utils.AveragedModel counts its updates; not a weight."""


def strip_prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Remove the combination of wrapper prefixes that matches most names of the model.

    Args:
        tensors: Name → weights of the checkpoint.
        own: Name → weights of the model.

    Returns:
        The prefix removed, empty if the names match best as they are; and the tensors under the new names.
    """
    best = ""
    best_names = {name: name for name in tensors}
    for prefix, names in _strippings("", best_names):
        # strictly more: on a tie the shorter prefix, which comes first, is enough
        if sum(name in own for name in names) > sum(name in own for name in best_names):
            best = prefix
            best_names = names
    if "module." in best and _UPDATE_COUNT not in own:
        best_names.pop(_UPDATE_COUNT, None)
    return best, {name: tensors[original] for name, original in best_names.items()}


def _strippings(
    prefix: str, names: dict[str, str], depth: int = _MAX_NESTED_PREFIXES
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every way to remove prefixes: the whole prefix, and new name → name in the file."""
    for part in _PREFIXES if depth else ():
        shorter = {_without(part, name): original for name, original in names.items()}
        # two names that become one would lose a tensor
        if len(shorter) == len(names) and shorter.keys() != names.keys():
            yield prefix + part, shorter
            yield from _strippings(prefix + part, shorter, depth - 1)


def _without(part: str, name: str) -> str:
    """Return a name without one wrapper's prefix."""
    # torch.compile can wrap a part of a model, so its prefix can stand anywhere in a name
    return name.replace(part, "") if part == "_orig_mod." else name.removeprefix(part)
