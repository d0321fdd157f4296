"""Which functions and classes of a Python file make a model."""

from __future__ import annotations

import pytest

from cohaudit.loading.find_factories import find_factories


class TestFactories:
    """What in a Python file makes a model."""

    @pytest.mark.parametrize(
        ("source", "names"),
        [
            ("class Net(nn.Module): ...", ["Net"]),
            ("class Net(torch.nn.Module): ...", ["Net"]),
            ("class Net(pl.LightningModule): ...", ["Net"]),
            ("class Block(nn.Module): ...\nclass Net(Block): ...", ["Net", "Block"]),
            ("class Data(Dataset): ...\nclass Net: ...", []),
            ("def anything() -> nn.Module: ...", ["anything"]),
            ("def anything() -> 'torch.nn.Module': ...", ["anything"]),
            ("def build_model(): ...", ["build_model"]),
            ("def get_data(): ...", []),
            ("def build() -> int: ...", []),
            ("def _build() -> nn.Module: ...", []),
            ("class N(nn.Module): ...\ndef f():\n    return N()", ["f", "N"]),
            ("class N(nn.Module): ...\ndef f():\n    net = N()\n    return net", ["f", "N"]),
            ("class N(nn.Module): ...\ndef f():\n    return 3", ["N"]),
            ("def build(width): ...\ndef make(width=3): ...", ["make", "build"]),
            ("def broken(:", []),
            ("\0", []),
            ("", []),
        ],
    )
    def test_are_found_likeliest_first(self, source: str, names: list[str]) -> None:
        assert [factory.name for factory in find_factories(source)] == names

    @pytest.mark.parametrize(
        ("source", "required"),
        [
            ("def build(a, b=1, /, *c, d, e=2, **f): ...", ("a", "d")),
            ("def build(a, b=1, *c, d, e=2, **f): ...", ("a", "d")),
            ("def build(a=1): ...", ()),
            ("class N(nn.Module):\n    def __init__(self, a, b=1): ...", ("a",)),
            ("class N(nn.Module): ...", ()),
            ("class M(nn.Module):\n    def __init__(self, a): ...\nclass N(M): ...", ("a",)),
        ],
    )
    def test_know_what_they_need(self, source: str, required: tuple[str, ...]) -> None:
        assert find_factories(source)[0].required == required
