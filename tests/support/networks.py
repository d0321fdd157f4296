"""Small networks, one per way in which a layer can be built and called, each with its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

CLASSES = 3
SAMPLES = 9


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and the path each layer is expected to take ('closed form' where not named)."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    paths: dict[str, str]


class Apply(nn.Module):
    """Calls a function of its modules: for networks that a Sequential cannot express."""

    def __init__(self, function: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any) -> Tensor:
        return self.function(self, *args)


class Temperature(nn.Module):
    """Logits times a learned number, as in CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, CLASSES)
        self.scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x) * self.scale.exp()
        return logits


class Scale(nn.Module):
    """A module with a raw parameter and raw torch operations."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(size))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) * self.gain + self.gain.square()


class ClassToken(nn.Module):
    """A transformer with bare parameters: class token and positions, as in a ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 6, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.block(x)[:, 0])


def vectors(size: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(SAMPLES, size)


def images(channels: int, *sides: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(SAMPLES, channels, *sides)


def tokens() -> Tensor:
    return torch.randint(0, 7, (SAMPLES, 5))


def conv_net(dims: int, **options: Any) -> Callable[[], nn.Module]:
    convs = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

    def build() -> nn.Module:
        conv = convs[dims - 1](4, 6, 3, **options)
        return nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(CLASSES))

    return build


def norm_net(norm: Callable[[], nn.Module], dims: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](2, 4, 1)
        return nn.Sequential(conv, norm(), nn.Tanh(), nn.Flatten(), nn.LazyLinear(CLASSES))

    return build


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Linear(6, CLASSES)
    )


def residual() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        out = net.norm(net.first(x))
        out += x
        return net.head(F.relu_(out).mean((2, 3)))

    conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    return Apply(forward, first=conv, norm=nn.BatchNorm2d(3), head=nn.Linear(3, CLASSES))


def text_cnn() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.conv(net.embed(x).transpose(1, 2)).relu().amax(2))

    embed = nn.Embedding(7, 4, padding_idx=0)
    return Apply(forward, embed=embed, conv=nn.Conv1d(4, 6, 3), head=nn.Linear(6, CLASSES))


def tied() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        hidden = torch.tanh(net.body(net.embed(x).mean(1)))
        return net.out(hidden)[:, :CLASSES]

    net = Apply(forward, embed=nn.Embedding(7, 4), body=nn.Linear(4, 4), out=nn.Linear(4, 7, bias=False))
    net.out.weight = net.embed.weight
    return net


def tied_by_function() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(net.embed(x).mean(1)), net.embed.weight)[:, :CLASSES]

    return Apply(forward, embed=nn.Embedding(7, 4))


def recurrent() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(net.cell(x))
        return net.head(x)

    return Apply(forward, cell=nn.Linear(5, 5), head=nn.Linear(5, CLASSES))


def batch_second() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.norm(net.body(x.transpose(0, 1)))
        return net.head(x.mean(0))

    return Apply(forward, body=nn.Linear(5, 6), norm=nn.LayerNorm(6), head=nn.Linear(6, CLASSES))


def folded() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        hidden = torch.tanh(net.body(x.reshape(-1, 5)))
        return net.head(hidden.reshape(len(x), -1, 6).mean(1))

    return Apply(forward, body=nn.Linear(5, 6), head=nn.Linear(6, CLASSES))


def folded_last() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        hidden = torch.tanh(net.body(x.transpose(0, 1).reshape(-1, 5)))
        return net.head(hidden.reshape(-1, len(x), 6).mean(0))

    return Apply(forward, body=nn.Linear(5, 6), head=nn.Linear(6, CLASSES))


def sequences() -> Tensor:
    return torch.randn(SAMPLES, 4, 5)


def recurrent_layer(kind: type[nn.RNNBase], **options: Any) -> Callable[[], nn.Module]:
    options = {"batch_first": True, "hidden_size": 4} | options

    def forward(net: Any, x: Tensor) -> Tensor:
        if options["batch_first"]:
            return net.head(net.rnn(x)[0][:, -2:].mean(1))
        return net.head(net.rnn(x.transpose(0, 1))[0][-2:].mean(0))

    wide = 8 if options.get("bidirectional") else 4
    return lambda: Apply(forward, rnn=kind(5, **options), head=nn.Linear(wide, CLASSES))


def last_state() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        _, (h, c) = net.rnn(x)
        return net.head(h[-1] + c[0])

    rnn = nn.LSTM(5, 4, num_layers=2, batch_first=True)
    return Apply(forward, rnn=rnn, head=nn.Linear(4, CLASSES))


def packed() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), 3)
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return net.head(net.rnn(rows)[1][0][-1])

    return Apply(forward, rnn=nn.LSTM(5, 4, batch_first=True), head=nn.Linear(4, CLASSES))


def attention() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.attend(x, x, x, need_weights=False)[0].mean(1))

    return Apply(forward, attend=nn.MultiheadAttention(8, 2, batch_first=True), head=nn.Linear(8, CLASSES))


def attention_batch_second() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        return net.head(net.attend(x, x, x)[0].mean(0))

    attend = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    return Apply(forward, attend=attend, head=nn.Linear(8, CLASSES))


def cross_attention() -> nn.Module:
    def forward(net: Any, x: Tensor, y: Tensor) -> Tensor:
        y = net.widen(y)
        return net.head(net.attend(x, y, y, need_weights=False)[0].mean(1) + net.other(x, y, y)[0].mean(1))

    return Apply(
        forward,
        widen=nn.Linear(6, 8),
        attend=nn.MultiheadAttention(8, 2, batch_first=True),
        other=nn.MultiheadAttention(8, 2, batch_first=True, kdim=8, vdim=8, bias=False),
        head=nn.Linear(8, CLASSES),
    )


def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, CLASSES))


def partly_frozen() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    return net


def two_inputs() -> nn.Module:
    def forward(net: Any, x: Tensor, y: Tensor) -> Tensor:
        return net.head(torch.tanh(net.left(x) + net.right(y)))

    return Apply(forward, left=nn.Linear(5, 6), right=nn.Linear(4, 6), head=nn.Linear(6, CLASSES))


LAYER_CASES: dict[str, Case] = {
    "perceptron": Case(mlp, vectors(5), {}),
    "linear over few wide positions: Gram matrices": Case(
        lambda: Apply(
            lambda n, x: n.head(n.body(x).tanh().mean(1)), body=nn.Linear(20, 20), head=nn.Linear(20, CLASSES)
        ),
        lambda: torch.randn(SAMPLES, 3, 20),
        {},
    ),
    "linear over many narrow positions: whole gradients": Case(
        lambda: Apply(
            lambda n, x: n.head(n.body(x).tanh().mean(1)), body=nn.Linear(3, 4), head=nn.Linear(4, CLASSES)
        ),
        lambda: torch.randn(SAMPLES, 15, 3),
        {},
    ),
    "linear, batch in the second dimension": Case(batch_second, lambda: torch.randn(SAMPLES, 4, 5), {}),
    "linear, positions folded into the batch": Case(folded, lambda: torch.randn(SAMPLES, 4, 5), {}),
    "linear, the batch folded into positions": Case(folded_last, lambda: torch.randn(SAMPLES, 4, 5), {}),
    "conv1d": Case(conv_net(1, stride=2, padding=2, dilation=2), images(4, 11), {}),
    "conv2d": Case(conv_net(2, stride=(2, 1), padding=(1, 0)), images(4, 6, 5), {}),
    "conv2d grouped": Case(conv_net(2, groups=2, padding="same", dilation=2), images(4, 6, 5), {}),
    "conv2d circular": Case(conv_net(2, padding=1, padding_mode="circular"), images(4, 5, 5), {}),
    "conv2d reflect": Case(conv_net(2, padding=1, padding_mode="reflect", stride=2), images(4, 6, 6), {}),
    "conv2d replicate without bias": Case(
        conv_net(2, padding=1, padding_mode="replicate", bias=False), images(4, 4, 4), {}
    ),
    "conv3d": Case(conv_net(3, padding="valid"), images(4, 4, 3, 5), {}),
    "batch norm 1d": Case(norm_net(lambda: nn.BatchNorm1d(4), 1), images(2, 5), {}),
    "batch norm 2d": Case(norm_net(lambda: nn.BatchNorm2d(4), 2), images(2, 3, 4), {}),
    "batch norm 3d": Case(norm_net(lambda: nn.BatchNorm3d(4), 3), images(2, 2, 3, 2), {}),
    "batch norm on vectors": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, CLASSES)),
        vectors(5),
        {},
    ),
    "group norm": Case(norm_net(lambda: nn.GroupNorm(2, 4), 2), images(2, 3, 4), {}),
    "layer norm over two dimensions": Case(norm_net(lambda: nn.LayerNorm((3, 4)), 2), images(2, 3, 4), {}),
    "layer norm without bias": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6, bias=False), nn.Linear(6, CLASSES)),
        vectors(5),
        {},
    ),
    "residual with in-place addition": Case(residual, images(3, 4, 4), {}),
    "embedding with a padding row": Case(text_cnn, tokens, {}),
    "embedding tied to the head": Case(tied, tokens, {}),
    "embedding used again by a function": Case(tied_by_function, tokens, {}),
    "one layer called three times": Case(recurrent, vectors(5), {}),
    "transposed convolution": Case(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 3, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(CLASSES)
        ),
        images(2, 3, 3),
        {},
    ),
    "root mean square norm": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.RMSNorm(6), nn.Linear(6, CLASSES)),
        vectors(5),
        {},
    ),
    "raw parameters": Case(
        lambda: nn.Sequential(nn.Linear(5, 6), Scale(6), nn.Linear(6, CLASSES)), vectors(5), {"1": "vmap"}
    ),
    "attention": Case(attention, lambda: torch.randn(SAMPLES, 4, 8), {}),
    "attention, batch second": Case(
        attention_batch_second, lambda: torch.randn(SAMPLES, 4, 8), {"attend": "vmap"}
    ),
    "attention of one sequence to another": Case(
        cross_attention,
        lambda: (torch.randn(SAMPLES, 4, 8), torch.randn(SAMPLES, 3, 6)),
        {"attend": "vmap", "other": "vmap"},
    ),
    "class token and positions": Case(
        ClassToken,
        lambda: torch.randn(SAMPLES, 5, 8),
        {"(model)": "vmap"},
    ),
    "parametrized wide weight": Case(
        lambda: nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(5, 64)), nn.Tanh(), nn.Linear(64, CLASSES)
        ),
        vectors(5),
        {"0": "vmap"},
    ),
    "weights of one column": Case(
        lambda: nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, CLASSES)), vectors(1), {}
    ),
    "embedding of one column": Case(
        lambda: nn.Sequential(nn.Embedding(61, 1), nn.Flatten(), nn.Linear(4, CLASSES)),
        lambda: torch.randint(61, (SAMPLES, 4)),
        {},
    ),
    "a number as parameter": Case(
        Temperature,
        vectors(5),
        {"(model)": "vmap"},
    ),
    "parametrized weight": Case(weight_norm, vectors(5), {"0": "vmap"}),
    "LSTM": Case(recurrent_layer(nn.LSTM), sequences, {}),
    "LSTM, two layers, both ways, batch second": Case(
        recurrent_layer(nn.LSTM, num_layers=2, bidirectional=True, batch_first=False), sequences, {}
    ),
    "LSTM without bias": Case(recurrent_layer(nn.LSTM, bias=False), sequences, {}),
    "LSTM with projections": Case(
        recurrent_layer(nn.LSTM, proj_size=4, hidden_size=6), sequences, {"rnn": "vmap"}
    ),
    "LSTM, its last state": Case(last_state, sequences, {}),
    "LSTM on packed sequences": Case(packed, sequences, {"rnn": "loop"}),
    "GRU": Case(recurrent_layer(nn.GRU), sequences, {}),
    "GRU, two layers, both ways, batch second": Case(
        recurrent_layer(nn.GRU, num_layers=2, bidirectional=True, batch_first=False), sequences, {}
    ),
    "recurrent layer, tanh": Case(recurrent_layer(nn.RNN, bidirectional=True), sequences, {}),
    "recurrent layer, ReLU": Case(recurrent_layer(nn.RNN, nonlinearity="relu"), sequences, {}),
    "frozen first layer": Case(partly_frozen, vectors(5), {}),
    "two inputs": Case(two_inputs, lambda: (torch.randn(SAMPLES, 5), torch.randn(SAMPLES, 4)), {}),
}
