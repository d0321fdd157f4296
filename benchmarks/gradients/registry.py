"""The methods by name, in the order of the table, and how their failures are shown."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.gradients import methods, peers
from benchmarks.gradients.peers import PeerNotInstalledError

METHODS: Mapping[str, methods.Method] = {
    "plain": methods.plain,
    "plain-bf16": partial(methods.plain, bf16=True),
    "cohaudit": methods.cohaudit,
    "cohaudit-bf16": partial(methods.cohaudit, bf16=True),
    "vmap(grad)": methods.vmap_grad,
    "opacus ghost": peers.opacus_ghost,
    "opacus gradients": peers.opacus_gradients,
    "backpack l2": peers.backpack_l2,
    "backpack gradients": peers.backpack_gradients,
    "trak": peers.trak,
    "loop": methods.loop,
}
"""`plain` is what the others are measured in."""

WHOLE = {name for name in METHODS if name.startswith(("plain", "cohaudit"))}
"""Methods that run on all samples."""

ROUNDED = {"cohaudit-bf16"}
"""Methods whose norms are not held to those of cohaudit: how far they are off is a result."""

LOOP_SAMPLES = 64
"""Samples that the loop runs on. Its time is the same for every sample, so the rest is extrapolated."""
PEER_SHARE = 8
"""The other peers run on one in so many samples, for the same reason."""

NOT_INSTALLED = "not installed"


def usual_samples(method: str, samples: int) -> int:
    """Return how many of the samples a method is run on."""
    if method in WHOLE:
        return samples
    return min(samples, LOOP_SAMPLES) if method == "loop" else max(1, samples // PEER_SHARE)


def short(error: Exception) -> str:
    """Return an error in one line that fits a table."""
    if isinstance(error, PeerNotInstalledError):
        return NOT_INSTALLED
    while error.args and isinstance(error.args[0], list) and isinstance(error.args[0][0], Exception):
        error = error.args[0][0]  # Opacus lists what it refuses: the first is enough
    line = f"{type(error).__name__}: {error}".partition("\n")[0]
    return line if len(line) <= 120 else f"{line[:119]}…"
