"""Importing and calling what the user names."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from cohaudit.errors import ConfigError, ModelError
from cohaudit.loading.factories import call_factory, guarding, importable, load_object


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def failure_of(spec: str, base: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_object(spec, base, "model")
    assert caught.value.where.startswith("model ")
    return str(caught.value)


def test_loads_a_function_from_a_file_relative_to_base(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "def build():\n    return 7\n")
    assert load_object("net.py:build", tmp_path, "model")() == 7
    assert load_object(f"{tmp_path}/net.py:build", Path("/nowhere"), "model")() == 7


def test_loads_a_function_from_a_module_in_base_or_working_directory(tmp_path, monkeypatch) -> None:
    write(tmp_path / "here/zoo_in_base/nets.py", "def build():\n    return 1\n")
    write(tmp_path / "there/zoo_in_cwd.py", "def build():\n    return 2\n")
    monkeypatch.chdir(tmp_path / "there")
    assert load_object("zoo_in_base.nets:build", tmp_path / "here", "model")() == 1
    assert load_object("zoo_in_cwd:build", tmp_path / "here", "model")() == 2
    assert load_object("os.path:join", tmp_path, "model") is os.path.join


def test_a_file_can_import_its_neighbors_and_the_import_path_is_as_before(tmp_path: Path) -> None:
    write(tmp_path / "neighbor_a.py", "SIZE = 3\n")
    write(tmp_path / "neighbor_b.py", "SIZE = 4\n")
    write(
        tmp_path / "net.py",
        "from neighbor_a import SIZE\n"
        "def build():\n    import neighbor_b\n    return SIZE + neighbor_b.SIZE\n",
    )
    before = list(sys.path)
    factory = load_object("net.py:build", tmp_path, "model")
    assert sys.path == before
    assert call_factory(factory, {}, tmp_path, where="model", failure=ModelError) == 7
    assert sys.path == before


def test_a_file_can_import_from_the_working_directory(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path / "root/parts_in_root/blocks.py", "SIZE = 5\n")
    code = "from parts_in_root.blocks import SIZE\ndef build():\n    return SIZE\n"
    write(tmp_path / "root/nets/net.py", code)
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    assert load_object("net.py:build", tmp_path / "root/nets", "model")() == 5


def test_what_the_users_code_adds_to_the_import_path_stays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with importable(tmp_path):
        assert sys.path[0] == str(tmp_path)
        sys.path.insert(0, "/added/by/user")
    assert sys.path[0] == "/added/by/user"
    assert str(tmp_path) not in sys.path


def test_a_file_shadows_no_module_of_its_name(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "def dumps():\n    return 'mine'\n")
    import json

    assert load_object("json.py:dumps", tmp_path, "model")() == "mine"
    assert sys.modules["json"] is json
    assert json.dumps([1]) == "[1]"


def test_dataclasses_and_pickle_work_in_a_file(tmp_path: Path) -> None:
    write(
        tmp_path / "net.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Net:\n    width: int = 2\n",
    )
    net = load_object("net.py:Net", tmp_path, "model")(3)
    assert pickle.loads(pickle.dumps(net)) == net


def test_a_file_runs_once_until_it_changes(tmp_path: Path) -> None:
    file = write(tmp_path / "net.py", "def build():\n    return 1\n")
    first = load_object("net.py:build", tmp_path, "model")
    assert load_object("net.py:build", tmp_path, "data") is first
    write(file, "def build():\n    return 22\n")
    os.utime(file, ns=(1, 1))
    assert load_object("net.py:build", tmp_path, "model")() == 22


@pytest.mark.parametrize("spec", ["", "net.py", "net.py:", ":build", "net"])
def test_a_spec_without_both_parts(spec: str, tmp_path: Path) -> None:
    assert "write it like net.py:build" in failure_of(spec, tmp_path)


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "network.py", "")
    message = failure_of("netwrok.py:build", tmp_path)
    assert "does not exist" in message
    assert "did you mean network.py?" in message


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "has no Python file" in failure_of("nowhere/net.py:build", tmp_path)


def test_a_folder_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").mkdir()
    assert "is a folder" in failure_of("net.py:build", tmp_path)


def test_a_file_that_is_not_python(tmp_path: Path) -> None:
    write(tmp_path / "sub/net.txt", "hello")
    assert "name a file that ends in .py" in failure_of("sub/net.txt:build", tmp_path)


@pytest.mark.parametrize(
    ("code", "fragment"),
    [
        ("x = 1\ny = [][3]\n", "IndexError: list index out of range (net.py, line 2)"),
        ("import torch\ntorch.nn.Linear(-1, 'a')\n", "(net.py, line 2)"),
        ("def build(:\n", "SyntaxError"),
        ("\n\nimport package_that_is_not_there\n", "(net.py, line 3)"),
        ("import sys\nsys.exit('usage: net.py DATA')\n", "SystemExit: usage: net.py DATA (net.py, line 2)"),
    ],
)
def test_a_file_that_fails_on_import_says_what_and_where(code: str, fragment: str, tmp_path: Path) -> None:
    write(tmp_path / "net.py", code)
    message = failure_of("net.py:build", tmp_path)
    assert fragment in message
    assert failure_of("net.py:build", tmp_path) == message, "a failed import must not be remembered"


def test_a_syntax_error_in_a_neighbor_is_placed_there(tmp_path: Path) -> None:
    write(tmp_path / "broken_neighbor.py", "x = 1\nx = (\n")
    write(tmp_path / "net.py", "import broken_neighbor\n")
    assert "(broken_neighbor.py, line 2)" in failure_of("net.py:build", tmp_path)


def test_a_missing_package_is_to_be_installed(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "import package_that_is_not_there\n")
    assert "install package_that_is_not_there" in failure_of("net.py:build", tmp_path)


def test_a_missing_module(tmp_path: Path) -> None:
    message = failure_of("module_that_is_not_there.nets:build", tmp_path)
    assert "no module 'module_that_is_not_there'" in message
    assert str(tmp_path) in message


def test_a_module_whose_own_import_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "module_with_bad_import.py", "import package_that_is_not_there\n")
    message = failure_of("module_with_bad_import:build", tmp_path)
    assert "install package_that_is_not_there" in message


def test_a_module_that_fails_on_import(tmp_path: Path) -> None:
    write(tmp_path / "module_that_raises.py", "1 / 0\n")
    message = failure_of("module_that_raises:build", tmp_path)
    assert "ZeroDivisionError: division by zero (module_that_raises.py, line 1)" in message


def test_a_missing_name_suggests_the_nearest_that_the_file_defines(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "from math import floor as built\ndef build(): ...\ndef other(): ...\n")
    assert "did you mean build?" in failure_of("net.py:biuld", tmp_path)
    assert "use one of build, other" in failure_of("net.py:zzz", tmp_path)


def test_a_file_that_defines_nothing(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "")
    assert "define a function there" in failure_of("net.py:build", tmp_path)


def test_a_name_that_is_no_callable(tmp_path: Path) -> None:
    write(tmp_path / "net.py", "build = 3\ndef make(): ...\n")
    message = failure_of("net.py:build", tmp_path)
    assert "build is an int, not a function or class" in message
    assert "make" in message


def call(tmp_path: Path, code: str, **args: object) -> object:
    write(tmp_path / "net.py", code)
    factory = load_object("net.py:build", tmp_path, "model")
    return call_factory(factory, args, tmp_path, where="model net.py:build", failure=ModelError)


def test_calls_with_keyword_arguments(tmp_path: Path) -> None:
    assert call(tmp_path, "def build(a, b=2):\n    return a + b\n", a=1) == 3


def test_a_class_and_a_callable_object_are_factories(tmp_path: Path) -> None:
    assert type(call(tmp_path, "class build: ...\n")).__name__ == "build"
    code = "class Maker:\n    def __call__(self, a):\n        return a\nbuild = Maker()\n"
    assert call(tmp_path, code, a=5) == 5


@pytest.mark.parametrize(("args", "what"), [({"width": 1, "hiden": 8}, "'hiden'"), ({}, "'width'")])
def test_arguments_that_do_not_fit_show_the_signature(args: dict, what: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        call(tmp_path, "def build(width: int, hidden: 'int' = 3) -> None: ...\n", **args)
    assert what in caught.value.found
    assert caught.value.remedy == "use the arguments of build(width, hidden=3)"


def test_a_factory_that_raises_is_not_taken_for_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        call(tmp_path, "def build(a=1):\n    return len(a)\n")
    assert "TypeError: object of type 'int' has no len() (net.py, line 2)" in caught.value.found
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_factory_that_exits(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="SystemExit: 3"):
        call(tmp_path, "def build():\n    raise SystemExit(3)\n")


def test_a_factory_without_a_signature_is_called_all_the_same(tmp_path: Path) -> None:
    assert call_factory(dict, {"a": 1}, tmp_path, where="data", failure=ModelError) == {"a": 1}
    with pytest.raises(ModelError, match="TypeError"):
        call_factory(int, {"nonsense": 1}, tmp_path, where="data", failure=ModelError)


@pytest.mark.parametrize("line", ["loss.backward()", "torch.save({}, 'model.pt')"])
def test_a_file_that_trains_on_import_is_refused_before_it_does(line: str, tmp_path: Path) -> None:
    write(tmp_path / "train.py", f"open('ran', 'w')\ndef build(): ...\n{line}\n")
    fragment = failure_of("train.py:build", tmp_path)
    assert "line 3 runs " + line.partition("(")[0] in fragment
    assert "Nothing was run" in fragment
    assert "`if __name__ == '__main__':`" in fragment
    assert not Path("ran").exists()


WRITES = "import pathlib\npath = pathlib.Path({!r})\n"


@pytest.mark.parametrize("ending", ["", "raise RuntimeError('out of memory')\n", "raise SystemExit(0)\n"])
def test_an_import_that_changes_a_guarded_file_is_an_error(ending: str, tmp_path: Path) -> None:
    model = write(tmp_path / "model.pt", "weights")
    code = WRITES.format(str(model)) + "path.write_text('others')\n" + ending + "def build(): ...\n"
    write(tmp_path / "train.py", code)
    with guarding(model, tmp_path / "missing.npz", tmp_path):
        fragment = failure_of("train.py:build", tmp_path)
    assert f"importing it changed {model}: the code probably trains the model" in fragment
    assert "still holds what you want to audit" in fragment


def test_a_module_that_changes_a_guarded_file_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path / "train.npz", "data")
    write(tmp_path / "writes_data.py", WRITES.format(str(data)) + "path.write_text('more data')\n")
    with guarding(data):
        assert "importing it changed" in failure_of("writes_data:build", tmp_path)


def test_a_factory_that_changes_a_guarded_file_is_an_error(tmp_path: Path) -> None:
    model = write(tmp_path / "model.pt", "weights")
    code = WRITES.format(str(model)) + "def build():\n    path.write_text('others')\n"
    write(tmp_path / "net.py", code)
    with guarding(model):
        factory = load_object("net.py:build", tmp_path, "model")
        with pytest.raises(ConfigError, match="calling it changed"):
            call_factory(factory, {}, tmp_path, where="model net.py:build", failure=ModelError)
    assert call_factory(factory, {}, tmp_path, where="model", failure=ModelError) is None, "guarded no more"


def test_what_is_only_read_may_be_guarded(tmp_path: Path) -> None:
    model = write(tmp_path / "model.pt", "weights")
    write(tmp_path / "net.py", WRITES.format(str(model)) + "def build():\n    return path.read_text()\n")
    with guarding(model):
        factory = load_object("net.py:build", tmp_path, "model")
        assert call_factory(factory, {}, tmp_path, where="model", failure=ModelError) == "weights"
