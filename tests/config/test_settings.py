"""Settings: declared once, found in the right file, overridden by options, refused with words that help."""

from __future__ import annotations

import math
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohaudit.config import KEYS, Config, Effect
from cohaudit.config.file import find_config, load_config, option_name, require_subject
from cohaudit.config.keys import TYPES, Function, Table, Texts, Thresholds, toml_value
from cohaudit.config.used import used_settings
from cohaudit.errors import ConfigError

CHECKPOINT = Path("model.safetensors")

VALID: dict[Any, Any] = {
    str: "some text",
    Function: "some text",
    bool: True,
    int: 64,
    float: 0.625,
    Texts: ["a", "b"],
    Thresholds: [0.1, 0.2, 0.3],
    Table: {"width": 64, "bias": True},
}
"""Type of a key → a value that TOML can hold and that no default equals."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_every_field_but_base_and_source_is_a_key() -> None:
    assert [*KEYS, "base", "source"] == [field.name for field in fields(Config)]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_declares_what_it_takes(key: Any) -> None:
    assert key.type in TYPES
    assert key.help.endswith(".")
    assert key.checked(key.default, key.name) == key.default
    assert (key.interval is not None) == (key.type in {int, float, Thresholds})


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_can_be_set_in_a_file(key: Any) -> None:
    value = VALID[key.type]
    text = (
        f"[{key.name}]\nwidth = 64\nbias = true" if key.type == Table else f"{key.name} = {toml_value(value)}"
    )
    found = getattr(load_config(CHECKPOINT, {}, write("cohaudit.toml", text)), key.name)
    assert found == (tuple(value) if isinstance(value, list) else value)
    assert type(found) is type(key.default)


def test_without_a_file_all_is_default() -> None:
    assert load_config(CHECKPOINT, {}) == Config()


def test_the_file_beside_the_checkpoint_comes_first_and_is_used_alone() -> None:
    write("pyproject.toml", "[tool.cohaudit]\nseed = 3\nlimit = 3")
    assert load_config(Path("run/model.pt"), {}).seed == 3
    write("cohaudit.toml", "seed = 2\nneighbors = 2")
    assert load_config(Path("run/model.pt"), {}).seed == 2
    write("run/cohaudit.toml", "seed = 1")
    config = load_config(Path("run/model.pt"), {})
    assert (config.seed, config.neighbors, config.limit) == (1, 20, 0)
    assert config.source == str(Path("run/cohaudit.toml"))
    named = load_config(Path("run/model.pt"), {}, Path("pyproject.toml"))
    assert (named.seed, named.neighbors, named.limit) == (3, 20, 3)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[tool.ruff]\nline-length = 100"])
def test_a_pyproject_without_the_table_is_not_the_configuration(text: str) -> None:
    write("pyproject.toml", text)
    assert find_config(CHECKPOINT) is None


@pytest.mark.parametrize("place", ["run/cohaudit.toml", "cohaudit.toml", "pyproject.toml"])
def test_a_file_that_was_found_cannot_trust_the_checkpoint(place: str) -> None:
    table = "[tool.cohaudit]\n" if place == "pyproject.toml" else ""
    file = write(place, f"{table}trust_checkpoint = true")
    with pytest.raises(ConfigError) as caught:
        load_config(Path("run/model.pt"), {})
    assert caught.value.where == f"{file}: trust_checkpoint"
    assert "--trust-checkpoint" in caught.value.remedy
    assert f"--config {file}" in caught.value.remedy
    assert load_config(Path("run/model.pt"), {}, file).trust_checkpoint, "a file that was named can"
    assert load_config(Path("run/model.pt"), {"trust_checkpoint": True}).trust_checkpoint
    assert not load_config(Path("run/model.pt"), {"trust_checkpoint": False}).trust_checkpoint


def test_options_win_over_the_file() -> None:
    write("cohaudit.toml", "seed = 1\nlimit = 50")
    config = load_config(CHECKPOINT, {"seed": 2})
    assert (config.seed, config.limit) == (2, 50)


def test_keyword_arguments_are_added_to_those_in_the_file() -> None:
    write("cohaudit.toml", "model_args = { width = 16, hidden = 64 }")
    config = load_config(CHECKPOINT, {"model_args": {"width": 32}})
    assert config.model_args == {"width": 32, "hidden": 64}


class TestPaths:
    """Relative to the file that they stand in; options and the default of `out`: to the working directory."""

    def load(self, **options: Any) -> Config:
        write("run/cohaudit.toml", 'model = "net.py:build"\ndata = "train.npz"')
        return load_config(Path("run/model.pt"), options, Path("run/cohaudit.toml"))

    def test_in_a_file(self) -> None:
        config = self.load()
        assert config.base == Path.cwd() / "run"
        assert (config.model, config.data) == ("net.py:build", "train.npz")

    def test_out(self) -> None:
        assert self.load().base / self.load().out == Path.cwd() / "cohaudit-report"
        assert self.load(out="here").base / self.load(out="here").out == Path.cwd() / "here"
        write("run/cohaudit.toml", 'out = "there"')
        config = load_config(Path("run/model.pt"), {})
        assert config.base / config.out == Path.cwd() / "run" / "there"

    @pytest.mark.parametrize("given", ["train.npz", "net.py:build", "a:b/c", "my data"])
    def test_as_an_option(self, given: str) -> None:
        config = self.load(data=given)
        assert config.data == str(Path.cwd() / given)

    @pytest.mark.parametrize("module", ["package.module:build", "net:build", ""])
    def test_a_module_is_no_path(self, module: str) -> None:
        assert self.load(model=module).model == module

    def test_stay_as_given_when_both_mean_the_same_folder(self) -> None:
        write("cohaudit.toml", "")
        assert load_config(CHECKPOINT, {"data": "train.npz"}).data == "train.npz"

    def test_of_a_linked_file_are_relative_to_the_link(self) -> None:
        write("shared/settings.toml", "")
        Path("cohaudit.toml").symlink_to("shared/settings.toml")
        assert load_config(CHECKPOINT, {}).base == Path.cwd()


WRONG = [
    (
        'batch_size = "many"',
        "batch_size",
        "found 'many', a text",
        "a whole number of at least 1 (default: 128)",
    ),
    ("batch_size = 1.5", "batch_size", "found 1.5, a number", "a whole number"),
    ("batch_size = true", "batch_size", "found True, true or false", "a whole number"),
    ("batch_size = 0", "batch_size", "found 0, a whole number", "of at least 1"),
    ("limit = -1", "limit", "found -1", "of at least 0"),
    ("seed = -1", "seed", "found -1", "between 0 and"),
    ("temperature = 0", "temperature", "found 0", "a number above 0"),
    ("temperature = nan", "temperature", "found nan", "a number above 0"),
    ("temperature = inf", "temperature", "found inf", "a number above 0"),
    ("temperature = 1" + "0" * 400, "temperature", "found 1000", "a number above 0"),
    ("neighbors = 0", "neighbors", "found 0", "of at least 1"),
    ("sketch_size = 0", "sketch_size", "found 0", "of at least 1"),
    ("bootstrap = 19", "bootstrap", "found 19", "of at least 20"),
    ("confidence = 1.0", "confidence", "found 1.0", "strictly between 0 and 1"),
    ("suspicion_threshold = 1.5", "suspicion_threshold", "found 1.5", "between 0 and 1"),
    ("risk_levels = [0.5, 0.25, 0.75]", "risk_levels", "found [0.5, 0.25, 0.75]", "three rising numbers"),
    ("risk_levels = [0.25, 0.25, 0.75]", "risk_levels", "found [0.25, 0.25, 0.75]", "three rising numbers"),
    ("risk_levels = [0.25, 0.5]", "risk_levels", "found [0.25, 0.5], a list", "three rising numbers"),
    ("risk_levels = [0.25, 0.5, 2]", "risk_levels", "found [0.25, 0.5, 2]", "each between 0 and 1"),
    ("risk_levels = 0.5", "risk_levels", "found 0.5, a number", "three rising numbers"),
    ("inputs = 3", "inputs", "found 3, a whole number", 'a list of texts, like ["a", "b"]'),
    ("class_names = [0, 1]", "class_names", "found [0, 1], a list", "a list of texts"),
    ("model = 3", "model", "found 3, a whole number", "a text in quotes"),
    ('trust_checkpoint = "yes"', "trust_checkpoint", "found 'yes', a text", "true or false"),
    ("model_args = 3", "model_args", "found 3, a whole number", "a table, like { width = 64 }"),
    ("data = 2020-02-24", "data", "a date", "a text in quotes"),
    ("labels = {}", "labels", "found {}, a table", "a text in quotes"),
]


@pytest.mark.parametrize(("text", "key", "found", "remedy"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_value_is_named_with_what_is_expected(text: str, key: str, found: str, remedy: str) -> None:
    write("cohaudit.toml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(CHECKPOINT, {})
    assert caught.value.where == f"cohaudit.toml: {key}"
    assert found in caught.value.found
    assert remedy in caught.value.remedy


def test_a_wrong_value_is_refused_alike_as_an_option_and_from_python() -> None:
    with pytest.raises(ConfigError, match=r"^--batch-size: found 0, a whole number"):
        load_config(CHECKPOINT, {"batch_size": 0})
    with pytest.raises(ConfigError, match=r"^batch_size: found 0, a whole number"):
        Config(batch_size=0)
    with pytest.raises(ConfigError, match=r"^batch_size: found 0, a whole number"):
        Config().updated({"batch_size": 0})


def test_a_long_wrong_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(batch_size="x" * 10_000)  # type: ignore[arg-type]  # that is what is tested
    assert len(str(caught.value)) < 300


def test_python_types_are_accepted_where_they_mean_the_same() -> None:
    config = Config(
        data=Path("train.npz"),  # type: ignore[arg-type]  # a path is as good as its text
        class_names=["a", "b"],  # type: ignore[arg-type]  # and a list as a tuple
        batch_size=np.int64(32),  # type: ignore[arg-type]
        temperature=np.float32(2),
    )
    assert (config.data, config.class_names) == ("train.npz", ("a", "b"))
    assert type(config.batch_size) is int
    assert type(config.temperature) is float


@pytest.mark.parametrize(
    ("written", "meant"),
    [("batchsize", "batch_size"), ("batch-size", "batch_size"), ("neighbours", "neighbors")],
)
def test_an_unknown_key_suggests_the_nearest(written: str, meant: str) -> None:
    write("cohaudit.toml", f"{written} = 64")
    with pytest.raises(ConfigError) as caught:
        load_config(CHECKPOINT, {})
    assert caught.value.where == f"cohaudit.toml: {written}"
    assert caught.value.found == "there is no such key"
    assert caught.value.remedy.startswith(f"did you mean {meant}")


def test_an_unknown_key_near_to_nothing_lists_some() -> None:
    with pytest.raises(ConfigError, match=r"use one of model, model_args, .* and \d+ more"):
        Config().updated({"xyzzy": 1})


def test_broken_toml_names_file_and_line() -> None:
    write("cohaudit.toml", "seed = 1\nlimit =\n")
    with pytest.raises(ConfigError, match=r"cohaudit\.toml: is not valid TOML: .*line 2"):
        load_config(CHECKPOINT, {})


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 50000])
def test_toml_beyond_what_can_be_read_is_refused(value: str) -> None:
    write("cohaudit.toml", f"seed = {value}")
    with pytest.raises(ConfigError, match=r"cohaudit\.toml: holds a number too long, or arrays too deep"):
        load_config(CHECKPOINT, {})


def test_a_file_in_another_encoding_says_so() -> None:
    Path("cohaudit.toml").write_bytes('labels = "Größe"'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cohaudit\.toml: is not UTF-8"):
        load_config(CHECKPOINT, {})


def test_a_byte_order_mark_is_no_obstacle() -> None:
    Path("cohaudit.toml").write_bytes(b"\xef\xbb\xbfseed = 1")
    assert load_config(CHECKPOINT, {}).seed == 1


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_named_file_that_cannot_be_read_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read|is a folder, not a regular file"):
        load_config(CHECKPOINT, {}, Path(name))


def test_a_named_pyproject_must_have_the_table() -> None:
    with pytest.raises(ConfigError, match=r"has no table \[tool\.cohaudit\]"):
        load_config(CHECKPOINT, {}, write("pyproject.toml", ""))


def test_an_impossible_checkpoint_name_is_left_to_whoever_opens_it() -> None:
    assert load_config(Path("x" * 5000, "model.pt"), {}) == Config()


@pytest.mark.parametrize(
    ("text", "missing", "example"),
    [("", "model", "net.py:build"), ('model = "net.py:build"', "data", "train.npz")],
)
def test_a_missing_model_or_dataset_says_what_to_write(text: str, missing: str, example: str) -> None:
    write("cohaudit.toml", text)
    with pytest.raises(ConfigError) as caught:
        require_subject(load_config(CHECKPOINT, {}))
    assert caught.value.where == "cohaudit.toml"
    for advice in (f'{missing} = "{example}"', f"--{missing} {example}", "cohaudit init"):
        assert advice in caught.value.remedy


def test_a_complete_configuration_passes() -> None:
    require_subject(Config(model="net.py:build", data="train.npz"))


def test_options_are_named_after_keys() -> None:
    assert [option_name(key) for key in ("batch_size", "model_args")] == ["--batch-size", "--model-arg"]


@given(
    st.text()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(st.text())
)
def test_values_are_written_as_valid_toml(value: Any) -> None:
    read = tomllib.loads(f"value = {toml_value(value)}")["value"]
    assert read == value
    assert type(read) is type(value)


@given(st.floats())
def test_every_number_is_either_in_range_or_refused(value: float) -> None:
    if math.isfinite(value) and 0 < value < 1:
        assert Config(confidence=value).confidence == value
    else:
        with pytest.raises(ConfigError):
            Config(confidence=value)


def test_what_a_setting_changes_decides_where_it_counts() -> None:
    config = Config(batch_size=7, seed=3, model="net.py:build")
    gradients = config.values_affecting(Effect.GRADIENTS)
    assert gradients["seed"] == 3
    assert not {"batch_size", "model", "neighbors"} & set(gradients)
    assert config.values_affecting(Effect.SUMS)["batch_size"] == 7
    recorded = used_settings(config, "cpu")
    assert {*gradients, "batch_size", "neighbors", "device"} <= set(recorded)
    assert not {"model", "data", "out", "templates", "fail_on", "trust_checkpoint"} & set(recorded)
