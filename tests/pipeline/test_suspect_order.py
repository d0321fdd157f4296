"""A scan writes its evidence in the order in which every list has the suspects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import load_file

import cohaudit
from cohaudit.loading.factories import load_object


def test_the_evidence_of_a_scan_has_the_order_of_the_list() -> None:
    arrays = np.load("fixtures/digits/train.npz")
    model = load_object("net.py:build", Path("fixtures/digits"), "model")()
    model.load_state_dict(load_file("fixtures/digits/model.safetensors"))
    data = (arrays["images"][:400, None] / np.float32(255), arrays["labels"][:400])
    audit = cohaudit.scan(model, data)
    suspects = list(audit.suspects["id"])
    assert suspects
    assert [evidence.id for evidence in audit.evidence][: len(suspects)] == suspects
    assert audit.labels.suspects == len(suspects)
