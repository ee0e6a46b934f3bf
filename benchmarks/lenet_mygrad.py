"""LeNet-5 (ReLU, max pooling) and gradient descent with momentum, written for MyGrad, which has no layers of its own."""

import mygrad
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy


class LeNet5:
    """The same shapes as ``benchmarks.lenet.lenet5_relu``."""

    def __init__(self):
        random = np.random.default_rng(0)
        shapes = [(6, 1, 5, 5), (16, 6, 5, 5), (400, 120), (120, 84), (84, 10)]
        weights = [(random.standard_normal(shape) * 0.05).astype(np.float32) for shape in shapes]
        biases = [np.zeros((1, n, 1, 1) if len(s) == 4 else n, np.float32) for s in shapes for n in [s[0 if len(s) == 4 else 1]]]
        self.parameters = [mygrad.tensor(p) for pair in zip(weights, biases, strict=True) for p in pair]
        self.momentum = [np.zeros_like(p.data) for p in self.parameters]

    def __call__(self, x):
        w1, b1, w2, b2, *dense = self.parameters
        x = max_pool(relu(conv_nd(x, w1, stride=1, padding=2) + b1), (2, 2), 2)
        x = max_pool(relu(conv_nd(x, w2, stride=1, padding=0) + b2), (2, 2), 2)
        x = x.reshape(len(x), -1)
        for w, b in zip(dense[:-2:2], dense[1:-2:2], strict=True):
            x = relu(x @ w + b)
        return x @ dense[-2] + dense[-1]

    def step(self, x, y):
        """One training step."""
        softmax_crossentropy(self(x), y).backward()
        for p, v in zip(self.parameters, self.momentum, strict=True):
            v *= 0.9
            v += p.grad
            p.data -= 0.01 * v
            p.null_grad()
