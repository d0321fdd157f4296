"""Opacus, BackPACK and TRAK as methods of the engine's benchmark, each in the way its documentation shows.

None is a dependency of cohaudit. Each works on a copy of the model, because they change it.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gradients.methods import Found, Pass, Sums
from benchmarks.shared.workloads import Workload
from cohaudit.config import Config
from cohaudit.gradients.precision import backward_in_eval_mode

INSTALL = "pip install --no-deps opacus opt-einsum scipy backpack-for-pytorch einops unfoldNd traker"
"""Without their dependencies proper, so that pip leaves torch as it is."""
TRAK_NUMBERS = Config().sketch_size
"""Numbers per projected gradient of TRAK: as many as a scan's sketch has, and TRAK's default."""


class PeerNotInstalledError(Exception):
    """A peer cannot be imported."""


def version(package: str) -> str:
    """Return an installed package's version.

    Raises:
        PeerNotInstalledError: If there is none.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise PeerNotInstalledError(package) from error


def _opacus_model(model: nn.Module) -> nn.Module:
    """Return a copy that Opacus can hook: in training mode, with its own LSTM in place of torch's."""
    from opacus.validators import ModuleValidator

    # it refuses BatchNorm; to let it put GroupNorm there would be another model
    lstm = any(isinstance(module, nn.LSTM) for module in model.modules())
    clone: nn.Module = ModuleValidator.fix(model) if lstm else copy.deepcopy(model)
    return clone.train()


def opacus_ghost(workload: Workload) -> Pass:
    """Norms alone, by ghost clipping's first backward pass; no class sums."""
    used = version("opacus")
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    model = GradSampleModuleFastGradientClipping(_opacus_model(workload.model), loss_reduction="mean")

    def run(data: Workload) -> Found:
        norms = []
        for x, y in data.batches():
            F.cross_entropy(model(x.to(data.device)), y.to(data.device)).backward()
            norms.append(model.get_norm_sample().double().square().cpu())
            model.zero_grad()
        return Found(torch.cat(norms), None, {"version": used})

    return run


def opacus_gradients(workload: Workload) -> Pass:
    """Explicit per-sample gradients, and from them norms and class sums."""
    used = version("opacus")
    from opacus.grad_sample import GradSampleModule

    model = GradSampleModule(_opacus_model(workload.model), loss_reduction="mean")
    named = dict(model.named_parameters())

    def run(data: Workload) -> Found:
        sums = Sums(named.items(), data.classes)
        for x, y in data.batches():
            F.cross_entropy(model(x.to(data.device)), y.to(data.device)).backward()
            sums.add(_results(named, "grad_sample", len(y)), y)
            model.zero_grad()
        return replace(sums.found(), extras={"version": used})

    return run


def _results(named: Mapping[str, nn.Parameter], field: str, batch: int) -> dict[str, Tensor]:
    """Return what a peer left on the parameters.

    Raises:
        NotImplementedError: If a parameter has nothing, or not one entry per sample.
    """
    found = {}
    for name, parameter in named.items():
        tensor = getattr(parameter, field, None)
        if tensor is None:
            raise NotImplementedError(f"no {field} for {name}")
        if len(tensor) != batch:
            raise NotImplementedError(f"{len(tensor)} entries in {field} of {name} for {batch} samples")
        found[name] = tensor
    return found


def _backpack(workload: Workload, extension: Any) -> tuple[nn.Module, Callable[[Tensor, Tensor], None]]:
    """Return an extended copy of the model, and what computes the extension's quantity on a batch."""
    from backpack import backpack, extend

    model: nn.Module = extend(copy.deepcopy(workload.model))
    total = extend(nn.CrossEntropyLoss(reduction="sum"))  # a mean would divide each sample's gradient

    def backward(x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        with backpack(extension), backward_in_eval_mode(model, workload.device):
            total(model(x.to(workload.device)), y.to(workload.device)).backward()

    return model, backward


def backpack_l2(workload: Workload) -> Pass:
    """Squared norms alone; no class sums."""
    used = version("backpack-for-pytorch")
    from backpack.extensions import BatchL2Grad

    model, backward = _backpack(workload, BatchL2Grad())
    named = dict(model.named_parameters())

    def run(data: Workload) -> Found:
        norms = []
        for x, y in data.batches():
            backward(x, y)
            squares = torch.stack(list(_results(named, "batch_l2", len(y)).values()))
            norms.append(squares.double().sum(0).cpu())
            _forget(named, "batch_l2")
        return Found(torch.cat(norms), None, {"version": used})

    return run


def backpack_gradients(workload: Workload) -> Pass:
    """Explicit per-sample gradients, and from them norms and class sums."""
    used = version("backpack-for-pytorch")
    from backpack.extensions import BatchGrad

    model, backward = _backpack(workload, BatchGrad())
    named = dict(model.named_parameters())

    def run(data: Workload) -> Found:
        sums = Sums(named.items(), data.classes)
        for x, y in data.batches():
            backward(x, y)
            sums.add(_results(named, "grad_batch", len(y)), y)
            _forget(named, "grad_batch")
        return replace(sums.found(), extras={"version": used})

    return run


def _forget(named: Mapping[str, nn.Parameter], field: str) -> None:
    """Drop an extension's results, so that two batches of them are never in memory."""
    for parameter in named.values():
        delattr(parameter, field)


def trak(workload: Workload) -> Pass:
    """Projected gradients alone; no norms and no class sums."""
    used = version("traker")
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    model = copy.deepcopy(workload.model)
    projector = BasicProjector(
        grad_dim=sum(p.numel() for p in model.parameters()),
        proj_dim=TRAK_NUMBERS,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device=workload.device,
        dtype=torch.float32,
    )

    def run(data: Workload) -> Found:
        with tempfile.TemporaryDirectory() as folder, sdpa_kernel(SDPBackend.MATH):
            featurizer = TRAKer(
                model=model,
                task="image_classification",
                train_set_size=len(data.labels),
                save_dir=folder,
                load_from_save_dir=False,
                device=data.device,
                projector=projector,
                proj_dim=TRAK_NUMBERS,
                use_half_precision=False,
                logging_level=logging.ERROR,
            )
            featurizer.load_checkpoint(model.state_dict(), model_id=0)
            for x, y in data.batches():
                batch = [x.to(data.device), y.to(data.device)]
                featurizer.featurize(batch=batch, num_samples=len(y))
            featurizer.finalize_features()
        return Found(extras={"version": used})

    return run
