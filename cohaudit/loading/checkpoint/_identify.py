"""Identifies the format of a checkpoint by its content, because a file's extension can be wrong."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Literal

from cohaudit.errors import CheckpointError, as_named, missing, printable
from cohaudit.loading import git_lfs
from cohaudit.untrusted import open_regular
from cohaudit.untrusted.zips import check_unpacked, listed

Kind = Literal["safetensors", "index", "torch", "torch legacy", "torchscript", "export"]

_FAMILY = {".safetensors": "safetensors", ".pt2": "torch"} | dict.fromkeys(
    (".pt", ".pth", ".bin", ".ckpt"), "torch"
)
"""Extension → the program that writes such files."""
_FAMILY_OF_KIND: dict[Kind, str] = {"safetensors": "safetensors"}
"""Format → the program that writes it, if that is not torch."""
_LEGACY_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""torch.serialization.MAGIC_NUMBER, with which, pickled, every file of torch before 1.6 begins."""
_FOREIGN_FORMATS = {
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive",
} | dict.fromkeys(
    (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a plain pickle, not a file of torch.save"
)
"""First bytes → the format, for files that are often mistaken for checkpoints."""
_MAX_FILES_LISTED = 10
"""Files of a folder to list in a message."""
_HEAD_SIZE = 512
"""Bytes at the start of a file to read; a legacy torch file has its magic number in the first 32."""
READ_AGAIN = "download the file again, or save it again"
"""Remedy for a damaged file."""


def identify(path: Path) -> Kind:
    """Return the format of a checkpoint by its content.

    Args:
        path: The checkpoint.

    Raises:
        CheckpointError: If the file does not exist, cannot be read, is not a checkpoint, or has the
            extension of another format.
    """
    head, size = _first_bytes(path)
    # JSON has no typical first bytes; the reader of the index checks the content
    if path.suffix == ".json":
        return "index"
    kind = _kind(path, head, size)
    # an unknown extension says nothing, so it contradicts nothing
    family = _FAMILY_OF_KIND.get(kind, "torch")
    if _FAMILY.get(path.suffix, family) != family:
        raise CheckpointError(
            str(path),
            f"the content is a {family} file, but the extension is {path.suffix}",
            f"rename it to {path.stem}.{'pt' if family == 'torch' else family} if this is the file you meant",
        )
    return kind


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a regular file, and its size in bytes."""
    try:
        if path.is_dir():
            raise _directory(path)
        with open_regular(path, CheckpointError) as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(_HEAD_SIZE)
    except FileNotFoundError as error:
        raise CheckpointError(as_named(path), *missing(path, _may_be_checkpoint, "checkpoint")) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            str(path), f"cannot be opened: {reason}", "check the path and the file's permissions"
        ) from error
    if not head:
        raise CheckpointError(str(path), "the file is empty", READ_AGAIN)
    return head, size


def _kind(path: Path, head: bytes, size: int) -> Kind:
    """Return the format that the first bytes show, or raise an error that says what the file is instead."""
    if path.name == ".metadata" or path.suffix == ".distcp":
        raise _distributed(path.absolute().parent)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if head[:1] == b"\x80" and _LEGACY_MAGIC in head[:32]:
        return "torch legacy"
    # a safetensors file: the length of its header in 8 bytes, then the header in JSON
    if head[8:9] == b"{" and (path.suffix == ".safetensors" or int.from_bytes(head[:8], "little") < size):
        return "safetensors"
    raise CheckpointError(str(path), *_what_instead(path, head))


def _kind_of_archive(path: Path) -> Kind:
    """Return which of torch's zip formats an archive is."""
    try:
        entries = listed(path, CheckpointError)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error) as error:
        raise CheckpointError(
            str(path), "the zip archive has no valid end: the file is truncated or damaged", READ_AGAIN
        ) from error
    check_unpacked(path, entries, CheckpointError)
    # torch puts all entries into one folder, with any name
    names = {entry.filename.partition("/")[2] or entry.filename for entry in entries}
    # in this order: a TorchScript archive has a data.pkl too
    if names & {"archive_format", "serialized_exported_program.json"}:
        return "export"
    if "constants.pkl" in names:
        return "torchscript"
    if "data.pkl" in names:
        return "torch"
    some = ", ".join(printable(name, 60) for name in sorted(names)[:3])
    raise CheckpointError(
        str(path),
        f"is a zip archive, but not one of torch.save (it holds {some})",
        "name the file that holds the weights",
    )


def _what_instead(path: Path, head: bytes) -> tuple[str, str]:
    """Return what a file is if it is not a checkpoint, and what to do."""
    remedy = "name a .safetensors file, or a file of torch.save"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a checkpoint", "download the file itself, not the page that shows it"
    if git_lfs.is_pointer(head):
        return git_lfs.FOUND, git_lfs.REMEDY
    for magic, what in _FOREIGN_FORMATS.items():
        if head.startswith(magic):
            return f"is {what}", remedy
    if path.suffix == ".safetensors":
        return "does not start with a safetensors header: damaged, or another format", READ_AGAIN
    return "is neither a safetensors nor a torch file, by its first bytes", remedy


def _may_be_checkpoint(path: Path) -> bool:
    """Tell by its name whether a file may be a checkpoint."""
    return path.suffix in _FAMILY or path.name.endswith(".index.json")


def _directory(path: Path) -> CheckpointError:
    """Return the error for a folder; it lists the checkpoints in the folder."""
    names = sorted(entry.name for entry in path.iterdir())
    # first, because no file of such a folder could be named instead
    if ".metadata" in names:
        return _distributed(path)
    checkpoints = [name for name in names if _may_be_checkpoint(path / name)]
    if not checkpoints:
        remedy = "name the checkpoint file: this folder has none"
    else:
        # the index first: of a sharded checkpoint it is the only file to name
        checkpoints.sort(key=lambda name: not name.endswith(".index.json"))
        rest = len(checkpoints) - _MAX_FILES_LISTED
        more = f" and {rest} more" if rest > 0 else ""
        remedy = f"name one of its files: {', '.join(checkpoints[:_MAX_FILES_LISTED])}{more}"
    return CheckpointError(str(path), "is a folder, not a file", remedy)


def _distributed(folder: Path) -> CheckpointError:
    """Return the error for a distributed checkpoint; not even --trust-checkpoint opens one."""
    return CheckpointError(
        str(folder),
        "is a distributed checkpoint (DCP), and its .metadata is a pickle that can run code",
        "if you trust it, convert it first: python -m torch.distributed.checkpoint.format_utils"
        f" dcp_to_torch {folder} weights.pt",
    )
