"""Datasets of Python objects: a map-style torch Dataset or two arrays, from Python or from a factory."""

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
from cohaudit.loading.data._labels import SampleLabels, check_classes, label_samples
from cohaudit.loading.data._preview import array_preview, image_preview, text_preview
from cohaudit.loading.data._transform import Transform, in_words, load_transform
from cohaudit.loading.factories import call_factory, load_object
from cohaudit.results import Preview

_MAX_SAMPLES = 100_000_000
"""Most samples that a dataset may say it has: the results of more do not fit into memory."""
IN_MEMORY = "(in memory)"
"""Stands for the file of a dataset or a model that a Python caller passes."""


class TorchDataset(LabeledDataset):
    """Samples of a map-style dataset of (input, label) pairs.

    Args:
        source: Factory as the user gave it, or '(in memory)'.
        fingerprint: SHA-256 of every input, as the model gets it, and every label, in hex.
        samples: Ids and labels of the samples.
        dataset: Object with a length that returns (input, label) by position.
        transform: Function to apply to the input of one pair.
    """

    def __init__(
        self,
        source: str,
        fingerprint: str,
        samples: SampleLabels,
        dataset: Any,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(source, fingerprint, samples)
        self._dataset = dataset
        self._transform = transform

    @property
    def preparation(self) -> str:
        """Preparation of the dataset's inputs, in words."""
        return in_words(self._transform, "as the dataset gives them")

    def sample(self, index: int) -> Inputs:
        """Return one sample's input, as tensors.

        Raises:
            DataError: If the dataset or the transform fails.
        """
        where = self.where(index)
        return _as_inputs(_read_pair(self._dataset, index, where)[0], self._transform, where)

    def raw(self, index: int) -> Any:
        """Return the input that the dataset gives.

        Raises:
            DataError: If the dataset fails.
        """
        return _read_pair(self._dataset, index, self.where(index))[0]

    def preview(self, index: int) -> Preview:
        """Return a picture, the text or the numbers of the input before the transform."""
        raw = self.raw(index)
        match raw:
            case str():
                return text_preview(raw)
            case Image.Image():
                return image_preview(raw)
            case torch.Tensor() | np.ndarray():
                return array_preview(_as_numpy(raw))
            case _:
                return Preview("none")


def _open_map_style(
    dataset: Any, class_names: Sequence[str], source: str, transform: Transform | None
) -> TorchDataset:
    """Return a map-style dataset, checked.

    Every sample is read once: for its label, for the fingerprint, and to find NaN before the audit starts.
    Ids are the dataset's `ids` if it has this attribute, else positions. Class names that are not given are
    the dataset's `class_names` or, as in torchvision, `classes`.
    """
    _check_map_style(dataset, source)
    count = _length(dataset, source)
    own_ids = _attribute(dataset, "ids", source)
    ids = row_numbers(count) if own_ids is None else as_ids(np.asarray(own_ids), count, source)
    digest = hashlib.sha256()
    labels = []
    for index in range(count):
        where = name_sample(source, ids, index)
        raw, label = _read_pair(dataset, index, where)
        inputs = _as_inputs(raw, transform, where)
        stack([inputs], [where])  # raises for NaN
        digest.update(content(inputs) + repr(label).encode())
        labels.append(label)
    names = class_names or _class_names(dataset, source)
    samples = label_samples(ids, _as_array(labels, source), names, source)
    return TorchDataset(source, digest.hexdigest(), samples, dataset, transform)


def _read_pair(dataset: Any, index: int, where: str) -> tuple[Any, int | float | str]:
    """Return one sample's raw input and label."""
    # any exception: the code of the dataset is the user's
    try:
        pair = dataset[index]
    except Exception as error:
        raise DataError(
            where, f"the dataset failed on it: {describe_error(error)}", "correct the dataset"
        ) from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        is_sequence = isinstance(pair, tuple | list)
        kind = f"{len(pair)} values" if is_sequence else f"an object of type {type(pair).__qualname__}"
        raise DataError(
            where, f"the dataset returned {kind}, not (input, label)", "return pairs: (input, label)"
        )
    return pair[0], _label(pair[1], where)


def _as_inputs(raw: Any, transform: Transform | None, where: str) -> Inputs:
    return as_inputs(raw, where) if transform is None else transform(raw, where)


def from_torch(
    dataset: Any,
    class_names: Sequence[str] | None = None,
    source: str = IN_MEMORY,
    complete: bool = True,
) -> LabeledDataset:
    """Return a dataset of a map-style torch Dataset, or of a pair of tensors or arrays (inputs, labels).

    A pair follows the rules of .npz files: uint8 is an image, scaled to [0, 1]. The inputs of a torch Dataset
    go into the model unchanged.

    Args:
        dataset: Object with a length that returns (input, label) by position; or the pair.
        class_names: Class names in the order of the model's outputs; by default those of the dataset, else
            '0'..'C-1'.
        source: Name of the dataset in messages and in the report.
        complete: Whether every class must have a sample.

    Raises:
        DataError: If the object is neither, or its samples cannot be audited.
    """
    opened = _from_object(dataset, class_names or (), source, None)
    if complete:
        check_classes(opened.labels, opened.class_names, opened.source)
    check_repeatable(opened)
    return opened


def open_factory(config: Config) -> LabeledDataset:
    """Call the factory that the key `data` names, and open the dataset that it returns.

    The factory gets `data_args` as keyword arguments and returns a dataset, or (dataset, class names).

    Raises:
        ConfigError: If the factory cannot be imported, or the arguments do not fit it.
        DataError: If the factory fails, or its dataset cannot be audited.
    """
    factory = load_object(config.data, config.base, "data")
    made = call_factory(
        factory, config.data_args, config.base, where=f"data {config.data}", failure=DataError
    )
    class_names: Any = ()
    # a pair of arrays is the dataset itself, not (dataset, class names)
    if isinstance(made, tuple) and len(made) == 2 and not _is_array_pair(made):
        made, class_names = made
        if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
            raise DataError(
                f"data {config.data}",
                "returned a pair whose second part is not a list of class names",
                "return a dataset, or (dataset, class names)",
            )
    return _from_object(made, config.class_names or class_names, config.data, load_transform(config))


def _from_object(
    dataset: Any, class_names: Sequence[str], source: str, transform: Transform | None
) -> LabeledDataset:
    """Return a dataset of an object: of a pair of arrays, else of a map-style dataset."""
    if not _is_array_pair(dataset):
        return _open_map_style(dataset, class_names, source, transform)
    inputs, labels = (_as_numpy(part) for part in dataset)
    return from_arrays(inputs, labels, class_names, source, transform)


def _class_names(dataset: Any, source: str) -> list[str]:
    """Return the class names in an attribute of a dataset; empty if it has no such list."""
    for attribute in ("class_names", "classes"):
        names = _attribute(dataset, attribute, source)
        if isinstance(names, list | tuple | np.ndarray) and len(names):
            return [str(name) for name in names]
    return []


def _check_map_style(dataset: Any, source: str) -> None:
    """Raise an error unless the dataset has a length and returns samples by position."""
    if isinstance(dataset, DataLoader):
        raise DataError(source, "is a DataLoader, not a dataset", "give its dataset: loader.dataset")
    if isinstance(dataset, IterableDataset):
        raise DataError(
            source,
            "is an IterableDataset, which cannot return a single sample again",
            "give a map-style dataset with __len__ and __getitem__, such as a list of (input, label) pairs",
        )
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            source,
            f"is of type {type(dataset).__qualname__}, not a map-style dataset",
            "give an object with __len__ and a __getitem__ that returns (input, label)",
        )


def _length(dataset: Any, source: str) -> int:
    """Return how many samples a dataset says that it has.

    Raises:
        DataError: If it fails to say so, or says what no dataset has.
    """
    try:
        count = len(dataset)
    except Exception as error:  # any: the code of the dataset is the user's
        raise DataError(
            source, f"its length cannot be told: {describe_error(error)}", "correct its __len__"
        ) from error
    if count > _MAX_SAMPLES:
        raise DataError(source, f"says that it has {count:,} samples", "correct its __len__")
    return count


def _attribute(dataset: Any, name: str, source: str) -> Any:
    """Return an attribute of a dataset; None if it has none.

    Raises:
        DataError: If reading it fails.
    """
    try:
        return getattr(dataset, name, None)
    except Exception as error:  # a property is code of the user's
        raise DataError(
            source, f"its attribute {name} fails: {describe_error(error)}", "correct it, or remove it"
        ) from error


def _is_array_pair(value: Any) -> bool:
    """Tell whether a value is (inputs, labels) as tensors or arrays."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, torch.Tensor | np.ndarray) and part.ndim > 0 for part in value)
    )


def _as_numpy(part: Any) -> npt.NDArray[Any]:
    """Return a tensor or array as an array."""
    if isinstance(part, np.ndarray):
        return part
    tensor: torch.Tensor = part.detach().cpu()
    # float(), because numpy has no bfloat16
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _label(value: Any, where: str) -> int | float | str:
    """Return one sample's label as a plain number or text."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        if isinstance(value, torch.Tensor | np.ndarray) and len(value.reshape(-1)) != 1:
            raise DataError(
                where,
                f"the label has shape {list(value.shape)}",
                "give one class number for each sample; for a one-hot label, label.argmax()",
            )
        value = value.item()
    if not isinstance(value, int | float | str):
        raise DataError(
            where, f"the label is of type {type(value).__qualname__}", "give a class number or a class name"
        )
    return value


def _as_array(labels: Sequence[int | float | str], source: str) -> npt.NDArray[Any]:
    """Return labels as an array, [N], of text or of numbers."""
    kinds = {isinstance(label, str) for label in labels}
    if len(kinds) > 1:
        raise DataError(
            f"{source}, labels", "text and numbers are mixed", "give class numbers, or class names"
        )
    return np.asarray(labels)
