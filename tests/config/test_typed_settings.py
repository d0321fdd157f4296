"""The settings that a type checker knows: those of `Config`, with types that accept what `Config` does."""

from __future__ import annotations

import inspect
from typing import get_type_hints

from cohaudit import scan
from cohaudit.config import KEYS, Config
from cohaudit.config.typed import PathText, Settings, Texts
from cohaudit.config.used import MEANINGLESS_IN_MEMORY, used_settings

ARGUMENTS = {"holdout", "class_names"}
"""Keys that `scan` takes as arguments of its own."""


def test_every_setting_of_a_model_in_memory_is_typed() -> None:
    known = [name for name in KEYS if name not in MEANINGLESS_IN_MEMORY and name not in ARGUMENTS]
    assert list(get_type_hints(Settings)) == known
    assert set(inspect.signature(scan).parameters) >= ARGUMENTS


def test_every_setting_has_the_type_of_its_key() -> None:
    declared = get_type_hints(Config)

    def accepted(name: str) -> object:
        if KEYS[name].path:
            return PathText | declared[name]
        return Texts if declared[name] == tuple[str, ...] else declared[name]

    typed = get_type_hints(Settings)
    assert typed == {name: accepted(name) for name in typed}
    assert Settings.__total__ is False


def test_config_accepts_what_the_types_do() -> None:
    settings: Settings = {"audits": ["width"], "fail_on": ("risk>=high",), "suppressions": "reviewed.toml"}
    assert Config().updated(settings).audits == ("width",)


def test_one_text_is_a_list_of_one_and_a_function_may_be_given_itself() -> None:
    settings: Settings = {"audits": "all", "fail_on": "risk>=high", "transform": len}
    config = Config().updated(settings)
    assert (config.audits, config.fail_on) == (("all",), ("risk>=high",))
    assert config.transform is len
    assert used_settings(config, "cpu")["transform"] == "len"
