"""Writes formulas as MathML, which browsers draw themselves: no script, and nothing from another server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    # a long formula scrolls by itself, not the page
    formula = tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="formula" style="overflow-x: auto; margin: 1em 0">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
