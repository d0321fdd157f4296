"""Files of torch.save: unpickled with weights_only=True, which makes tensors and calls nothing else."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from cohaudit.errors import CheckpointError
from cohaudit.loading.checkpoint._checkpoint import Checkpoint, sha256_of
from cohaudit.loading.checkpoint._checks import printable
from cohaudit.loading.checkpoint._stand_ins import STAND_INS
from cohaudit.loading.checkpoint._state_dicts import choose, find_epoch, find_optimizer, find_state_dicts
from cohaudit.loading.factories import importable

_TRUST = "or, if you trust where the file comes from, pass --trust-checkpoint"
# not needed to rebuild any model: whoever wrote these into a checkpoint meant to run a command
_ATTACKS = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "eval", "exec", "__import__"}
_SAVE = "save the tensors alone: torch.save(model.state_dict(), 'weights.pt')"


def read_torch(path: Path, *, weights: str, trust: bool, legacy: bool) -> Checkpoint:
    """Read a file of torch.save and choose among its state dicts.

    Args:
        path: The file.
        weights: Which state dict; empty for the default.
        trust: Allow the file to run code, as a pickled model must.
        legacy: The file is of torch before 1.6, which cannot be memory-mapped.

    Returns:
        The chosen state dict, and the optimizer's.

    Raises:
        CheckpointError: If the file is damaged, would run code, or has no state dict, or not that one.
    """
    content = _unpickle(path, trust=trust, mmap=not legacy)
    found = find_state_dicts(content)
    if not found:
        raise CheckpointError(str(path), f"no state dict in it, only {_outline(content)}", _SAVE)
    name = choose(found, weights, str(path))
    others = [other for other in found if other != name]
    words = "torch file" + (f', state dict "{name}"' if name else "")
    words += f" (also in it: {', '.join(others)})" if others else ""
    return Checkpoint(
        str(path),
        words,
        sha256_of([path]),
        found[name],
        optimizer=find_optimizer(content),
        nested=tuple(found),
        name=name,
        epoch=find_epoch(content),
    )


def read_exported(path: Path, *, trust: bool) -> Checkpoint:
    """Read the weights of a program of torch.export.

    Args:
        path: The .pt2 file.
        trust: Allow the file to run code: torch.export.load may unpickle without restraint.

    Returns:
        The program's state dict.

    Raises:
        CheckpointError: If not trusted, or damaged.
    """
    if not trust:
        raise CheckpointError(
            str(path),
            "a program of torch.export, whose opening can run code from the file",
            f"{_SAVE}, {_TRUST}",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on how the file was written, which its reader cannot change
        try:
            program = torch.export.load(path)
        except Exception as error:
            raise CheckpointError(str(path), f"cannot be read: {_first_line(error)}", _SAVE) from error
    tensors = {name: tensor.detach() for name, tensor in program.state_dict.items()}
    return Checkpoint(str(path), "torch.export program", sha256_of([path]), tensors)


def refuse_torchscript(path: Path) -> CheckpointError:
    """Explain how to get the weights out of a TorchScript file.

    Args:
        path: The file.

    Returns:
        The error to raise.
    """
    return CheckpointError(
        str(path),
        "a TorchScript program, not weights alone",
        f"take its weights: torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pt')",
    )


def _unpickle(path: Path, *, trust: bool, mmap: bool) -> Any:
    with warnings.catch_warnings(), importable(*([path.absolute().parent, Path.cwd()] if trust else [])):
        warnings.simplefilter("ignore")  # on how the file was written, which its reader cannot change
        try:
            with torch.serialization.safe_globals(STAND_INS):
                return torch.load(path, map_location="cpu", mmap=mmap, weights_only=not trust)
        except Exception as error:  # a damaged pickle can raise anything
            raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> CheckpointError:
    """Put the unpickler's complaint into words: code in the file, or damage."""
    text = str(error)
    name = re.search(r"\bGLOBAL (\S+)", text)
    if name is None:
        is_code_missing = isinstance(error, AttributeError | ImportError)
        remedy = _SAVE if is_code_missing else "download or save it again"
        return CheckpointError(str(path), f"cannot be read: {_first_line(error)}", remedy)
    shown = ascii(name[1])[1:-1]
    if _ATTACKS & set(shown.split(".")):
        return CheckpointError(
            str(path),
            f"opening it would run code from the file: it calls {shown}. Nothing was run.",
            "do not use this file, weights have no use for that: get them from a source you trust",
        )
    whole = "a whole pickled model, " if shown.startswith("torch.nn.modules.") else ""
    return CheckpointError(
        str(path),
        f"{whole}not tensors alone: opening it would run the code of {shown}. Nothing was run.",
        f"{_SAVE}, {_TRUST}",
    )


def _first_line(error: Exception) -> str:
    """Return an exception's own complaint, without torch's advice around it."""
    text = str(error).partition("WeightsUnpickler error:")[2] or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[0] if lines else type(error).__name__).split(". ")[0]


def _outline(content: Any) -> str:
    """Return what there is instead of a state dict, in a few words."""
    if isinstance(content, dict):
        keys = [ascii(key) for key in dict.keys(content)]
        return f"a dictionary with {', '.join(keys[:8])}" if keys else "an empty dictionary"
    return f"an object of type {type(content).__name__}"
