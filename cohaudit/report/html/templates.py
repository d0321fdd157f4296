"""The templates: those that cohaudit ships, and a user's folder whose files replace single ones.

A user's template is code that the user names, like a model's factory: it runs in jinja's plain environment.
Names from the audit stay escaped, whichever template shows them.
"""

from __future__ import annotations

import base64
import hashlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
)
from jinja2.environment import TemplateModule
from jinja2.utils import missing
from markupsafe import Markup

from cohaudit.errors import UserTemplateError, describe_error, did_you_mean
from cohaudit.untrusted import read_text

_PACKAGE = Path(__file__).parents[2]
"""Folder of the package."""
_TEMPLATES = (_PACKAGE / "templates", _PACKAGE.parent / "templates")
"""Folders of the templates: inside an installed package, and beside the package in the repository."""
PREFIX = "cohaudit"
"""Prefix that names a shipped template even if a user's one replaces it: cohaudit/report.html.j2."""

_GUIDE = "docs/templates.md says what a template sees"
"""Remedy for an error in a template that has no other."""
"""Remedy for an error that no suggestion fits."""
_SEEN = ("page", "audit", "difference", "show")
"""Names that a template sees at the top: page and audit of a report, page and difference of a diff page."""


def render(name: str, folder: Path | None, **seen: object) -> str:
    """Render a template.

    Args:
        name: Name of the template.
        folder: Folder of a user's templates, which come first; None for the shipped ones only.
        **seen: Objects that the templates see, by name.

    Returns:
        The page.

    Raises:
        UserTemplateError: A template of the user cannot be used, or fails.
    """
    if folder is None:
        return _shipped().get_template(name).render(**seen)
    check_templates(folder)
    try:
        return _environment(folder).get_template(name).render(**seen)
    # a template is code, and can raise anything
    except Exception as error:
        place = _place(error, folder)
        if not place and not isinstance(error, TemplateError):
            raise  # an error of cohaudit itself: no template of the user is involved
        failure = _failure(place or f"{folder}, used by a shipped template", error, folder)
        raise failure from error


def check_templates(folder: Path) -> None:
    """Refuse templates that cannot be used, before anything expensive happens.

    Args:
        folder: Folder of a user's templates.

    Raises:
        UserTemplateError: The folder does not exist or is empty; or a file does not replace a template,
            cannot be read, is not a valid template, or loads itself or a template that does not exist.
    """
    if not folder.is_dir():
        found = "is a file, not a folder" if folder.exists() else "does not exist"
        raise UserTemplateError(f"--templates {folder}", found, "name the folder that holds your templates")
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    shipped = _shipped().list_templates()
    if not files:
        remedy = f"add one with the name of a shipped template: {', '.join(shipped[:3])}, …"
        raise UserTemplateError(f"--templates {folder}", "has no templates", remedy)
    environment = _environment(folder)
    used = set[str]()
    # Follow what the replaced templates load: a file that nothing loads is a typo.
    todo = [name for name in files if name in shipped]
    while todo:
        name = todo.pop()
        used.add(name)
        todo += _own_loaded(environment, folder, name, files) - used
    for name in files:
        if name not in used:
            raise UserTemplateError(
                f"{folder / name}",
                "does not replace a shipped template, and none of your templates loads it",
                f"{did_you_mean(name, shipped)} To load a file of your own, write {{% include {name!r} %}}",
            )


def _own_loaded(environment: Environment, folder: Path, name: str, files: list[str]) -> set[str]:
    """Check one template and return the user's files that it loads."""
    loaded = set[str]()
    for line, wanted, must_exist in _loads(environment, folder, name):
        if wanted is None:  # a computed name, known only when rendered: it may be any of the files
            loaded.update(files)
        elif wanted in files:
            loaded.add(wanted)
        elif must_exist and wanted not in environment.list_templates():
            known = [*files, *_shipped().list_templates()]
            found = f"loads {wanted!r}, which does not exist"
            raise UserTemplateError(f"{folder / name}:{line}", found, did_you_mean(wanted, known))
        # its plain name means this file itself, not the shipped template that it replaces
        if wanted == name and must_exist:
            raise _loads_itself(f"{folder / name}:{line}", name)
    return loaded


def _loads(environment: Environment, folder: Path, name: str) -> Iterator[tuple[int, str | None, bool]]:
    """Yield line, name (None if computed) and whether it must exist, for each template that a file loads."""
    path = folder / name
    try:
        source = read_text(path, UserTemplateError)
        tree = environment.parse(source, name, str(path))
        environment.compile(tree, name, str(path))  # fails on filters and tests that do not exist
    except (OSError, UnicodeDecodeError) as error:
        raise UserTemplateError(
            str(path), f"cannot be read ({describe_error(error)})", "save it as UTF-8 text"
        ) from None
    except TemplateSyntaxError as error:
        raise _failure(f"{path}:{error.lineno}", error, folder) from None
    loading: Any  # jinja's type of the nodes found has no `template`
    for loading in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        several = isinstance(loading.template, nodes.List | nodes.Tuple)
        # of several names, jinja takes the first that exists
        must_exist = not several and not getattr(loading, "ignore_missing", False)
        for one in loading.template.items if several else [loading.template]:
            constant = isinstance(one, nodes.Const) and isinstance(one.value, str)
            yield loading.lineno, one.value if constant else None, must_exist


def _place(error: BaseException, folder: Path) -> str:
    """Return file and line of the user's template in which rendering failed; empty if it failed elsewhere."""
    # jinja rewrites tracebacks so that their frames point into the template's source.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(folder)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _failure(place: str, error: Exception, folder: Path) -> UserTemplateError:
    if isinstance(error, TemplateSyntaxError):
        return UserTemplateError(place, f"is not a valid template: {error.message}", "correct that line")
    if isinstance(error, UndefinedError):
        # `_unknown` puts the remedy on a second line
        found, _, remedy = str(error).partition("\n")
        return UserTemplateError(place, found, remedy or _GUIDE)
    if isinstance(error, TemplateNotFound):
        found = f"loads {error.name!r}, which does not exist"
        return UserTemplateError(place, found, "name a file of that folder or a shipped template")
    # check_templates finds a file that loads itself, but not two that load each other
    if isinstance(error, RecursionError):
        return _loads_itself(place, place.removeprefix(f"{folder.as_posix()}/").partition(":")[0])
    return UserTemplateError(place, f"fails: {describe_error(error)}", f"correct the template; {_GUIDE}")


def _loads_itself(place: str, name: str) -> UserTemplateError:
    remedy = "remove the recursion"
    if name in _shipped().list_templates():
        remedy += f'; to extend the shipped template, use its prefix: {{% extends "{PREFIX}/{name}" %}}'
    return UserTemplateError(place, "loads or calls itself endlessly", remedy)


class _Unknown(StrictUndefined):
    """A name that does not exist: its error says so, and suggests the nearest name."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = UndefinedError
    ) -> None:
        super().__init__(hint or _unknown(obj, name), obj, name, exc)


def _unknown(owner: Any, name: str | None) -> str | None:
    """Return an error message and, on a second line, a remedy; None to keep jinja's own message."""
    # jinja's mark for a name at the top, which belongs to no object
    if owner is missing:
        return f"there is no {name!r}\n{did_you_mean(str(name), _SEEN)}"
    if is_dataclass(owner):
        called = type(owner).__name__
        known = [field.name for field in fields(owner)]
    elif isinstance(owner, TemplateModule):
        called = str(owner.__name__)
        known = [one for one in vars(owner) if not one.startswith("_")]
    else:
        return None
    return f"{called} has no {name!r}\n{did_you_mean(str(name), known) if known else 'define it there'}"


@cache
def _shipped() -> Environment:
    return _plain(FileSystemLoader(_TEMPLATES))


def _environment(folder: Path) -> Environment:
    shipped = FileSystemLoader(_TEMPLATES)
    return _plain(ChoiceLoader([FileSystemLoader(folder), shipped, PrefixLoader({PREFIX: shipped})]))


def _plain(loader: Any) -> Environment:
    # jinja's select_autoescape() is off for names such as report.html.j2: escape always.
    environment = Environment(
        loader=loader, autoescape=True, undefined=_Unknown, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["inline_script"] = partial(_inline_script, environment)
    return environment


@dataclass(frozen=True)
class InlineScript:
    """A script inside the page."""

    text: Markup
    hash: str
    """Hash by which the page's Content-Security-Policy allows this script, and no other."""


def _inline_script(environment: Environment, *names: str) -> InlineScript:
    """Return files as one script, in their order: what one declares at its top, the later ones see."""
    assert environment.loader is not None
    # the source, not rendered: a `{{` in the script is JavaScript
    text = "".join(environment.loader.get_source(environment, name)[0] for name in names)
    # The policy allows the script by its hash, so that an injected one would not run.
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return InlineScript(Markup(text), f"sha256-{digest}")
