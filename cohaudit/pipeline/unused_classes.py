"""Classes that a network gives and its data does not have."""

from __future__ import annotations

from torch import nn

from cohaudit.gradients import output_count
from cohaudit.loading.data import LabeledDataset


def name_unused_classes(model: nn.Module, *datasets: LabeledDataset | None) -> None:
    """Give classes that no label has their numbers as names, if the others have numbers as names too.

    A network of 1,000 outputs on ten classes, numbered 0 to 9, has 990 classes without samples. With names
    instead of numbers, it would be a guess which outputs are meant.

    Args:
        model: In eval mode.
        datasets: The training data, and what was opened with its class names; these get the same ones.
    """
    opened = [dataset for dataset in datasets if dataset is not None]
    known = len(opened[0].class_names)
    if opened[0].class_names != [str(number) for number in range(known)]:
        return
    try:
        outputs = output_count(model, opened[0].batch([0]))
    except Exception:  # whatever it is, the check of the model says it with the shapes of its inputs
        return
    for dataset in opened:
        dataset.class_names = [str(number) for number in range(max(outputs, known))]
