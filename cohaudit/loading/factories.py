"""Import and call of the code that the user names: `file.py:name` or `package.module:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from cohaudit.errors import CohauditError, ConfigError, describe_error, did_you_mean
from cohaudit.loading.import_side_effects import find_work

_guarded: ContextVar[tuple[Path, ...]] = ContextVar("_guarded", default=())

_MAIN = "put what the script runs under `if __name__ == '__main__':`"


def load_object(spec: str, base: Path, option: str) -> Any:
    """Import the function or class that a setting names.

    A file is imported under a private name, so that its own name can shadow nothing, and again after it
    has changed. It can import its neighbors, and what lies in `base` and in the working directory.
    A file that trains or saves a model on import is refused before it does.

    Args:
        spec: `net.py:build`, relative to `base`, or `package.module:build`.
        base: Folder that relative files, and packages that are not installed, are found in.
        option: The setting that `spec` comes from, for messages.

    Returns:
        The callable of that name.

    Raises:
        ConfigError: If there is no such code, it fails on import, or the name is not in it or no callable.
    """
    where = f"{option} {spec}"
    source, _, name = spec.rpartition(":")
    if not source or not name:
        raise ConfigError(
            f"{option} {spec!r}",
            "names no function: a file or module, a colon and a name are needed",
            "write it like net.py:build",
        )
    with _unchanged(where, "importing"):
        if source.endswith(".py") or "/" in source or "\\" in source:
            module = _import_file((base / source).absolute(), base, where)
        else:
            module = _import_module(source, base, where)
    if not hasattr(module, name):
        raise ConfigError(where, f"{source} has no {name!r}", _names_hint(name, module))
    found = getattr(module, name)
    if not callable(found):
        raise ConfigError(
            where, f"{name} is {_a(type(found).__name__)}, not a function or class", _names_hint(name, module)
        )
    return found


def call_factory(
    factory: Callable[..., Any],
    args: Mapping[str, Any],
    base: Path,
    *,
    where: str,
    failure: type[CohauditError],
) -> Any:
    """Call the user's factory with the arguments from the configuration.

    Args:
        factory: What `load_object` returned.
        args: Keyword arguments.
        base: Folder whose modules the factory may import while it runs.
        where: The setting that names the factory, with its value, for messages.
        failure: The error to raise when the factory itself raises; called with where, found, remedy.

    Returns:
        What the factory returns.

    Raises:
        ConfigError: If the arguments do not fit the factory's signature.
    """
    _check_arguments(factory, args, where)
    file = _file_of(factory)
    with _unchanged(where, "calling"), importable(*([file.parent] if file else []), base, Path.cwd()):
        try:
            return factory(**args)
        except (Exception, SystemExit) as error:
            raise failure(
                where, f"calling it raised {_told(error, file)}", "correct the factory, or its arguments"
            ) from error


@contextmanager
def guarding(*files: Path) -> Iterator[None]:
    """Make it an error when the user's code changes one of some files while the block runs.

    Args:
        files: What the user's code has no reason to write, such as the checkpoint that is audited.
    """
    token = _guarded.set(files)
    try:
        yield
    finally:
        _guarded.reset(token)


@contextmanager
def importable(*folders: Path) -> Iterator[None]:
    """Put folders first on the import path while the block runs."""
    added = [str(folder.absolute()) for folder in folders]
    sys.path[:0] = added
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for folder in added:
            with suppress(ValueError):
                sys.path.remove(folder)


@contextmanager
def _unchanged(where: str, doing: str) -> Iterator[None]:
    """Raise a ConfigError when a guarded file changes in the block, whatever else the block raises."""
    before = {path: _state(path) for path in _guarded.get()}
    try:
        yield
    finally:
        changed = [str(path) for path, state in before.items() if state and _state(path) != state]
        if changed:
            raise ConfigError(
                where,
                f"{doing} it changed {' and '.join(changed)}: it trains the model, or makes its data, again",
                f"{_MAIN}, or move what is named here into a file of its own. Then make sure that"
                f" {' and '.join(changed)} is still what you want to audit.",
            )


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written; None when there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _refuse_training(path: Path, where: str) -> None:
    """Stop before a file is imported that would train or save a model in passing."""
    with suppress(OSError):
        work = find_work(path.read_text(encoding="utf-8", errors="replace"))[:1]
        if work and work[0].certain:
            raise ConfigError(
                where,
                f"importing {path.name} would train or save a model: line {work[0].line} runs"
                f" {work[0].what} outside of any function. Nothing was run.",
                f"{_MAIN}, or move what is named here into a file of its own",
            )


def _import_file(path: Path, base: Path, where: str) -> ModuleType:
    """Import a file under a name that belongs to this state of it alone."""
    try:
        found = path.is_file()
    except OSError as error:  # a name that the file system refuses, or a folder that may not be entered
        raise ConfigError(
            where, f"cannot be opened: {error.strerror}", "check the path and the permissions"
        ) from error
    if not found:
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(where, f"the file {path} {what}", _files_hint(path))
    identity = f"{path.resolve()} {path.stat().st_mtime_ns}"
    name = f"_cohaudit_{path.stem}_{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(where, f"{path.name} is not a Python file", "name a file that ends in .py")
    _refuse_training(path, where)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    with importable(path.parent, base, Path.cwd()):
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise _import_failed(where, error, path) from error
    return module


def _import_module(name: str, base: Path, where: str) -> ModuleType:
    """Import a module by its dotted name, from `base`, the working directory or what is installed."""
    with importable(base, Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _import_failed(where, error, None) from error
            raise ConfigError(
                where,
                f"no module {error.name!r} in {base.absolute()}, in the working directory, or installed",
                f"install it, or name its file: {name.replace('.', '/')}.py:…",
            ) from error
        except (Exception, SystemExit) as error:
            raise _import_failed(where, error, None) from error


def _import_failed(where: str, error: BaseException, file: Path | None) -> ConfigError:
    """Say what went wrong inside the user's code, and what to do about it."""
    remedy = "correct it: Python must be able to import it"
    if isinstance(error, ModuleNotFoundError):
        remedy = f"install {error.name} in the environment that cohaudit runs in"
    elif isinstance(error, SystemExit):
        remedy = _MAIN
    return ConfigError(where, f"importing it raised {_told(error, file)}", remedy)


def _told(error: BaseException, file: Path | None) -> str:
    """Return type, text and place of an exception, the place in `file` if it passed through it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '').name}, line {error.lineno})"
    frames = [
        (Path(f.filename), f.lineno)
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith("<frozen") and f.filename != __file__
    ]
    frames = [frame for frame in frames if frame[0] == file] or frames
    place = f" ({frames[-1][0].name}, line {frames[-1][1]})" if frames else ""
    return f"{describe_error(error)}{place}"


def _check_arguments(factory: Callable[..., Any], args: Mapping[str, Any], where: str) -> None:
    """Hold the arguments against the signature before anything of the user's runs."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C without one: the call will tell
        return
    try:
        signature.bind(**args)
    except TypeError as error:
        raise ConfigError(
            where,
            f"its arguments do not fit: {error}; given: {', '.join(args) or 'none'}",
            f"give what it takes: {_name_of(factory)}{_untyped(signature)}",
        ) from error


def _untyped(signature: inspect.Signature) -> inspect.Signature:
    """Leave out the types, which the source may write at any length."""
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)


def _name_of(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _file_of(factory: Callable[..., Any]) -> Path | None:
    """Return the file that a callable is written in, None when it is not in one."""
    try:
        file = inspect.getsourcefile(factory)
    except TypeError:
        return None
    return Path(file).absolute() if file else None


def _names_hint(name: str, module: ModuleType) -> str:
    """Suggest what a module itself defines, nearest to `name` first."""
    own = [key for key, value in vars(module).items() if _defined_in(module, value) and key != name]
    return did_you_mean(name, own) if own else "define a function there and name it"


def _defined_in(module: ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _files_hint(path: Path) -> str:
    """Suggest the Python files of a folder, nearest to the missing one first."""
    files = sorted(file.name for file in path.parent.glob("*.py"))
    return did_you_mean(path.name, files) if files else f"check the path: {path.parent} has no Python file"


def _a(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
