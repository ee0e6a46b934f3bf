"""LeNet-5 as printed in 1998: 60,000 trainable parameters, 340,908 connections.

    image 1x32x32 -> C1 6@28x28 -> S2 6@14x14 -> C3 16@10x10 -> S4 16@5x5 -> C5 120 -> F6 84 -> RBF 10

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (Proc. IEEE, 1998), sections
II.B (layers, table I, fig. 3), II.C (losses, equations 8 and 9), III.A (training) and appendix C (stochastic diagonal
Levenberg-Marquardt).

What the paper leaves open, and what is chosen here: the constant j of equation 9 is 3 (with 0.1 the loss is hardly more than
equation 8; with 10 the training fell apart in its second pass); biases are drawn like weights; training images are shuffled
before each pass; the bitmaps of figure 3 are drawn anew. One difference: weights are drawn with deviation
1 / sqrt(fan-in), as LeCun, Bottou, Orr and Müller advise in "Efficient BackProp" (1998, section 4.6), where section III.A prints
±2.4 / fan-in. With the printed bound activations shrink from layer to layer, so that curvatures, measured before the pass, are
tiny and the first steps far too large: after 6,000 images the network still guesses (10 %), where this one reads over 90 %.
"""

from dataclasses import dataclass

import numpy as np

import minidl
from minidl import nn
from minidl.data import transforms
from minidl.errors import UsageError
from minidl.kernels.shapes import ConvGeometry
from minidl.models.classify.weights import with_weights
from minidl.nn.utils import device_of
from minidl.op import Op
from minidl.ops.conv import Conv2dInputGrad, Conv2dWeightGrad
from minidl.ops.index import Put
from minidl.optim.optimizer import Optimizer, check_not_negative
from minidl.random import derive

# Table I: the maps of S2 that each map of C3 reads.
C3_INPUTS = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
             (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5))
BITMAPS = """
 ..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
 .##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
 ##...## .####.. ......# ......# ..####. ##..... ##..... .....## ##...## ##...##
 ##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
 ##...## ...##.. ....##. .....## ##..##. ######. ######. ....##. .#####. ##...##
 ##...## ...##.. ...##.. ..####. ##..##. ##...## ##...## ...##.. .#####. ##...##
 ##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .######
 ##...## ...##.. .##.... ......# ....##. .....## ##...## ..##... ##...## .....##
 ##...## ...##.. ##..... ......# ....##. .....## ##...## ..##... ##...## .....##
 .##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
 ..###.. .###### ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
 ....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


def bitmaps() -> np.ndarray:
    """The ten characters that F6 is to draw, (10, 84): 1 for ink and -1 for paper, rows of 7 pixels."""
    rows = [line.split() for line in BITMAPS.strip().splitlines()]
    return np.array([[1.0 if pixel == "#" else -1.0 for row in rows for pixel in row[digit]] for digit in range(10)], np.float32)


class ScaledTanh(nn.Module):
    """f(a) = 1.7159 tanh(2a/3), so that f(1) = 1 and f(-1) = -1 (appendix A).

    >>> ScaledTanh()(minidl.tensor([1.0, -1.0]))
    tensor([ 1., -1.])
    """

    def forward(self, a):
        return _ScaledTanh()(a)


class _ScaledTanh(Op):
    """One op instead of three: with batches of one image, the number of ops is what training costs."""

    scale, slope = 1.7159, 2 / 3

    def forward(self, a):
        y = self.scale * np.tanh(a * self.slope)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (self.scale * self.slope - self.slope / self.scale * y * y)


class PartialConv2d(nn.Module):
    """A convolution whose output map o reads only the input maps ``inputs[o]``.   x (N, C, H, W) -> (N, len(inputs), OH, OW).

    ``weight`` (connections, K, K) holds the kernels that exist, output map by output map.
    """

    def __init__(self, in_channels: int, inputs, kernel_size: int):
        super().__init__()
        pairs = np.array([(o, c) for o, row in enumerate(inputs) for c in row])
        self.register_buffer("maps", minidl.tensor(pairs.T), persistent=False)  # which output and which input, for each kernel
        self.shape = (len(inputs), in_channels, kernel_size, kernel_size)
        fan_in = [len(row) * kernel_size**2 for row in inputs]
        self.weight = _drawn((len(pairs), kernel_size, kernel_size), np.array(fan_in)[pairs[:, 0], None, None])
        self.bias = _drawn((len(inputs),), np.array(fan_in))

    def full_weight(self, weight):
        """(O, C, K, K), with 0 where no kernel is."""
        return Put(self.shape, *self.maps.array)(weight)

    def forward(self, x):
        return nn.functional.conv2d(x, self.full_weight(self.weight), self.bias)


class Subsampling(nn.Module):
    """The sum of each 2x2 window times a coefficient, plus a bias, one of each a map.   (N, C, H, W) -> (N, C, H/2, W/2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = (_uniform((channels, 1, 1), 2.4 / 4) for _ in range(2))  # the printed bound

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2, divisor_override=1) * self.weight + self.bias


class RBF(nn.Module):
    """y_i = |x - w_i|²: how far x (N, 84) is from each bitmap. Small is good.   -> (N, 10). The bitmaps are not trained."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bitmaps", minidl.tensor(bitmaps()))

    def forward(self, x):
        difference = x.unsqueeze(1) - self.bitmaps
        return (difference * difference).sum(2)


class LeNet5Of1998(nn.Module):
    """LeNet-5 of the paper.   x (N, 1, 32, 32), paper -0.1 and ink 1.175 -> minus the distances to the bitmaps (N, 10).

    >>> model = LeNet5Of1998()
    >>> sum(p.numel() for p in model.parameters()), model(minidl.zeros(2, 1, 32, 32)).shape
    (60000, (2, 10))
    """

    input_shape = (1, 32, 32)

    def __init__(self):
        super().__init__()
        self.c1, self.s2 = _initialised(nn.Conv2d(1, 6, 5), 25), Subsampling(6)
        self.c3, self.s4 = PartialConv2d(6, C3_INPUTS, 5), Subsampling(16)
        self.c5, self.f6 = _initialised(nn.Conv2d(16, 120, 5), 400), _initialised(nn.Linear(120, 84), 120)
        self.squash, self.output = ScaledTanh(), RBF()

        f = self.squash
        self.layers = [self.c1, f, self.s2, f, self.c3, f, self.s4, f, self.c5, f, nn.Flatten(), self.f6, f]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return -self.output(x)


def discriminative_loss(scores, labels, j: float = 3.0):
    """Equation 9: the mean of y_correct + log(e^-j + sum_i e^-y_i), for scores (N, 10) = -y and labels (N,).

    It pulls the right distance down and pushes the wrong ones up, unless they exceed j by far.

    >>> round(discriminative_loss(minidl.tensor([[-1.0, -2.0]]), minidl.tensor([0])).item(), 4)
    0.4076
    """
    rest = scores.new_full((len(scores), 1), -j)  # a class more, which is never the right one
    return nn.functional.cross_entropy(minidl.cat([scores, rest], 1), labels)


# Stochastic diagonal Levenberg-Marquardt (appendix C): each parameter has a learning rate of its own, eta / (mu + h), where h is
# an estimate of the second derivative of the loss. Second derivatives run backward through the layers as gradients do, with all
# weights and slopes squared; what couples different units is left out (so none is negative), and for a weight used at many
# places they are added up.


class DiagonalLevenbergMarquardt(Optimizer):
    """p -= lr / (mu + h) g, with the curvatures h of ``estimate``, one for each element of p.

    >>> p = minidl.tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = DiagonalLevenbergMarquardt([p], lr=0.1, mu=0.5)
    >>> optimizer.estimate({p: np.array([0.5, 1.5])})
    >>> (2 * p).sum().backward()
    >>> optimizer.step(); p
    tensor([0.8, 0.9], requires_grad=True)
    """

    def __init__(self, params, lr=5e-4, mu=0.02):
        super().__init__(params, {"lr": lr, "mu": mu})

    def check(self, group):
        check_not_negative(group, "lr")
        if not group["mu"] > 0:
            raise UsageError(f"mu must be above 0, got {group['mu']}: it bounds the rates where the loss is flat")

    def estimate(self, curvatures: dict) -> None:
        """Take over the curvature of each parameter, an array of its shape."""
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["damped"] = (curvatures[p] + group["mu"]).astype(p.dtype)

    def update(self, p, g, group, state):
        p -= group["lr"] / state["damped"] * g


def curvatures(model: LeNet5Of1998, images, labels, j: float = 3.0) -> dict:
    """For each parameter the mean second derivative of ``discriminative_loss`` over samples, by the paper's recursion."""
    with minidl.no_grad():
        inputs = [images]
        for layer in model.layers:
            inputs.append(layer(inputs[-1]))
        h = _of_loss(model.output, inputs.pop(), labels, j)
        found: dict = {}
        for layer, x in zip(reversed(model.layers), reversed(inputs), strict=True):
            of_parameters, h = _through(layer, x, h)
            found.update((p, v.reshape(p.shape).array / len(images)) for p, v in of_parameters.items())
    return found


def _of_loss(output: RBF, x, labels, j):
    """d²E/dx² for each sample: with d = x - w_i and p_i = e^-y_i / (e^-j + sum_k e^-y_k),

        dE/dx = 2 sum_i (1[i correct] - p_i) d_i,        d²E/dx² = 2 (1 - sum_i p_i) + 4 (sum_i p_i d_i² - (sum_i p_i d_i)²)
    """
    d = x.unsqueeze(1) - output.bitmaps
    scores = minidl.cat([-(d * d).sum(2), x.new_full((len(x), 1), -j)], 1)
    p = scores.softmax(1)[:, :-1].unsqueeze(2)
    return 2 * (1 - p.sum(1)) + 4 * ((p * d * d).sum(1) - (p * d).sum(1) ** 2)


def _through(layer, x, h) -> tuple[dict, minidl.Tensor]:
    """The curvatures of a layer's parameters, summed over the samples, and of its input, from those of its output."""
    if isinstance(layer, ScaledTanh):
        return {}, h * (_ScaledTanh.scale * _ScaledTanh.slope - _ScaledTanh.slope / _ScaledTanh.scale * layer(x) ** 2) ** 2
    if isinstance(layer, nn.Flatten):
        return {}, h.reshape(x.shape)
    if isinstance(layer, nn.Linear):
        return {layer.weight: h.T @ x**2, layer.bias: h.sum(0)}, h @ layer.weight**2
    if isinstance(layer, Subsampling):
        sums = nn.functional.avg_pool2d(x, 2, divisor_override=1)
        spread = nn.functional.interpolate(h * layer.weight**2, scale_factor=2)
        return {layer.weight: (h * sums**2).sum((0, 2, 3)), layer.bias: h.sum((0, 2, 3))}, spread
    weight = layer.full_weight(layer.weight) if isinstance(layer, PartialConv2d) else layer.weight
    of_weight = Conv2dWeightGrad(weight.shape, ConvGeometry())(h, x**2)
    if isinstance(layer, PartialConv2d):
        of_weight = of_weight[tuple(layer.maps)]
    return {layer.weight: of_weight, layer.bias: h.sum((0, 2, 3))}, Conv2dInputGrad(x.shape, ConvGeometry())(h, weight**2)


# The recipe


@dataclass(frozen=True)
class Recipe:
    """Twenty passes, one image at a time."""

    epochs: int = 20


RECIPES = {"mnist": Recipe()}
RATES = ((2, 5e-4), (5, 2e-4), (8, 1e-4), (12, 5e-5))  # up to which pass; 1e-5 after these
ESTIMATED_ON = 500  # images, before each pass

# White is -0.1 and black 1.175, so that the mean is about 0 and the variance 1, and the image lies in a field of 32x32 (II.B).
input_coding = transforms.Compose([transforms.ToTensor(), transforms.Pad(2), transforms.Normalize([0.1 / 1.275], [1 / 1.275])])


def global_rate(epoch: int) -> float:
    """The printed rate of a pass, counted from 0.

    >>> [global_rate(epoch) for epoch in (0, 1, 2, 19)]
    [0.0005, 0.0005, 0.0002, 1e-05]
    """
    return next((rate for last, rate in RATES if epoch < last), 1e-5)


def build(num_classes: int = 10, weights=None) -> LeNet5Of1998:
    """The network, with ``weights`` from a file if given; its outputs are drawn for ten digits, so others are a UsageError."""
    if num_classes != 10:
        raise UsageError(f"LeNet-5 of 1998 has bitmaps for the ten digits; the data have {num_classes} classes")
    return with_weights(LeNet5Of1998(), "lenet-1998", weights)


def training(model: LeNet5Of1998, config: dict, data, batches: int) -> dict:
    """What a ``Trainer`` needs besides model and data."""
    optimizer = DiagonalLevenbergMarquardt(model.parameters())

    def before_epoch(epoch: int) -> None:
        optimizer.param_groups[0]["lr"] = global_rate(epoch)
        chosen = derive(config["seed"], epoch, 1).permutation(len(data))[:ESTIMATED_ON]
        images, labels = data.batch(chosen, config["seed"], epoch)
        device = device_of(model)
        optimizer.estimate(curvatures(model, minidl.tensor(images, device=device), minidl.tensor(labels, device=device)))

    return {"optimizer": optimizer, "loss": discriminative_loss, "before_epoch": before_epoch}


def _drawn(shape, fan_in) -> nn.Parameter:
    """Uniform, with deviation 1 / sqrt(fan-in)."""
    return _uniform(shape, np.sqrt(3 / fan_in))


def _uniform(shape, bound) -> nn.Parameter:
    return nn.Parameter((minidl.rand(*shape) * 2 - 1) * minidl.tensor(np.broadcast_to(bound, shape).astype(np.float32)))


def _initialised(layer, fan_in):
    layer.weight, layer.bias = _drawn(layer.weight.shape, fan_in), _drawn(layer.bias.shape, fan_in)
    return layer
