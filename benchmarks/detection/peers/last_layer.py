"""What a linear last layer says of its own samples: leave-one-out, influence, representer values, AGRA.

The library `mislabeled` (George, Nodet, Bondu & Lemaire, TMLR 2024) has these as detectors of linear models
and of the last layer of a perceptron. As in Yeh et al. (2018) the last layer is fitted anew on the
checkpoint's features, with L2 regularization: the formulas hold where the gradient is zero, and that of a
checkpoint is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from benchmarks.detection.peers.gradient_similarity import agra
from benchmarks.detection.scores import Array, Scores

DECAY = 1.0
"""λ in Σ_i loss_i + λ/2 ‖W‖²: scikit-learn's default, for features of unit variance on average."""
MOST_WEIGHTS = 2600
"""Weights of the layer at most: their Hessian then takes 54 MB and seconds. Wider features are projected on
their principal components first."""
TOLERANCE = 1e-6
"""Largest derivative that counts as none."""
ITERATIONS = 2000
"""Iterations of the fit at most."""


@dataclass(frozen=True)
class LastLayer:
    """A softmax regression at the minimum of its regularized loss.

    Attributes:
        inputs: x, float64 [N, F]; the last column is 1.
        weights: W, [F, C].
        labels: [N].
    """

    inputs: Array
    weights: Array
    labels: NDArray[np.int64]

    @property
    def logits(self) -> Array:
        """Logits z, [N, C]."""
        return np.asarray(self.inputs @ self.weights)

    @property
    def probabilities(self) -> Array:
        """Class probabilities p, [N, C]."""
        return np.asarray(softmax(self.logits, axis=1))

    @property
    def residuals(self) -> Array:
        """Derivatives of the loss by the logits, p − y, [N, C]."""
        residuals = self.probabilities
        residuals[np.arange(len(self.labels)), self.labels] -= 1
        return residuals


def last_layer_scores(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> Scores:
    """Return the scores of all methods that see only a last layer fitted on features [N, F]."""
    layer = fit_last_layer(standardized(features, MOST_WEIGHTS // classes - 1), labels, classes)
    hat = hat_matrices(layer)
    return {
        "approximate leave-one-out": leave_one_out_loss(layer, hat),
        "approximate leave-one-out, change": leave_one_out_change(layer, hat),
        "self-influence, last layer": self_influence(layer, hat),
        "representer": representer(layer),
        "AGRA, last layer fitted": agra(layer.residuals, layer.inputs),
    }


def standardized(features: NDArray[np.float32], width: int) -> Array:
    """Return features of mean 0, scaled together to unit variance on average, at most `width` of them."""
    x = features.astype(np.float64)
    x -= x.mean(0)
    x /= max(float(np.sqrt((x**2).mean())), 1e-30)
    if x.shape[1] <= width:
        return x
    _, directions = np.linalg.eigh(x.T @ x)
    return np.asarray(x @ directions[:, ::-1][:, :width])


def fit_last_layer(x: Array, labels: NDArray[np.int64], classes: int) -> LastLayer:
    """Return the softmax regression of labels on x [N, any] and a bias of least regularized loss."""
    inputs = np.concatenate([x, np.ones((len(x), 1))], 1)
    rows = np.arange(len(labels))

    def loss_and_gradient(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(-1, classes)
        log_p = log_softmax(inputs @ weights, axis=1)
        residuals = np.exp(log_p)
        residuals[rows, labels] -= 1
        gradient = inputs.T @ residuals + DECAY * weights
        return float(-log_p[rows, labels].sum() + DECAY / 2 * (flat**2).sum()), gradient.ravel()

    start = np.zeros(inputs.shape[1] * classes)
    options = {"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0}
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return LastLayer(inputs, found.x.reshape(-1, classes), labels)


def hat_matrices(layer: LastLayer) -> Array:
    """Return A_i = J_i H⁻¹ J_iᵀ, [N, C, C]: how a sample's logits move with its own residual.

    J_i is the derivative of the logits by the weights, and H the Hessian of the regularized loss.
    """
    x = layer.inputs
    p = layer.probabilities
    width = x.shape[1]
    classes = p.shape[1]
    hessian = np.empty((classes, width, classes, width))
    for a in range(classes):
        for b in range(a + 1):
            variance = p[:, a] * ((a == b) - p[:, b])
            hessian[a, :, b] = hessian[b, :, a] = (x.T * variance) @ x
    flat = hessian.reshape(classes * width, -1)
    flat[np.diag_indices(len(flat))] += DECAY
    inverse = np.linalg.inv(flat).reshape(classes, width, classes, width)
    hat = np.empty((len(x), classes, classes))
    for a in range(classes):
        for b in range(a + 1):
            hat[:, a, b] = hat[:, b, a] = ((x @ inverse[a, :, b]) * x).sum(1)
    return hat


def _shift(layer: LastLayer, hat: Array) -> Array:
    """Return how the logits of each sample change once it is left out, [N, C].

    One Newton step from the fit (Pregibon, Annals of Statistics 1981; Rad & Maleki, JRSS B 2020):
    (I − A V)⁻¹ A (p − y), with V = diag(p) − p pᵀ.
    """
    p = layer.probabilities
    variance = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None])
    moved = np.einsum("nab,nb->na", hat, layer.residuals)
    return np.asarray(np.linalg.solve(np.eye(p.shape[1]) - hat @ variance, moved[:, :, None])[:, :, 0])


def leave_one_out_loss(layer: LastLayer, hat: Array) -> Array:
    """Return the loss of each sample under the layer fitted without it, approximately."""
    left_out = layer.logits + _shift(layer, hat)
    return -np.asarray(log_softmax(left_out, axis=1)[np.arange(len(left_out)), layer.labels])


def leave_one_out_change(layer: LastLayer, hat: Array) -> Array:
    """Return how much a sample's loss rises once it is left out, to second order.

    This is `mislabeled`'s approximate leave-one-out.
    """
    p = layer.probabilities
    shift = _shift(layer, hat)
    quadratic = (p * shift**2).sum(1) - (p * shift).sum(1) ** 2
    return np.asarray((layer.residuals * shift).sum(1) + quadratic / 2)


def self_influence(layer: LastLayer, hat: Array) -> Array:
    """Return g_iᵀ H⁻¹ g_i (Koh & Liang, ICML 2017), where g_i is the gradient of the sample's loss."""
    residuals = layer.residuals
    return np.asarray(np.einsum("na,nab,nb->n", residuals, hat, residuals))


def representer(layer: LastLayer) -> Array:
    """Return the size of each sample's representer value for its own logit of its label.

    Yeh, Kim, Yen & Ravikumar, "Representer Point Selection for Explaining Deep Neural Networks", NeurIPS
    2018: z(x) = Σ_i α_i ⟨x_i, x⟩ with α_i = (y_i − p_i) / λ; the value is |α_i| ‖x_i‖², at the label.
    """
    own = layer.residuals[np.arange(len(layer.labels)), layer.labels]
    return np.asarray(np.abs(own) / DECAY * (layer.inputs**2).sum(1))
