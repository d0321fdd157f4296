"""Puts the report of the digits into the site: the page that a reader would get from the first command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
"""Root of the repository."""
FOLDER = "sample-report"
"""Folder of the report in the site."""
CHECKPOINT = "fixtures/digits/model.safetensors"
"""What is audited; from the root, as the README has it, so that the page shows the same names."""


class SampleReport(SphinxDirective):
    """A picture that leads to the report; its text is the picture's description."""

    has_content = True
    required_arguments = 1
    option_spec = {"width": directives.length_or_percentage_or_unitless}  # noqa: RUF012 (Sphinx's own form)

    def run(self) -> list[nodes.Node]:
        """Return the linked picture."""
        description = " ".join(self.content)
        link = nodes.reference("", "", refuri=f"{FOLDER}/report.html", internal=True)
        link += nodes.image(uri=self.arguments[0], alt=description, **self.options)
        caption = nodes.reference("", "Open this report", refuri=f"{FOLDER}/report.html", internal=True)
        line = nodes.paragraph("", "", caption, nodes.Text(": one file that loads nothing else."))
        return [nodes.paragraph("", "", link), line]


def _write_report(app: Sphinx, failed: Exception | None) -> None:
    """Scan the digits into the finished site.

    Raises:
        CalledProcessError: If the scan fails; the site then is not what its first page says.
    """
    if failed is not None or app.builder.name != "html":
        return
    out = Path(app.outdir, FOLDER)
    # --fresh: a build that was stopped may have left a scan that would be resumed
    command = [sys.executable, "-m", "cohaudit", "scan", CHECKPOINT, "--out", str(out), "--quiet", "--fresh"]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Called by Sphinx."""
    app.add_directive("sample-report", SampleReport)
    app.connect("build-finished", _write_report)
    return {"parallel_read_safe": True}
