"""The documentation site: `sphinx-build -W --keep-going -n docs build/site`, from the extra `docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

import cohaudit

sys.path.insert(0, str(Path(__file__).parent / "_ext"))  # where Sphinx finds the last four

project = "cohaudit"
author = "the cohaudit contributors"
version = release = cohaudit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated", "mathml", "messages", "sample_report"]
myst_enable_extensions = ["dollarmath", "deflist"]
html_math_renderer = "mathml"
myst_heading_anchors = 3  # links such as data.md#fingerprint, as GitHub makes them

html_theme = "furo"
html_title = f"cohaudit {version}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
default_role = "code"  # `name` in a docstring
smartquotes = False  # --option is no dash
nitpicky = True
nitpick_ignore_regex = [
    # other projects: their pages are not asked for, so that the site is built offline
    (r"py:.*", r"(torch|numpy|np|pandas|pd|pathlib|collections|nn|os)\..*"),
    (r"py:.*", r"Path|Tensor|Callable|Mapping|Sequence|optional|NDArray.*"),
    # what is public only as the type of something public
    (r"py:.*", r"(cohaudit\..*\.)?(Progress|Loss|Interval|Key|Texts|Thresholds|Table)"),
    (r"py:.*", r"typing\.Annotated.*"),
    (r"py:.*", r"cohaudit\..*\.(Range|Pattern|TableOf|LabeledDataset|LabeledSamples|Settings)"),
]

OTHERS = "% pages that no list names"


def _add_the_others(app: Sphinx, page: str, source: list[str]) -> None:
    """Put every page that the index does not name where it says so: a new page is never forgotten."""
    if page == app.config.root_doc:
        named = set(re.findall(r"^[\w-]+$", source[0], re.MULTILINE))
        source[0] = source[0].replace(OTHERS, "\n".join(sorted(app.env.found_docs - named - {page})))


def _read_docstring(app: Sphinx, what: str, name: str, thing: object, _: object, lines: list[str]) -> None:
    """Read the sections of a docstring. Fields, properties and constants have none, but may hold a colon."""
    lines[:] = [line.replace("|", r"\|") for line in lines]
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, Config(), app, what, name, thing).lines()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _read_docstring)
    app.connect("source-read", _add_the_others)
