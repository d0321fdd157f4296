"""Architectures that several benchmarks train or measure.

They are written as people write them: the ViT keeps its class token and positions as bare parameters, the
GPT looks its positions up once for all samples and ties its head to the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """ResNet's block of two 3×3 convolutions around a shortcut."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, height, width] to [batch, out, height / stride, width / stride]."""
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu2(inner + self.shortcut(x))
        return out


def resnet18(width: int, classes: int = 10) -> nn.Module:
    """Return ResNet-18 in the form for 32×32 images: a 3×3 stem and no pooling before the blocks."""
    blocks = []
    channels = width
    for stage in range(4):
        for stride in (1 if stage == 0 else 2, 1):
            blocks.append(BasicBlock(channels, width * 2**stage, stride))
            channels = width * 2**stage
    stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, positions, width] to the same shape."""
        q, k, v = (t.unflatten(2, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm and around a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, positions, width] to the same shape."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Vision transformer on 32×32 images, with a class token."""

    def __init__(self, width: int = 192, depth: int = 6, heads: int = 3, patch: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (32 // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, 3, 32, 32] to logits [batch, 10]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        out: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return out


class GPT(nn.Module):
    """Character-level causal transformer; a sample's class is the character that follows its context."""

    def __init__(
        self, characters: int = 64, context: int = 64, width: int = 192, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map characters [batch, context] to logits of the next one, [batch, characters]."""
        places = torch.arange(x.shape[1], device=x.device)
        hidden = self.norm(self.blocks(self.embed(x) + self.positions(places)))
        out: Tensor = self.head(hidden[:, -1])
        return out


class TextEncoder(nn.Module):
    """Encoder of texts by word and position embeddings, and a dense layer on the first word."""

    def __init__(self, words: int, length: int, classes: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, False) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map words [batch, length] to logits [batch, classes]."""
        places = torch.arange(x.shape[1], device=x.device)
        hidden = self.norm(self.blocks(self.embed(x) + self.positions(places)))
        out: Tensor = self.head(hidden[:, 0])
        return out


class TextLSTM(nn.Module):
    """Word embedding, one LSTM and a dense layer on its last output."""

    def __init__(self, words: int = 2000, width: int = 128, hidden: int = 128, classes: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map words [batch, positions] to logits [batch, classes]."""
        out: Tensor = self.head(self.rnn(self.embed(x))[0][:, -1])
        return out


def mlp(width: int = 512, classes: int = 10) -> nn.Module:
    """Return the perceptron 784 → width → width → classes."""
    return nn.Sequential(
        *(nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes))
    )
