"""Random calls of correct ops: shapes, values (some tied or zero), modes."""

import numpy as np

import minidl
from minidl.nn import functional as F
from minidl.testing import examine


def leaf(random, *shape, low=-2.0, high=2.0):
    """Values in steps of 1/8 half of the time: then ties and zeros abound."""
    x = random.uniform(low, high, shape)
    return minidl.tensor(np.round(x * 8) / 8 if random.random() < 0.5 else x, requires_grad=True)


def size(random, dims):
    return [int(n) for n in random.integers(1, 4, dims)]


def broadcastable(random):
    """Two shapes that broadcast: axes of size 1, or missing, in either."""
    shape = size(random, 3)
    return [tuple(1 if random.random() < 0.3 else n for n in shape[random.integers(0, 3):]) for _ in range(2)]


def elementwise(random):
    name = random.choice(["exp", "tanh", "sigmoid", "relu", "abs", "sin", "cos", "erf", "square", "softplus"])
    function = getattr(F, name) if name == "softplus" else getattr(minidl, name)
    return function, [leaf(random, *size(random, 2))]


def binary(random):
    name = random.choice(["add", "mul", "sub", "maximum", "minimum"])
    return getattr(minidl, name), [leaf(random, *shape) for shape in broadcastable(random)]


def division(random):
    left, right = broadcastable(random)
    return minidl.div, [leaf(random, *left), leaf(random, *right, low=0.5)]


def reduction(random):
    name, dim = random.choice(["sum", "mean", "amax", "amin", "prod", "logsumexp", "cumsum"]), int(random.integers(0, 3))
    return lambda x: getattr(x, name)(dim), [leaf(random, *size(random, 3))]


def softmax(random):
    name = random.choice(["softmax", "log_softmax"])
    return lambda x: getattr(x, name)(-1), [leaf(random, *size(random, 2))]


def product(random):
    n, k, m = size(random, 3)
    return minidl.matmul, [leaf(random, n, k), leaf(random, k, m)]


def convolution(random):
    groups, stride, padding = (int(random.integers(1, 3)) for _ in range(3))
    kernel = size(random, 2)
    x = leaf(random, 2, groups, *(k + int(random.integers(0, 3)) for k in kernel))
    w, b = leaf(random, 2 * groups, 1, *kernel), leaf(random, 2 * groups)
    return lambda x, w, b: F.conv2d(x, w, b, stride, padding, groups=groups), [x, w, b]


def pooling(random):
    function = [F.max_pool2d, F.avg_pool2d][random.integers(0, 2)]
    kernel, stride = int(random.integers(1, 4)), int(random.integers(1, 3))
    return lambda x: function(x, kernel, stride, kernel // 2), [leaf(random, 1, 2, *(kernel + n for n in size(random, 2)))]


def normalisation(random):
    n, c = 2 + int(random.integers(0, 3)), int(random.integers(1, 4))
    x = minidl.tensor(random.standard_normal((n, c)), requires_grad=True)
    return lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [x, leaf(random, c), leaf(random, c)]


def cross_entropy(random):
    n, c = size(random, 2)
    labels = minidl.tensor(random.integers(0, c, n))
    return lambda x: F.cross_entropy(x, labels, label_smoothing=0.1), [leaf(random, n, c)]


def indexing(random):
    n, m = size(random, 2)
    at = random.integers(0, n, 4)
    return lambda x: x[minidl.tensor(at)], [leaf(random, n, m)]


MAKERS = [elementwise, binary, division, reduction, softmax, product, convolution, pooling, normalisation, cross_entropy,
          indexing]


def false_alarms(draws: int) -> list[str]:
    """Correct ops that the check calls wrong, each with the seed of its draw."""
    alarms = []
    for seed in range(draws):
        random = np.random.default_rng(seed)
        maker = MAKERS[seed % len(MAKERS)]
        function, inputs = maker(random)
        report = examine(function, inputs, fast_mode=bool(seed // len(MAKERS) % 2))
        if not report:
            alarms.append(f"{maker.__name__}, seed {seed}: {report}")
    return alarms
