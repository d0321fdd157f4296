"""Hostile files made from a corpus of small ones: parts are changed, cut, doubled, or taken from others.

`tests/untrusted/corpus/KIND/` holds the files of a kind. Where a format wraps what matters, with a checksum
or a length in front of it, the corpus holds the inside, and what wraps it is written anew around each change.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from support.bounded_runs import CANARY, Make
from support.hostile_files import scan, torch_file, with_header

CORPUS = Path(__file__).parents[1] / "untrusted" / "corpus"
NUMBERS = (0, 1, -1, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
"""Where counts, lengths and offsets overflow."""
TOKENS = (
    *(str(number).encode() for number in (*NUMBERS, 10**30, "1e999", "NaN", "-0", "1e-400")),
    *(b"null", b"{}", b"[]", b'""', b"true", b"[[[[", b"]]]]", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(
        b"\\u0000",
        b"'",
        b'"',
        b",",
        b";",
        b"\t",
        b"\r\n",
        b"\n",
        b"=1+1",
        b"../../x",
        b"/dev/zero",
        b"\xf0\x9f\xa6\x8a",
    ),
)
"""What texts and pickles stumble over."""


def changed(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Return some bytes after one to four changes."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(len(data) + 1)
        length = min(rng.choice([1, 1, 2, 4, 8, 30]), len(data) - place)
        match rng.randrange(8):
            case 0:
                data[place : place + length] = rng.randbytes(length)
            case 1 if data and place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 2:
                data[place : place + length] = b""
            case 3:
                data[place:place] = bytes(data[place : place + length]) * rng.choice([1, 2, 100])
            case 4:
                data[place : place + rng.choice([0, length])] = rng.choice(TOKENS)
            case 5:
                size, order = rng.choice([1, 2, 4, 8]), rng.choice(["little", "big"])
                number = rng.choice(NUMBERS) % 256**size
                data[place : place + size] = number.to_bytes(size, "little" if order == "little" else "big")
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[place : place + length] = other[start : start + rng.choice([4, 30, 300])]
            case _:
                if rng.random() < 0.3:
                    del data[place:]
    return bytes(data)


def _pickle(folder: Path, content: bytes) -> list[str]:
    return torch_file(folder / "x.pt", content, {"0": bytes(48), "1": bytes(12)})


def _legacy(folder: Path, content: bytes) -> list[str]:
    return _as_is("x.pth")(folder, content)


def _array(folder: Path, content: bytes) -> list[str]:
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("inputs.npy", content)
        archive.write(folder / "labels.npy", "labels.npy")
    return scan("x.npz")


def _header(folder: Path, content: bytes) -> list[str]:
    return with_header(folder / "x.safetensors", content, bytes(64))


def _audit(folder: Path, content: bytes) -> list[str]:
    (folder / "audit.json").write_bytes(content)
    command = ("check", "export", "review", "diff")[len(content) % 4]
    rest = {"check": ["--fail-on", "suspects>0"], "diff": ["audit.json"]}.get(command, ["--out", "out"])
    return [command, "audit.json", *rest]


def _settings(folder: Path, content: bytes) -> list[str]:
    (folder / "cohaudit.toml").write_bytes(content)
    return ["scan", "good.safetensors", "-q"]


def _found(folder: Path, content: bytes) -> list[str]:
    """Put the settings beside a checkpoint in another folder, where they may run no code."""
    download = folder / "download"
    download.mkdir()
    (folder / "good.safetensors").rename(download / "good.safetensors")
    (download / "cohaudit.toml").write_bytes(content)
    code = f"open({str(folder / CANARY)!r}, 'w')\n\n\ndef f(*a):\n    return 1\n"
    (download / "evil.py").write_text(code)
    return ["scan", "download/good.safetensors", *scan("good.npz")[2:]]


def _as_is(name: str) -> Callable[[Path, bytes], list[str]]:
    def write(folder: Path, content: bytes) -> list[str]:
        (folder / name).write_bytes(content)
        return scan(name) if name.endswith((".npz", ".csv", ".jsonl", ".parquet")) else ["inspect", name]

    return write


WRITERS: dict[str, Callable[[Path, bytes], list[str]]] = {
    "pickle": _pickle,
    "legacy": _legacy,
    "npy": _array,
    "header": _header,
    "audit": _audit,
    "toml": _settings,
    "found": _found,
    "npz": _as_is("x.npz"),
    "zip": _as_is("x.pt"),
    "safetensors": _as_is("x.safetensors"),
    "index": _as_is("x.safetensors.index.json"),
    "csv": _as_is("x.csv"),
    "jsonl": _as_is("x.jsonl"),
    "parquet": _as_is("x.parquet"),
}
"""Kind of the corpus → writes a file of it, and returns the arguments that read it."""


def seeds(kind: str) -> list[Path]:
    """Return the files of the corpus of a kind."""
    return sorted((CORPUS / kind).iterdir())


def unchanged(kind: str, path: Path) -> Make:
    """Return a maker of a file of the corpus, as it is."""
    return lambda rng, folder: WRITERS[kind](folder, path.read_bytes())


def mutated(kind: str) -> Make:
    """Return a maker of changed files of a kind."""
    contents = [path.read_bytes() for path in seeds(kind)]

    def make(rng: random.Random, folder: Path) -> list[str]:
        return WRITERS[kind](folder, changed(rng, rng.choice(contents), contents))

    return make


def mutation(kind: str, seed: int) -> bytes:
    """Return what `mutated` writes for a seed: to keep it in the corpus."""
    rng = random.Random(seed)
    contents = [path.read_bytes() for path in seeds(kind)]
    return changed(rng, rng.choice(contents), contents)
