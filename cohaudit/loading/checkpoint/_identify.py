"""Which format a file really is, from its content: an extension is only what somebody called it."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import Literal

from cohaudit.errors import CheckpointError, missing

Kind = Literal["safetensors", "index", "torch", "torch legacy", "torchscript", "export"]

_FAMILY = {".safetensors": "safetensors", ".pt2": "torch"} | dict.fromkeys(
    (".pt", ".pth", ".bin", ".ckpt"), "torch"
)
_FAMILY_OF_KIND: dict[Kind, str] = {"safetensors": "safetensors"}
# torch.serialization.MAGIC_NUMBER, as every file of torch before 1.6 begins with it, pickled
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
_FOREIGN = {
    b"version https://git-lfs": "a git-lfs pointer: a note that stands for the file",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
} | dict.fromkeys(
    (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a plain pickle, not a file of torch.save"
)
_LISTED = 10


def identify(path: Path) -> Kind:
    """Say which format a checkpoint is, and stop when its extension says otherwise.

    Args:
        path: The checkpoint.

    Returns:
        The format, by content.

    Raises:
        CheckpointError: If there is no such file, it cannot be read, or it is no checkpoint.
    """
    head, size = _first_bytes(path)
    if path.suffix == ".json":
        return "index"
    kind = _kind(path, head, size)
    family = _FAMILY_OF_KIND.get(kind, "torch")
    if _FAMILY.get(path.suffix, family) != family:
        raise CheckpointError(
            str(path),
            f"its content is that of a {family} file, not what {path.suffix} says",
            f"rename it to {path.stem}.{'pt' if family == 'torch' else family} if that is what you meant",
        )
    return kind


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a regular file, and its size in bytes."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _directory(path)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(str(path), "no regular file", "copy the checkpoint to a file on disk")
        with path.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError as error:
        raise CheckpointError(str(path), *missing(path, _may_be_checkpoint, "checkpoint")) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            str(path), f"cannot be opened: {reason}", "check the path and the permissions"
        ) from error
    if not head:
        raise CheckpointError(str(path), "the file is empty", "download or save it again")
    return head, status.st_size


def _kind(path: Path, head: bytes, size: int) -> Kind:
    """Return the format that the first bytes tell, or say what the file is instead."""
    if path.name == ".metadata" or path.suffix == ".distcp":
        raise _distributed(path.absolute().parent)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if head[:1] == b"\x80" and _LEGACY_MAGIC in head[:32]:
        return "torch legacy"
    if head[8:9] == b"{" and (path.suffix == ".safetensors" or int.from_bytes(head[:8], "little") < size):
        return "safetensors"
    raise CheckpointError(str(path), *_what_instead(path, head))


def _kind_of_archive(path: Path) -> Kind:
    """Tell apart the zip archives that torch writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            str(path), "its end is missing: the file is cut off or damaged", "download or save it again"
        ) from error
    if names & {"archive_format", "serialized_exported_program.json"}:
        return "export"
    if "constants.pkl" in names:
        return "torchscript"
    if "data.pkl" in names:
        return "torch"
    raise CheckpointError(
        str(path),
        f"a zip archive, but none that torch.save writes (it holds {', '.join(sorted(names)[:3])})",
        "name the file that holds the weights",
    )


def _what_instead(path: Path, head: bytes) -> tuple[str, str]:
    """Return what a file is that is no checkpoint, and what to do."""
    remedy = "name a .safetensors file, or one that torch.save wrote"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a checkpoint", "download the file itself, not the page that shows it"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return what, "run `git lfs pull` to get it" if b"git-lfs" in magic else remedy
    if path.suffix == ".safetensors":
        return "no safetensors header at its start: damaged, or another format", "download or save it again"
    return "neither a safetensors nor a torch file: its first bytes are of neither", remedy


def _may_be_checkpoint(path: Path) -> bool:
    """Tell from a name whether a file may be a checkpoint."""
    return path.suffix in _FAMILY or path.name.endswith(".index.json")


def _directory(path: Path) -> CheckpointError:
    """Explain why a folder is no checkpoint, naming the checkpoints in it."""
    names = sorted(entry.name for entry in path.iterdir())
    if ".metadata" in names:
        return _distributed(path)
    found = [name for name in names if _may_be_checkpoint(path / name)]
    found.sort(key=lambda name: not name.endswith(".index.json"))
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    listed = f"name one of its files: {', '.join(found[:_LISTED])}{more}"
    return CheckpointError(
        str(path),
        "a folder, not a file",
        listed if found else "name the checkpoint itself; there is none in it",
    )


def _distributed(folder: Path) -> CheckpointError:
    return CheckpointError(
        str(folder),
        "a distributed checkpoint (DCP), whose .metadata is a pickle that can run code",
        "where you trust it, convert it first: python -m torch.distributed.checkpoint.format_utils"
        f" dcp_to_torch {folder} weights.pt",
    )
