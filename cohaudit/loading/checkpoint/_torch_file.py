"""Reads files of torch.save with weights_only=True, which makes tensors and calls no other code."""

from __future__ import annotations

import itertools
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from cohaudit.errors import CheckpointError, printable
from cohaudit.loading.checkpoint._checkpoint import Checkpoint, sha256_of
from cohaudit.loading.checkpoint._identify import READ_AGAIN
from cohaudit.loading.checkpoint._plain import as_plain
from cohaudit.loading.checkpoint._stand_ins import STAND_INS
from cohaudit.loading.checkpoint._state_dicts import choose, find_epoch, find_optimizer, find_state_dicts
from cohaudit.loading.factories import importable
from cohaudit.untrusted import current_limits, rehearse
from cohaudit.untrusted.limits import RAISE_MEMORY, RAISE_SECONDS
from cohaudit.untrusted.zips import check_unpacked, listed

_TRUST_THE_FILE = "or, if you trust the source of the file, pass --trust-checkpoint"
"""Remedy for a file whose opening runs code."""
_ATTACK_NAMES = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "eval", "exec", "__import__"}
"""Names in a pickle that no model needs: a file with one of these was made to run a command."""
_SAVE_WEIGHTS_ONLY = "save only the weights: torch.save(model.state_dict(), 'weights.pt')"
"""Remedy for a file that holds more than tensors."""
_LONGEST_REASON = 300
"""Characters of torch's own explanation to show."""
_MAX_KEYS_SHOWN = 8
"""Keys of a dictionary to list in a message."""


def read_torch(path: Path, *, weights: str, trust: bool, legacy: bool) -> Checkpoint:
    """Read a file of torch.save and choose one of its state dicts.

    Args:
        path: The file.
        weights: Name of the state dict; empty for the default.
        trust: Whether the file may run code, as a pickled model must.
        legacy: Whether the file is in the format before torch 1.6, which cannot be memory-mapped.

    Returns:
        The chosen state dict, with the optimizer's state dict.

    Raises:
        CheckpointError: If the file is damaged, would run code, or does not hold the state dict.
    """
    content = load_content(path, trust=trust, legacy=legacy)
    state_dicts = find_state_dicts(content)
    if not state_dicts:
        raise CheckpointError(str(path), f"holds no state dict, but {_outline(content)}", _SAVE_WEIGHTS_ONLY)
    name = choose(state_dicts, weights, str(path))
    others = [other for other in state_dicts if other != name]
    file_format = "torch file" + (f', state dict "{name}"' if name else "")
    file_format += f" (also in it: {', '.join(others)})" if others else ""
    return Checkpoint(
        str(path),
        file_format,
        sha256_of([path]),
        state_dicts[name],
        optimizer=find_optimizer(content),
        nested=tuple(state_dicts),
        name=name,
        epoch=find_epoch(content),
    )


def read_exported(path: Path, *, trust: bool) -> Checkpoint:
    """Read the weights of a program of torch.export.

    Args:
        path: The .pt2 file.
        trust: Whether the file may run code: torch.export.load can unpickle anything.

    Returns:
        The program's state dict.

    Raises:
        CheckpointError: If the file is not trusted, or is damaged.
    """
    if not trust:
        raise CheckpointError(
            str(path),
            "is a torch.export program, and opening it can run code from the file",
            f"{_SAVE_WEIGHTS_ONLY}, {_TRUST_THE_FILE}",
        )
    # torch.export.load has no safe mode like weights_only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on how the file was written, which its reader cannot change
        try:
            program = torch.export.load(path)
        except Exception as error:
            raise CheckpointError(
                str(path),
                f"cannot be read: {_first_line(str(error)) or type(error).__name__}",
                _SAVE_WEIGHTS_ONLY,
            ) from error
    tensors = {name: tensor.detach() for name, tensor in program.state_dict.items()}
    return Checkpoint(str(path), "torch.export program", sha256_of([path]), tensors)


def refuse_torchscript(path: Path) -> CheckpointError:
    """Return the error for a TorchScript file, which explains how to extract the weights.

    Args:
        path: The file.
    """
    return CheckpointError(
        str(path),
        "is a TorchScript program, not just weights",
        f"extract its weights: torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pt')",
    )


def load_content(path: Path, *, trust: bool = False, legacy: bool = False) -> Any:
    """Return the content of a torch file; only a trusted file may import and run code.

    Args:
        path: The file.
        trust: Whether the file may run code.
        legacy: Whether the file is in the format before torch 1.6, which cannot be memory-mapped.

    Returns:
        Plain containers with plain tensors, see `as_plain`.

    Raises:
        CheckpointError: If it is damaged, would run code, or takes too much time or memory.
    """
    # torch maps compressed entries as if they were numbers
    mmap = not legacy and _is_stored(path)
    if not trust:
        _rehearse(path, mmap)
    try:
        return as_plain(_unpickle(path, trust, mmap), path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        refusal = _refusal(path, type(error).__name__, str(error))
        raise refusal from error


def _is_stored(path: Path) -> bool:
    """Tell whether a file is an archive of uncompressed entries, which do not unpack to too much."""
    try:
        entries = listed(path, CheckpointError)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        return False  # whoever reads it says what is wrong with it
    check_unpacked(path, entries, CheckpointError)
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _rehearse(path: Path, mmap: bool) -> None:
    """Read a file in a child process.

    Raises:
        CheckpointError: For whatever goes wrong there.
    """
    size = path.stat().st_size
    limits = current_limits()
    # read or mapped, the file itself takes memory too
    rehearsal = rehearse(lambda: _unpickle(path, False, mmap), limits.memory + 2 * size, limits.time(size))
    match rehearsal.outcome:
        case "done":
            return
        case "failed":
            error = _refusal(path, rehearsal.error, rehearsal.text)
            raise error
        case "time":
            found = f"takes more than {limits.time(size):.0f} s to unpickle"
            remedy = f"{_SAVE_WEIGHTS_ONLY}; {RAISE_SECONDS}"
        case "memory":
            found = f"takes more than {(limits.memory + 2 * size) / 1e6:,.0f} MB of memory to unpickle"
            remedy = f"{_SAVE_WEIGHTS_ONLY}; {RAISE_MEMORY}"
        case _:
            found = "ends the process that unpickles it: it is damaged"
            remedy = READ_AGAIN
    raise CheckpointError(str(path), found, remedy)


def _unpickle(path: Path, trust: bool, mmap: bool) -> Any:
    with warnings.catch_warnings(), importable(*([path.absolute().parent, Path.cwd()] if trust else [])):
        warnings.simplefilter("ignore")  # on how the file was written, which its reader cannot change
        # the list of safe names is global in torch, so it is extended only while this file is read
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", mmap=mmap, weights_only=not trust)


def _refusal(path: Path, kind_of_error: str, text: str) -> CheckpointError:
    """Return the error for a file that cannot be unpickled: it would run code, or is damaged.

    Args:
        path: The file.
        kind_of_error: Name of the exception's class.
        text: Text of the exception.
    """
    # the unpickler names the class or function that it would have to import as GLOBAL
    name = re.search(r"\bGLOBAL (\S+)", text)
    if name is None:
        # a trusted file whose class cannot be imported is whole, so downloading it again would not help
        is_code_missing = kind_of_error in {"AttributeError", "ImportError", "ModuleNotFoundError"}
        remedy = _SAVE_WEIGHTS_ONLY if is_code_missing else READ_AGAIN
        return CheckpointError(str(path), f"cannot be read: {_first_line(text) or kind_of_error}", remedy)
    shown = ascii(name[1])[1:-1]
    # no advice to pass --trust-checkpoint here: it would run the command
    if _ATTACK_NAMES & set(shown.split(".")):
        return CheckpointError(
            str(path),
            f"opening it would run code from the file: it calls {shown}. Nothing was run.",
            "do not use this file: weights do not need that. Get them from a source that you trust",
        )
    kind = "a whole pickled model" if shown.startswith("torch.nn.modules.") else "more than tensors"
    return CheckpointError(
        str(path),
        f"holds {kind}: opening it would run the code of {shown}. Nothing was run.",
        f"{_SAVE_WEIGHTS_ONLY}, {_TRUST_THE_FILE}",
    )


def _first_line(text: str) -> str:
    """Return the first sentence of an exception's text, without torch's advice around it."""
    text = text.partition("WeightsUnpickler error:")[2] or text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return printable(lines[0] if lines else "", _LONGEST_REASON).split(". ")[0]


def _outline(content: Any) -> str:
    """Describe the content of a file that holds no state dict."""
    if isinstance(content, dict):
        keys = [_shown(key) for key in itertools.islice(content, _MAX_KEYS_SHOWN)]
        return f"a dictionary with {', '.join(keys)}" if keys else "an empty dictionary"
    return f"an object of type {type(content).__name__}"


def _shown(key: Any) -> str:
    """Return a key of a dictionary for a message; a file can use nested tuples whose text has no end."""
    return ascii(key)[:_LONGEST_REASON] if isinstance(key, str | int | float) else f"a {type(key).__name__}"
