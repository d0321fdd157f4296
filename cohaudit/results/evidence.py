"""What supports and opposes the label of a sample, and how to show the sample, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from cohaudit.results.ranges import Count, Pattern

IMAGE_PREFIXES = ("data:image/png;base64,", "data:image/jpeg;base64,")
"""Starts of the only images that the report embeds: data URIs, so that no page loads anything."""
_IMAGE = rf"^(({'|'.join(IMAGE_PREFIXES)})[A-Za-z0-9+/]+={{0,2}})?$"
"""What an image may be, as a regular expression; empty for none."""


@dataclass(frozen=True)
class Neighbor:
    """Another sample, in relation to a given sample."""

    id: str
    """Id of the other sample."""
    label: str
    """Its label as given."""
    cosine: float
    """Whitened cosine of the loss gradients of the two samples, in [-1, 1], from sketches: what many samples
    share counts less. Above 0, training on the other sample probably raised the margin of this label."""
    duplicate: bool
    """Whether the two samples are nearly the same in every layer."""


@dataclass(frozen=True)
class Evidence:
    """The samples that support and oppose the label of one sample."""

    id: str
    """Id of the sample."""
    supporters: tuple[Neighbor, ...]
    """Samples with the largest positive whitened cosine, strongest first."""
    opponents: tuple[Neighbor, ...]
    """Samples with the most negative whitened cosine, strongest first."""
    content: str
    """Hash of the sample's input, 'sha256:…': identifies the sample in a file of suppressions."""
    place: str
    """Path of the file that holds the sample, or of the code that makes it, relative to the folder where the
    scan was started, with slashes; empty when in memory."""
    line: Count
    """Line of that file where the sample begins, from 1; 0 when the file has no lines or the line is
    unknown."""


@dataclass(frozen=True)
class Preview:
    """How to show a sample to a person."""

    kind: Literal["image", "wave", "row", "text", "none"]
    """Which of the fields below shows the sample; 'none' when nothing does."""
    image: Annotated[str, Pattern(_IMAGE)] = ""
    """Data URI of a PNG or JPEG, for the kinds image and wave (a signal over time); else empty."""
    # hash=False: a dict has no hash, and a preview must be hashable
    row: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Column → value as written in the file, for the kind row; else empty."""
    text: str = ""
    """The text, cut to a readable length, for the kind text; else empty."""
