"""Samples of a map-style torch Dataset: from Python, or from a factory named in the configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset

from cohaudit.config import Config
from cohaudit.errors import DataError, describe_error
from cohaudit.loading.data._arrays import from_arrays
from cohaudit.loading.data._dataset import LabeledDataset, check_repeatable
from cohaudit.loading.data._ids import as_ids, name_sample, row_numbers
from cohaudit.loading.data._inputs import Inputs, as_inputs, content, stack
from cohaudit.loading.data._labels import check_classes
from cohaudit.loading.data._preview import array_preview, image_preview, text_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.results import Preview

IN_MEMORY = "(in memory)"


class TorchDataset(LabeledDataset):
    """Samples of a map-style dataset that gives (input, label) pairs.

    Every sample is read once when the dataset is opened: for its label, to refuse NaN early, and for the
    fingerprint, which covers type, shape and bytes of every input, as the model gets it, and every label.
    Ids are the dataset's `ids` attribute if it has one, else positions; class names likewise come from
    `class_names`, or `classes` as in torchvision, when none are given.

    Args:
        dataset: Has a length and gives (input, label) by position.
        class_names: In the order of the model's outputs; may be empty.
        source: Factory as given, or '(in memory)'.
        transform: Applied to the input of one pair.

    Raises:
        DataError: If it is no map-style dataset of such pairs, or its samples cannot be audited.
    """

    def __init__(
        self,
        dataset: Any,
        class_names: Sequence[str] = (),
        source: str = IN_MEMORY,
        transform: Transform | None = None,
    ) -> None:
        _check_map_style(dataset, source)
        self._dataset = dataset
        self._transform = transform
        self.source = source
        given = getattr(dataset, "ids", None)
        count = len(dataset)
        self.ids = row_numbers(count) if given is None else as_ids(np.asarray(given), count, source)
        digest = hashlib.sha256()
        labels = []
        for index in range(count):
            raw, label = self._pair(index)
            inputs = self._as_inputs(raw, index)
            stack([inputs], [self.where(index)])
            digest.update(content(inputs) + repr(label).encode())
            labels.append(label)
        names = class_names or _class_names(dataset)
        super().__init__(source, digest.hexdigest(), self.ids, _as_array(labels, source), names)

    @property
    def preparation(self) -> str:
        """What is done to what the dataset gives."""
        return in_words(self._transform, "as the dataset gives them")

    def _pair(self, index: int) -> tuple[Any, int | float | str]:
        """Return one sample's raw input and label."""
        where = name_sample(self.source, self.ids, index)
        try:
            pair = self._dataset[index]
        except Exception as error:
            raise DataError(
                where, f"the dataset failed on it: {describe_error(error)}", "correct the dataset"
            ) from error
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            found = (
                f"{len(pair)} values" if isinstance(pair, tuple | list) else f"a {type(pair).__qualname__}"
            )
            raise DataError(
                where, f"the dataset gave {found}, not (input, label)", "return pairs: (input, label)"
            )
        return pair[0], _label(pair[1], where)

    def _as_inputs(self, raw: Any, index: int) -> Inputs:
        where = self.where(index)
        return as_inputs(raw, where) if self._transform is None else self._transform(raw, where)

    def sample(self, index: int) -> Inputs:
        """Return one sample's input, as tensors.

        Raises:
            DataError: If the dataset or the transform fails.
        """
        return self._as_inputs(self._pair(index)[0], index)

    def preview(self, index: int) -> Preview:
        """Show the input before the transform: an image, a text, or numbers where that is what it is."""
        raw = self._pair(index)[0]
        match raw:
            case str():
                return text_preview(raw)
            case Image.Image():
                return image_preview(raw)
            case torch.Tensor() | np.ndarray():
                return array_preview(_as_numpy(raw))
            case _:
                return Preview("none")


def from_torch(
    dataset: Any,
    class_names: Sequence[str] | None = None,
    source: str = IN_MEMORY,
    complete: bool = True,
) -> LabeledDataset:
    """Make a dataset of a map-style torch Dataset, or of a pair of tensors or arrays (inputs, labels).

    A pair follows the rules of .npz files (uint8 is an image, scaled to [0, 1]); what a torch Dataset gives
    goes into the model as it is.

    Args:
        dataset: Gives (input, label) by position and has a length; or the pair.
        class_names: In the order of the model's outputs; default: found in the dataset, else '0'..'C-1'.
        source: What to call it in messages and in the report.
        complete: Whether every class must have a sample.

    Raises:
        DataError: If it is neither, or its samples cannot be audited.
    """
    opened = _from_object(dataset, class_names or (), source, None)
    if complete:
        check_classes(opened.labels, opened.class_names, opened.source)
    check_repeatable(opened)
    return opened


def open_factory(config: Config) -> LabeledDataset:
    """Call the factory that the key `data` names, and open what it returns.

    The factory gets `data_args` as keyword arguments and returns a dataset, or (dataset, class names).

    Raises:
        ConfigError: If there is no such factory, or its arguments do not fit.
        DataError: If the factory fails, or returns nothing that can be audited.
    """
    factory = load_object(config.data, config.base, "data")
    made = call_factory(
        factory, config.data_args, config.base, where=f"data {config.data}", failure=DataError
    )
    class_names: Any = ()
    if isinstance(made, tuple) and len(made) == 2 and not _is_array_pair(made):
        made, class_names = made
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
            raise DataError(
                f"data {config.data}",
                "returned a pair whose second part is no list of class names",
                "return a dataset, or (dataset, class names)",
            )
    return _from_object(made, config.class_names or class_names, config.data, load_transform(config))


def _from_object(
    dataset: Any, class_names: Sequence[str], source: str, transform: Transform | None
) -> LabeledDataset:
    if not _is_array_pair(dataset):
        return TorchDataset(dataset, class_names, source, transform)
    inputs, labels = (_as_numpy(part) for part in dataset)
    return from_arrays(inputs, labels, class_names, source, transform)


def _class_names(dataset: Any) -> list[str]:
    """Return the class names that a dataset brings, under either name; none when it brings no list."""
    for name in ("class_names", "classes"):
        found = getattr(dataset, name, None)
        if isinstance(found, list | tuple | np.ndarray) and len(found):
            return [str(value) for value in found]
    return []


def _check_map_style(dataset: Any, source: str) -> None:
    """Raise an error unless the dataset has a length and gives samples by position."""
    if isinstance(dataset, DataLoader):
        raise DataError(source, "a DataLoader", "give its dataset: loader.dataset")
    if isinstance(dataset, IterableDataset):
        raise DataError(
            source,
            "an IterableDataset, which cannot be asked for one sample again",
            "give a map-style dataset, with __len__ and __getitem__; e.g. a list of its (input, label) pairs",
        )
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            source,
            f"a {type(dataset).__qualname__}, not a map-style dataset",
            "give an object with __len__ and __getitem__ that gives (input, label)",
        )


def _is_array_pair(value: Any) -> bool:
    """Tell whether something is (inputs, labels) as tensors or arrays."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, torch.Tensor | np.ndarray) and part.ndim > 0 for part in value)
    )


def _as_numpy(part: Any) -> npt.NDArray[Any]:
    """Return a tensor or array as an array; numpy has no bfloat16."""
    if isinstance(part, np.ndarray):
        return part
    tensor: torch.Tensor = part.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _label(value: Any, where: str) -> int | float | str:
    """Return one sample's label as a plain number or text."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        if isinstance(value, torch.Tensor | np.ndarray) and len(value.reshape(-1)) != 1:
            raise DataError(
                where,
                f"the label has shape {list(value.shape)}",
                "give one class number a sample; a one-hot label becomes one by .argmax()",
            )
        value = value.item()
    if not isinstance(value, int | float | str):
        raise DataError(
            where, f"the label is a {type(value).__qualname__}", "give a class number or a class name"
        )
    return value


def _as_array(labels: Sequence[int | float | str], source: str) -> npt.NDArray[Any]:
    """Return labels as an array, text or numbers but not both."""
    kinds = {isinstance(label, str) for label in labels}
    if len(kinds) > 1:
        raise DataError(
            f"{source}, labels", "text and numbers mixed", "give class numbers, or names of classes"
        )
    return np.asarray(labels)
