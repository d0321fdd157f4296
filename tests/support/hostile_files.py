"""Files made to crash, hang or fill whoever opens them: seeded, of every kind that a command reads.

Each maker writes one file into a folder and returns the arguments of a command that reads it. What a maker
writes depends on its random generator alone, so that a file that was found can be made again from its seed.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from support.bounded_runs import Make

NET = "from torch import nn\n\n\ndef build():\n    return nn.Linear(4, 3)\n"
"""A model that the files beside it are read with."""
MEGABYTE = 1_000_000
ZEROS = 64 * MEGABYTE
"""Bytes of zeros that are deflated once and repeated."""


def support(folder: Path) -> None:
    """Write an honest checkpoint, model and data set, which stand beside what is hostile."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 30)
    inputs = generator.normal(size=(30, 4)).astype(np.float32)
    (folder / "net.py").write_text(NET)
    (folder / "good.safetensors").write_bytes(save(torch.nn.Linear(4, 3).state_dict()))
    np.savez(folder / "good.npz", inputs=inputs, labels=labels)


def scan(data: str, *options: str) -> list[str]:
    """Return the arguments of a scan of the honest checkpoint with other data."""
    return [
        "scan",
        "good.safetensors",
        "--model",
        "net.py:build",
        "--data",
        data,
        "--out",
        "out",
        "-q",
        *options,
    ]


# --- pickles -----------------------------------------------------------------------------------------------


def torch_file(path: Path, content: bytes, storages: dict[str, bytes] | None = None) -> list[str]:
    """Write a file as torch.save does, with a pickle and storages of one's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return ["inspect", path.name]


def hash_bomb(rng: random.Random, folder: Path) -> list[str]:
    """Use a tuple of shared tuples as a key: its hash takes 2ⁿ steps."""
    depth = rng.randint(38, 60)
    # each level is a pair of the one before it, which the memo gives twice
    levels = b"".join(b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(depth))
    return torch_file(folder / "x.pt", b"\x80\x02})q\x00" + levels + b"K\x01s.")


def huge_buffer(rng: random.Random, folder: Path) -> list[str]:
    """Ask for a buffer of many gigabytes."""
    size = rng.choice([10**10, 10**12, 2**40])
    content = b"\x80\x02c__builtin__\nbytearray\n\x8a\x06" + size.to_bytes(6, "little") + b"\x85R."
    return torch_file(folder / "x.pt", content)


def tensor_pickle(shape: Sequence[int], stride: Sequence[int], offset: int = 0, numel: int = 4) -> bytes:
    """Return the pickle of a state dict with one tensor, in the form that torch.save writes."""

    def integer(value: int) -> bytes:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def sizes(values: Sequence[int]) -> bytes:
        return b"(" + b"".join(map(integer, values)) + b"t"

    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    storage += integer(numel) + b"tQ"
    rebuilt = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + sizes(shape) + sizes(stride)
    )
    rebuilt += b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}X\x06\x00\x00\x00weight" + rebuilt + b"s."


def repeated_view(rng: random.Random, folder: Path) -> list[str]:
    """Repeat a few numbers without end by strides of 0, or look behind the end of the storage."""
    size = rng.choice([10**12, 2**40, 2**62, -1, 2**63 - 1])
    content = tensor_pickle([size], [rng.choice([0, 0, 1, -1])], rng.choice([0, 0, -1, 2**40]))
    return torch_file(folder / "x.pt", content, {"0": bytes(16)})


def odd_optimizer(rng: random.Random, folder: Path) -> list[str]:
    """Hold a number in the optimizer's state that no optimizer has."""
    odd = rng.choice([10**400, -(10**400), 10**5000, torch.zeros(1, device="meta"), float("inf"), [1], {}])
    state = {"step": 3, "exp_avg": torch.ones(3, 4), "exp_avg_sq": torch.ones(3, 4)}
    group = {"lr": 0.1, "betas": (0.9, 0.999), "params": [0], "weight_decay": 0.1}
    part = rng.choice([state, group])
    part[rng.choice(sorted(part))] = odd
    content = {
        "model": torch.nn.Linear(4, 3).state_dict(),
        "optimizer": {"state": {0: state}, "param_groups": [group]},
        "epoch": rng.choice([1, 10**400]),
    }
    torch.save(content, folder / "x.pt")
    return ["inspect", "x.pt"]


def zip_bomb(rng: random.Random, folder: Path) -> list[str]:
    """Unpack a few megabytes to gigabytes of zeros: a checkpoint, or a data set."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    count = rng.choice([32, 64])
    packed = block * count + b"\x03\x00"
    is_data = rng.random() < 0.5
    name = "inputs.npy" if is_data else "archive/data.pkl"
    header = struct.pack(
        "<4s5HLLL2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(packed), ZEROS * count, len(name), 0
    )
    entry = struct.pack(
        "<4s6H3L5H2L",
        b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, len(packed), ZEROS * count, len(name), 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    start = len(header) + len(name) + len(packed)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry) + len(name), start, 0)
    path = folder / ("x.npz" if is_data else "x.pt")
    path.write_bytes(header + name.encode() + packed + entry + name.encode() + end)
    return scan("x.npz") if is_data else ["inspect", "x.pt"]


def flood(rng: random.Random, folder: Path) -> list[str]:
    """Make millions of empty lists, each of one byte in the file."""
    content = b"\x80\x02]" + b"(" + b"]" * rng.randint(15, 20) * MEGABYTE + b"e."
    path = folder / "x.pt"
    torch_file(path, content)
    return ["inspect", path.name]


def any_opcodes(rng: random.Random, folder: Path) -> list[str]:
    """String opcodes together."""
    codes = b"}])(NK\x01\x88\x89\x85\x86\x87tlde0a2sub" + b"ccollections\nOrderedDict\n" + b"R"
    content = b"\x80\x02" + bytes(rng.choice(codes) for _ in range(rng.randint(1, 200))) + b"."
    return torch_file(folder / "x.pt", content)


def planted(rng: random.Random, folder: Path) -> list[str]:
    """Plant attributes on dictionaries, in the place of their methods."""
    method = rng.choice(["get", "items", "keys", "values", "pop"])
    inner = pickle.dumps(1, 2)[2:-1]
    content = b"\x80\x02ccollections\nOrderedDict\n)R}X" + len(method).to_bytes(4, "little") + method.encode()
    content += inner + b"sb."
    return torch_file(folder / "x.pt", content)


# --- safetensors -------------------------------------------------------------------------------------------


def with_header(path: Path, header: bytes, data: bytes = b"") -> list[str]:
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return ["inspect", path.name]


def odd_header(rng: random.Random, folder: Path) -> list[str]:
    """Describe a tensor that no library has."""
    size = rng.choice([0, 1, 4, 2**31, 2**63, 2**64 - 1, 2**64, -1])
    kind = rng.choice(["F32", "F64", "BF16", "F4", "F8_E8M0", "F8_E4M3", "U64", "I8", "C64", "BOOL", "X", ""])
    shape = rng.choice([[size], [0, size], [size] * 3, [1] * 70, "x", [1.5], [[1]], []])
    offsets = rng.choice([[0, 16], [0, 0], [16, 0], [0, 2**63], [-1, 4], [0, size]])
    entry = {"dtype": kind, "shape": shape, "data_offsets": offsets}
    names = rng.choice([["w"], ["w", "w2"], ["\x1b[2J"], ["a" * 100_000], ["__metadata__"]])
    return with_header(folder / "x.safetensors", json.dumps(dict.fromkeys(names, entry)).encode(), bytes(16))


def large_header(rng: random.Random, folder: Path) -> list[str]:
    """Begin with a header of tens of megabytes, or one of hundreds of thousands of tensors."""
    if rng.random() < 0.5:
        header = b'{"__metadata__":{"a":"' + b"x" * rng.randint(20, 40) * MEGABYTE + b'"}}'
    else:
        entry = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
        header = ("{" + ",".join(entry % k for k in range(rng.randint(150_000, 250_000))) + "}").encode()
    return with_header(folder / "x.safetensors", header)


def extreme_weights(rng: random.Random, folder: Path) -> list[str]:
    """Hold numbers at the end of the range."""
    value = rng.choice([1e200, -1e300, 1.7e308, 1e-320, float("nan"), float("inf")])
    dtype = rng.choice([torch.float64, torch.float32, torch.float16, torch.bfloat16])
    weights = {"weight": torch.full((3, 4), value, dtype=torch.float64).to(dtype), "bias": torch.zeros(3)}
    (folder / "x.safetensors").write_bytes(save(weights))
    if rng.random() < 0.9:  # a scan takes seconds
        return ["inspect", "x.safetensors"]
    return ["scan", "x.safetensors", *scan("good.npz")[2:]]


def holes(rng: random.Random, folder: Path) -> list[str]:
    """Be tiny on disk and huge by name."""
    name = rng.choice(["x.safetensors", "x.index.json", "x.npz", "x.csv", "x.jsonl", "x.pt", "audit.json"])
    start = struct.pack("<Q", (50 << 30) - 8) + b'{"a":' if name == "x.safetensors" else b'{"a": "'
    with (folder / name).open("wb") as file:
        file.write(start)
        file.truncate(50 << 30)
    if name == "audit.json":
        return ["check", name, "--fail-on", "suspects>0"]
    return ["inspect", name] if name.endswith((".safetensors", ".json", ".pt")) else scan(name)


def odd_index(rng: random.Random, folder: Path) -> list[str]:
    """Name shards that no file system has."""
    shard = rng.choice(
        ["x" * 300 + ".safetensors", "../good.safetensors", "a\0.safetensors", "/dev/zero", 5, None]
    )
    content = rng.choice([{"weight_map": {"w": shard}}, {"weight_map": []}, [], {"weight_map": {"w": {}}}])
    (folder / "x.safetensors.index.json").write_text(json.dumps(content))
    return ["inspect", "x.safetensors.index.json"]


# --- data --------------------------------------------------------------------------------------------------


def odd_array(rng: random.Random, folder: Path) -> list[str]:
    """Promise an array that is not there, or hold Python objects."""
    shape = rng.choice(
        ["(10**12,)", "(1000000000000,)", "(-1,)", "(2,)" * 3, "(), ()", "(4611686018427387904, 4)"]
    )
    kind = rng.choice(["<f4", "|O", "<f8", "|S1000000000", "<U9", "V", "x"])
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    array = (
        b"\x93NUMPY" + bytes(rng.choice([(1, 0), (2, 0), (9, 0)])) + struct.pack("<H", len(header)) + header
    )
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("inputs.npy", array + bytes(64))
        buffer = io.BytesIO()
        np.save(buffer, np.arange(4))
        archive.writestr("labels.npy", buffer.getvalue())
    return scan("x.npz")


def odd_text(rng: random.Random, folder: Path) -> list[str]:
    """Write a table of one long line, of rows that are filled up, or of bytes that are no text."""
    kind = rng.choice(["line", "wide", "keys", "nested", "bytes", "digits"])
    if kind == "line":
        content = b'{"label": "' + b"a" * 20 * MEGABYTE
    elif kind == "wide":
        content = b"," * 50_000 + b"label\n" + b"1\n" * 50_000
    elif kind == "keys":
        content = b"".join(b'{"k%d": 1, "label": %d}\n' % (k, k % 3) for k in range(20_000))
    elif kind == "nested":
        content = b'{"label": ' + b"[" * 100_000
    elif kind == "digits":
        content = b"label,a\n1," + b"9" * 100_000 + b"\n2,1\n"
    else:
        content = rng.randbytes(1000)
    name = "x.jsonl" if kind in {"line", "keys", "nested"} else "x.csv"
    (folder / name).write_bytes(content)
    return scan(name)


def flipped(rng: random.Random, folder: Path) -> list[str]:
    """Flip bytes of an honest file."""
    import pandas as pd

    support(folder)
    name = rng.choice(["x.parquet", "good.npz", "good.safetensors", "x.pt"])
    path = folder / name
    if name == "x.parquet":
        frame = pd.DataFrame({"a": range(30), "b": 1.5, "c": "t", "label": [0, 1, 2] * 10})
        frame.to_parquet(path)
    elif name == "x.pt":
        torch.save({"model": torch.nn.Linear(4, 3).state_dict(), "epoch": 3}, path)
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 40)):
        # mostly the ends, where the formats keep their lists
        place = rng.choice([rng.randrange(len(content)), -rng.randint(1, min(300, len(content)))])
        content[place] = rng.randrange(256)
    path.write_bytes(content[: rng.choice([len(content)] * 3 + [rng.randrange(len(content))])])
    data = name if name.endswith((".parquet", ".npz")) else "good.npz"
    return scan(data) if data == name else ["inspect", name]


# --- settings and audits -----------------------------------------------------------------------------------


def odd_toml(rng: random.Random, folder: Path) -> list[str]:
    """Write settings that are no settings, or of a depth that no parser has."""
    lines = ["batch_size = 10", "[" * 5000, "a" * 10**6, "x = " + "9" * 5000, "limit = 1e400", "model = 5"]
    lines += ['"\\u0000" = 1', "seed = -1", "formats = [[]]", "model_args = {a = inf}", "read_memory = 0"]
    (folder / "cohaudit.toml").write_text("\n".join(rng.sample(lines, rng.randint(1, 4))), encoding="utf-8")
    return ["scan", "good.safetensors", "-q"]


def odd_audit(rng: random.Random, folder: Path) -> list[str]:
    """Write an audit that is none."""
    parts = [
        "{",
        "}",
        "[",
        "]",
        '"schema_version": "5.0"',
        ",",
        ":",
        "1e999",
        "NaN",
        '"a"',
        "9" * 5000,
        "null",
    ]
    text = rng.choice(
        ["[" * 100_000, "".join(rng.choices(parts, k=rng.randint(1, 30))), '{"schema_version": "5.0"}']
    )
    (folder / "audit.json").write_text(text)
    command = rng.choice(["check", "report", "export", "review"])
    return [command, "audit.json", *(["--fail-on", "suspects>0"] if command == "check" else ["--out", "o"])]


MAKERS: tuple[Make, ...] = (
    repeated_view,
    odd_optimizer,
    any_opcodes,
    planted,
    odd_header,
    extreme_weights,
    holes,
    odd_index,
    odd_array,
    odd_text,
    flipped,
    odd_toml,
    odd_audit,
)
"""Makers whose files cost milliseconds."""
SLOW_MAKERS: tuple[Make, ...] = (hash_bomb, huge_buffer, zip_bomb, flood, large_header)
"""Makers of files that take as long as the limits allow, or that take a second to write."""
