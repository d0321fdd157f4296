"""Pages of the documentation with blocks that a command writes from saved results.

A block stands between `<!-- WORD: NAME -->` and `<!-- end -->`; what stands around the blocks is written by
hand and holds no figure of them. Tests compare the pages with the results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from benchmarks.shared.command_line import make_parser

Results = TypeVar("Results")


@dataclass(frozen=True)
class Page(Generic[Results]):
    """A page with blocks.

    Attributes:
        path: Markdown file.
        word: What its blocks are called in the comments.
        blocks: Name of a block → what writes it from the results.
    """

    path: Path
    word: str
    blocks: Mapping[str, Callable[[Results], str]]

    @property
    def pattern(self) -> re.Pattern[str]:
        """Finds a block: its first line, its name, what it holds, and its last line."""
        return re.compile(rf"(<!-- {self.word}: ([\w ]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

    def rewrite(self, text: str, results: Results) -> str:
        """Return a text whose blocks say what the results say.

        Args:
            text: Markdown.
            results: What the blocks are written from.

        Raises:
            KeyError: If the text has a block of another name.
        """
        return self.pattern.sub(lambda found: f"{found[1]}{self.blocks[found[2]](results)}\n{found[4]}", text)

    def main(
        self, description: str | None, load: Callable[[], Results], arguments: Sequence[str] | None
    ) -> int:
        """Write the blocks anew, or with `--show` print them; return the exit code.

        Args:
            description: What the command does, for its help.
            load: Reads the results.
            arguments: Arguments of the command; None takes those of the process.
        """
        args = make_parser(description, show=True).parse_args(arguments)
        results = load()
        if args.show:
            print("\n\n".join(block(results) for block in self.blocks.values()))
        else:
            text = self.path.read_text(encoding="utf-8")
            self.path.write_text(self.rewrite(text, results), encoding="utf-8")
        return 0
