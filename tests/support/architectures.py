"""Small versions of the networks that people train, written as people write them."""

from __future__ import annotations

from typing import Any

import torch
from support.networks import CLASSES, SAMPLES, Apply, Case, images, sequences, tokens, vectors
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint


def vgg() -> nn.Module:
    def block(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]

    body = nn.Sequential(*block(3, 4), *block(4, 6))
    head = nn.Sequential(nn.Linear(24, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, CLASSES))
    return nn.Sequential(body, nn.Flatten(), head)


class Residual(nn.Module):
    """A block of a ResNet with BatchNorm and a strided shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)), inplace=True)))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


def resnet() -> nn.Module:
    blocks = [nn.Conv2d(3, 4, 3, padding=1), Residual(4, 4, 1), Residual(4, 6, 2)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))


def mobilenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, padding_mode="reflect", bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, padding_mode="circular"),  # depthwise
        nn.Hardswish(),
        nn.Conv2d(8, 12, 1, groups=4),
        nn.Conv2d(12, 12, (3, 1), padding="same", groups=2, padding_mode="replicate"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )


def unet() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        high = F.relu(net.down(x))
        low = F.relu(net.deep(F.max_pool2d(high, 2)))
        joined = torch.cat([net.up(low), high], 1)
        return net.head(joined).mean((2, 3))

    return Apply(
        forward,
        down=nn.Conv2d(3, 4, 3, padding=1),
        deep=nn.Conv2d(4, 6, 3, padding=1),
        up=nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
        head=nn.Conv2d(8, CLASSES, 1),
    )


def bag_of_words() -> nn.Module:
    return Apply(
        lambda net, x: net.head(net.bag(x) + net.mean(x)),
        bag=nn.EmbeddingBag(7, 4, mode="sum"),
        mean=nn.EmbeddingBag(7, 4, mode="mean", padding_idx=0),
        head=nn.Linear(4, CLASSES),
    )


def encoder(batch_first: bool) -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        if batch_first:
            return net.head(net.encoder(net.embed(x)).mean(1))
        return net.head(net.encoder(net.embed(x).transpose(0, 1)).mean(0))

    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=batch_first, norm_first=batch_first)
    stack = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return Apply(forward, embed=nn.Linear(5, 8), encoder=stack, head=nn.Linear(8, CLASSES))


class ViT(nn.Module):
    """Patches by a convolution, a class token, positions and layer scale as bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 10, 8))
        self.norm = nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale = nn.Parameter(torch.rand(8))
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = self.drop(torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions)
        y = self.norm(x)
        x = x + self.scale * self.attend(y, y, y, need_weights=False)[0]
        return self.head(x[:, 0])


class GPT(nn.Module):
    """A causal transformer whose head is tied to the embedding; positions are the same for all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.place = nn.Embedding(5, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place(torch.arange(x.shape[1], device=x.device))
        q, k, v = self.qkv(self.norm(h)).chunk(3, -1)
        h = h + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.head(h[:, -1])[:, :CLASSES]


class LoRA(nn.Module):
    """A low-rank correction of a frozen linear layer."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(2, base.in_features))
        self.b = nn.Parameter(torch.randn(base.out_features, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T * 0.5


class MergedLoRA(LoRA):
    """The same, with the correction added to the weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.b @ self.a, self.base.bias)


class Lists(nn.Module):
    """Parameters in lists and dicts; raw operations of many kinds; nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(6, 4))])
        self.named = nn.ParameterDict(
            {"shift": nn.Parameter(torch.randn(6)), "gate": nn.Parameter(torch.rand(4))}
        )
        self.mixer = nn.Parameter(torch.randn(3, CLASSES, 4))
        self.table = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> dict[str, Any]:
        h = torch.tanh(torch.addmm(self.named["shift"], x, self.weights[0]))
        h = torch.einsum("bi,ij->bj", h, self.weights[1])
        h *= self.named["gate"].sigmoid()
        logits = torch.einsum("kci,bi->bc", self.mixer * F.softmax(self.table, 0)[:, None, None], h)
        return {"logits": logits, "hidden": [h, (h, None)]}


class RootMeanSquare(nn.Module):
    """RMSNorm as written in Llama's code."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Checkpointed(nn.Module):
    """A network with a block whose activations are computed again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(5, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.head = nn.Linear(6, CLASSES)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(self.block, self.first(x), use_reentrant=self.reentrant))


def spectral_norm() -> nn.Module:
    conv = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
    return nn.Sequential(conv, nn.Flatten(), parametrizations.spectral_norm(nn.Linear(16, CLASSES)))


ARCHITECTURES: dict[str, Case] = {
    "VGG": Case(vgg, images(3, 8, 8), {}),
    "ResNet": Case(resnet, images(3, 6, 6), {}),
    "MobileNet": Case(mobilenet, images(3, 8, 8), {}),
    "U-Net": Case(unet, images(3, 6, 6), {}),
    "bag of words": Case(bag_of_words, tokens, {}),
    "transformer encoder, batch first": Case(lambda: encoder(True), sequences, {}),
    "transformer encoder, batch second": Case(lambda: encoder(False), sequences, {}),
    "ViT": Case(ViT, images(3, 6, 6), {"(model)": "vmap"}),
    "GPT": Case(GPT, tokens, {"place": "vmap"}),
    "LoRA": Case(
        lambda: nn.Sequential(LoRA(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, CLASSES)),
        vectors(5),
        {"0": "vmap"},
    ),
    "LoRA, merged": Case(
        lambda: nn.Sequential(MergedLoRA(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, CLASSES)),
        lambda: torch.randn(SAMPLES, 4, 5).mean(1),
        {"0": "vmap"},
    ),
    "lists of parameters": Case(Lists, vectors(5), {"weights": "vmap", "named": "vmap", "(model)": "vmap"}),
    "RMSNorm by hand": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), RootMeanSquare(6), nn.Linear(6, CLASSES)),
        vectors(5),
        {"1": "vmap"},
    ),
    "activation checkpointing": Case(
        lambda: Checkpointed(False), vectors(5), {"first": "loop", "block.0": "loop", "head": "loop"}
    ),
    "spectral norm": Case(spectral_norm, images(3, 4, 4), {"0": "vmap", "2": "vmap"}),
}
