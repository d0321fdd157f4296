"""The pages of docs/ are true: their commands and code run, in a folder that holds the fixtures.

What a page takes for granted is made first, by SETUP or by the lines of GIVEN; what cannot run is listed in
NOT_RUN with the reason. Two pages have tests of their own: tests/docs/test_tutorial.py and
tests/docs/test_ci_page.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.pages import ONLY_SHOWN, ROOT, Block, Reader, blocks

RUN = {"sh", "bash", "python"}
READ = {"toml"}
PAGES = {
    path.name: blocks(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "docs").glob("*.md"))
    if path.name not in {"tutorial.md", "ci.md"}
}

NOT_RUN = {
    ("same_data.md", "# not run: the two checkpoints are yours"): (
        "the checkpoints are the reader's; tests/review/test_ranking.py compares two audits"
    ),
    ("comparing.md", "# not run: model.safetensors is what the pull request trained"): (
        "the README runs the same three commands; the fixtures have more suspects than this gate allows"
    ),
    ("distributed.md", "# not run: on each of four machines"): "needs four machines",
    ("distributed.md", "# not run: needs SLURM"): "tests/cli/test_shards.py measures shards and merges them",
    ("data.md", "# net.py"): "parts of a reader's file, with torchvision, which is no dependency",
    ("formats.md", 'cat cohaudit-report/summary.md >> "$GITHUB_STEP_SUMMARY"'): (
        "writes a comment on GitHub; tests/test_ci.py does both with a `gh` of its own"
    ),
    ("templates.md", "cohaudit report cohaudit-report/audit.json --templates brand"): (
        "tests/report/html/test_templates.py renders the report with the folder `brand` that the page shows"
    ),
}
"""(page, first line of the block) → why no test runs it."""

SETUP = {
    "cleaning.md": """
        cp fixtures/tumors/* .
        cohaudit scan model.safetensors --quiet
        cohaudit export cohaudit-report/audit.json --format jsonl --out suspects.jsonl
        python -c "import json; print(json.loads(open('suspects.jsonl').readline())['id'])" > confirmed.txt
    """,
    "formats.md": "cp fixtures/digits/* .",
    "distributed.md": "cp fixtures/digits/* .",
    "index.md": "cp fixtures/digits/{net.py,train.npz,model.safetensors} .",
    "outside.md": """
        cp fixtures/digits/* .
        python -c "import numpy as np; np.save('emb.npy', np.load('train.npz')['images'].mean(1) / 255)"
""",
    "review.md": """
        cp fixtures/digits/* .
        cohaudit scan model.safetensors --quiet
        python - <<'END'
import csv, json
audit = json.load(open("cohaudit-report/audit.json"))
table = audit["samples"]
truth = {row["id"]: row["true"] for row in csv.DictReader(open("truth.csv"))}
answers = []
for name in audit["questions"][:50]:
    i = table["id"].index(name)
    said = {"content": table["content"][i], "label": table["label"][i], "id": name}
    right = truth[name] == said["label"]
    answers.append(said | ({"answer": "right"} if right else {"answer": "wrong", "true_label": truth[name]}))
json.dump({"answers": answers}, open("reviewed.json", "w"))
END
    """,
}
"""Page → what a reader has done before, in bash."""

SMALL_SCAN = """
import numpy, torch
from fixtures.digits.net import build
from safetensors.torch import load_file
arrays = numpy.load("fixtures/digits/train.npz")
model = build()
model.load_state_dict(load_file("fixtures/digits/model.safetensors"))
dataset = (arrays["images"][:300, None] / numpy.float32(255), arrays["labels"][:300])
"""

GIVEN = {
    "api.md": SMALL_SCAN,
    "crossfit.md": f"{SMALL_SCAN}\nimport cohaudit\n",
    "data.md": "import numpy\nimages, labels = numpy.zeros((4, 28, 28), 'uint8'), numpy.array([0, 1, 0, 1])",
    "robust.md": f"""{SMALL_SCAN}
from cohaudit import robust
inputs, labels = torch.tensor(dataset[0][:32]), torch.tensor(dataset[1][:32]).long()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
""",
    "width.md": f"{SMALL_SCAN}\nimport cohaudit\naudit = cohaudit.scan(model, dataset, audits=('width',))\n",
}
"""Page → what its Python takes for granted."""


def first_line(block: Block) -> str:
    return block.code.partition("\n")[0]


def to_run(page: str) -> list[Block]:
    return [
        block for block in PAGES[page] if block.language in RUN and (page, first_line(block)) not in NOT_RUN
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    known = RUN | READ | ONLY_SHOWN
    unknown = [
        (block.line, block.language)
        for block in PAGES[page]
        if block.language not in known and not block.language.startswith("{")  # a directive of Sphinx
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_settings_can_be_read(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "root", f"docs/{page}")
    for block in PAGES[page]:
        if block.language in READ:
            reader.follow(block)


def test_what_is_not_run_is_still_there() -> None:
    there = {(page, first_line(block)) for page, found in PAGES.items() for block in found}
    assert set(NOT_RUN) <= there
    assert set(SETUP) | set(GIVEN) <= {page for page in PAGES if to_run(page)}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if to_run(page)])
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path / "root", f"docs/{page}")
    reader.follow(Block("sh", SETUP.get(page, ""), 0))
    for block in to_run(page):
        given = GIVEN.get(page, "") if block.language == "python" and not block.file else ""
        reader.follow(replace(block, code=f"{given}\n{block.code}") if given else block)
