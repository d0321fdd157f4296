"""The peers together, by what they see."""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.nn import functional as F

from benchmarks.detection.peers.gradient_similarity import agra
from benchmarks.detection.peers.input_curvature import has_input_gradient, input_curvature
from benchmarks.detection.peers.last_layer import last_layer_scores
from benchmarks.detection.peers.relation_graph import relation_graph
from benchmarks.detection.peers.simifeat import simifeat
from benchmarks.detection.scores import Scores
from benchmarks.shared.label_noise import NoisyData
from benchmarks.shared.training import logits_of
from cohaudit.gradients import Measurement


def peer_scores(data: NoisyData, model: nn.Module, measured: Measurement) -> Scores:
    """Return the scores of the peers that see one checkpoint.

    Features are the inputs of the last layer. The input curvature is missing where the loss has no gradient
    in the inputs: integers that no embedding reads.

    Args:
        data: Samples that the model was trained on.
        model: Checkpoint, in eval mode.
        measured: What a scan measures of it.
    """
    labels = data.labels.numpy()
    features = measured.views[-1].rows
    logits = logits_of(model, data.train).double()
    residuals = (logits.softmax(1) - F.one_hot(data.labels, data.classes)).numpy()
    scores = (
        simifeat(features, labels, data.classes)
        | {"Neural Relation Graph": relation_graph(features, measured.probability, labels)}
        | last_layer_scores(features, labels, data.classes)
        | {"AGRA": agra(residuals, features.astype(np.float64))}
    )
    if has_input_gradient(model, data.train):
        scores["input curvature"] = input_curvature(model, data.train, data.labels)
    return scores
