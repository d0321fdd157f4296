"""Imports and calls the code that the user names: `file.py:name` or `package.module:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

from cohaudit.errors import CohauditError, ConfigError, describe_error, did_you_mean
from cohaudit.loading.import_side_effects import find_side_effects
from cohaudit.untrusted import check_regular

_guarded: ContextVar[tuple[Path, ...]] = ContextVar("_guarded", default=())
"""Files that the user's code must not change; a context variable, so that parallel scans do not mix."""

_USE_MAIN_GUARD = "put what the script runs under `if __name__ == '__main__':`"
"""Remedy for a script that does work when it is imported."""


def load_object(spec: str, base: Path, option: str) -> Any:
    """Import the function or class that a setting names.

    A file is imported under a private name, so that its own name cannot shadow another module, and is
    imported again after it changes. It can import files beside it, in `base` and in the working directory.
    A file that would train or save a model on import is refused before it runs.

    Args:
        spec: `net.py:build`, relative to `base`, or `package.module:build`.
        base: Folder to search for relative files and for packages that are not installed.
        option: Name of the setting that holds `spec`, for messages.

    Returns:
        The callable of that name.

    Raises:
        ConfigError: If the file or module does not exist or fails on import, does not define the name, or
            the name is not callable.
    """
    where = f"{option} {spec}"
    source, _, name = spec.rpartition(":")
    if not source or not name:
        raise ConfigError(
            f"{option} {spec!r}",
            "does not name a function: expected a file or module, a colon and a name",
            "write it like net.py:build",
        )
    # even an import that fails may have overwritten the checkpoint first
    with _unchanged(where, "importing"):
        if source.endswith(".py") or "/" in source or "\\" in source:
            module = _import_file((base / source).absolute(), base, where)
        else:
            module = _import_module(source, base, where)
    if not hasattr(module, name):
        raise ConfigError(where, f"{source} has no {name!r}", _names_hint(name, module))
    factory = getattr(module, name)
    if not callable(factory):
        raise ConfigError(
            where,
            f"{name} is {_with_article(type(factory).__name__)}, not a function or class",
            _names_hint(name, module),
        )
    return factory


def call_factory(
    factory: Callable[..., Any],
    args: Mapping[str, Any],
    base: Path,
    *,
    where: str,
    failure: type[CohauditError],
    given: Sequence[Any] = (),
) -> Any:
    """Call the user's factory with the arguments from the configuration.

    Args:
        factory: Callable returned by `load_object`.
        args: Keyword arguments.
        base: Folder whose modules the factory may import while it runs.
        where: The setting that names the factory, with its value, for messages.
        failure: Class of the error to raise when the factory itself fails.
        given: Positional arguments, before the keyword arguments.

    Returns:
        The factory's return value.

    Raises:
        ConfigError: If the arguments do not fit the factory's signature, or the call changes a guarded file.
        CohauditError: An error of class `failure`, if the factory raises or exits.
        KeyboardInterrupt: If it is interrupted.
    """
    _check_arguments(factory, args, where, given)
    file = _file_of(factory)
    # a factory may import from its own folder, which left the path when its file had been imported
    with _unchanged(where, "calling"), importable(*([file.parent] if file else []), base, Path.cwd()):
        try:
            return factory(*given, **args)
        # anything: a script may call sys.exit, and its code must not become the exit code of the scan
        except KeyboardInterrupt:  # a person may have pressed Ctrl-C
            raise
        except BaseException as error:
            raise failure(
                where, f"calling it raised {_describe(error, file)}", "correct the factory, or its arguments"
            ) from error


@contextmanager
def guarding(*files: Path) -> Iterator[None]:
    """Raise an error if the user's code changes one of these files while the block runs.

    Args:
        files: Files that the user's code has no reason to write, such as the checkpoint under audit.
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
    importlib.invalidate_caches()  # a file written a moment ago may be missing from the finders' listings
    try:
        yield
    finally:
        # removed one by one, not restored from a copy: what the user's code adds to the path must stay
        for folder in added:
            with suppress(ValueError):
                sys.path.remove(folder)


@contextmanager
def _unchanged(where: str, action: str) -> Iterator[None]:
    """Raise a ConfigError if a guarded file changes in the block, even if the block raises another error."""
    before = {path: _state(path) for path in _guarded.get()}
    try:
        yield
    finally:
        changed = [str(path) for path, state in before.items() if state and _state(path) != state]
        if changed:
            names = " and ".join(changed)
            raise ConfigError(
                where,
                f"{action} it changed {names}: the code probably trains the model or writes its data again",
                f"{_USE_MAIN_GUARD}, or move the function named here into a file of its own. Then check that"
                f" {names} still holds what you want to audit.",
            )


def _state(path: Path) -> tuple[int, int] | None:
    """Return a file's size in bytes and its modification time; None if it is not a regular file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _refuse_training(path: Path, where: str) -> None:
    """Raise a ConfigError if importing a file would certainly train or save a model."""
    with suppress(OSError):  # an unreadable file gets its message from the import
        effects = find_side_effects(path.read_text(encoding="utf-8", errors="replace"))
        # a likely effect is no reason to refuse: `fit` can be that of a scaler, and a loop can be harmless
        if effects and effects[0].certain:
            raise ConfigError(
                where,
                f"importing {path.name} would train or save a model: line {effects[0].line} runs"
                f" {effects[0].what} outside any function. Nothing was run.",
                f"{_USE_MAIN_GUARD}, or move the function named here into a file of its own",
            )


def _import_file(path: Path, base: Path, where: str) -> ModuleType:
    """Import a file under a private name that is unique to this file and its modification time."""
    try:
        exists = path.is_file()
    except OSError as error:  # a name that the file system refuses, or a folder that may not be entered
        raise ConfigError(
            where, f"cannot be opened: {error.strerror}", "check the path and the permissions"
        ) from error
    if not exists:
        if path.exists() and not path.is_dir():
            check_regular(path, ConfigError)  # says what it is instead
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(where, f"the file {path} {problem}", _files_hint(path))
    # a new name after each change of the file: Python never imports one name twice
    identity = f"{path.resolve()} {path.stat().st_mtime_ns}"
    name = f"_cohaudit_{path.stem}_{hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]}"
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
        except KeyboardInterrupt:  # a person may have pressed Ctrl-C
            raise
        except BaseException as error:
            del sys.modules[name]  # else the next call would return a half-made module
            raise _import_failed(where, error, path) from error
    return module


def _import_module(name: str, base: Path, where: str) -> ModuleType:
    """Import a module by its dotted name: from `base`, the working directory or the installed packages."""
    with importable(base, Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # the module itself, or a package on its path, is missing; else an import inside it failed
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _import_failed(where, error, None) from error
            raise ConfigError(
                where,
                f"no module {error.name!r} in {base.absolute()}, in the working directory or installed",
                f"install it, or name its file: {name.replace('.', '/')}.py:NAME",
            ) from error
        except KeyboardInterrupt:  # a person may have pressed Ctrl-C
            raise
        except BaseException as error:
            raise _import_failed(where, error, None) from error


def _import_failed(where: str, error: BaseException, file: Path | None) -> ConfigError:
    """Return the error for user code that fails on import."""
    remedy = "correct the code, so that Python can import it"
    if isinstance(error, ModuleNotFoundError):
        remedy = f"install {error.name} in the environment that cohaudit runs in"
    elif isinstance(error, SystemExit):
        remedy = _USE_MAIN_GUARD
    return ConfigError(where, f"importing it raised {_describe(error, file)}", remedy)


def _describe(error: BaseException, file: Path | None) -> str:
    """Return an exception's type, text and place; the place is in `file` if the error passed through it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '').name}, line {error.lineno})"
    # the import system and this file say nothing about the place in the user's code
    frames = [
        (Path(f.filename), f.lineno)
        for f in traceback.extract_tb(error.__traceback__)
        if not f.filename.startswith("<frozen") and f.filename != __file__
    ]
    frames = [frame for frame in frames if frame[0] == file] or frames
    place = f" ({frames[-1][0].name}, line {frames[-1][1]})" if frames else ""
    return f"{describe_error(error)}{place}"


def _check_arguments(
    factory: Callable[..., Any], args: Mapping[str, Any], where: str, given: Sequence[Any]
) -> None:
    """Check the arguments against the signature before the user's code runs."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # a C function may have no signature: the call itself checks
        return
    try:
        signature.bind(*given, **args)
    except TypeError as error:
        raise ConfigError(
            where,
            f"the arguments do not fit: {error}; given: {', '.join(args) or 'none'}",
            f"use the arguments of {_name_of(factory)}{_untyped(signature)}",
        ) from error


def _untyped(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature without type annotations, which can be very long."""
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)


def _name_of(factory: Callable[..., Any]) -> str:
    return getattr(factory, "__name__", type(factory).__name__)


def _file_of(factory: Callable[..., Any]) -> Path | None:
    """Return the source file of a callable, or None."""
    try:
        file = inspect.getsourcefile(factory)
    except TypeError:
        return None
    return Path(file).absolute() if file else None


def _names_hint(name: str, module: ModuleType) -> str:
    """Suggest the callables that a module itself defines, nearest to `name` first."""
    # names that the module imports from elsewhere are no suggestions
    own = [key for key, value in vars(module).items() if _defined_in(module, value) and key != name]
    return did_you_mean(name, own) if own else "define a function there and name it"


def _defined_in(module: ModuleType, value: Any) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _files_hint(path: Path) -> str:
    """Suggest the Python files of a folder, nearest to the missing one first."""
    files = sorted(file.name for file in path.parent.glob("*.py"))
    return did_you_mean(path.name, files) if files else f"check the path: {path.parent} has no Python file"


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
