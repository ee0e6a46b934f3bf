"""Optimizer updates on the GPU, many parameters in one launch: see optim.cu."""

import functools
import itertools
from operator import attrgetter

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import THREADS, launch, ready
from minidl.kernels.recording import live, uploaded

CHUNK = 4096  # numbers that a block changes, as in optim.cu
ARRAYS = 5  # pointers in a row of the table: a parameter, its gradient, and up to three states
MOST_OPTIONS = 9


def update_each(rule, arrays, numbers, found_inf=None):
    """As the portable kernel. States are contiguous; a parameter of another layout is copied and written back."""
    prepared = [(*ready(p, g), *states) for p, g, *states in arrays]
    options = live(lambda: OPTIONS[rule](*numbers()), np.float64, MOST_OPTIONS, namespace(prepared[0][0]))
    _launch(rule, prepared, options, found_inf)
    _write_back([p for p, *_ in arrays], prepared)


def unscale_each(gradients, scale, found_inf):
    """As the portable kernel."""
    prepared = [(g, g) for g in map(ready, gradients)]
    _launch("unscale_update", prepared, scale, found_inf)
    _write_back(gradients, prepared)


def _launch(kernel, arrays, *arguments):
    like = arrays[0][0]
    address = attrgetter("ctypes.data" if isinstance(like, np.ndarray) else "data.ptr")
    rows = tuple([(each[0].size, *[0 if array is None else address(array) for array in each]) for each in arrays])
    table, blocks = _table(rows)
    table = uploaded(table, like, often=False)  # another one if gradients have moved
    launch(f"optim.{kernel}", blocks, table, len(rows), *arguments, dtype=like.dtype, per_item=THREADS)


def _write_back(arrays, prepared):
    for array, (value, *_) in zip(arrays, prepared, strict=True):
        if value is not array:
            array[...] = value


@functools.lru_cache(8)
def _table(rows) -> tuple[np.ndarray, int]:
    """From sizes and addresses to what the kernels read, and how many blocks that takes."""
    blocks = [-(-size // CHUNK) for size, *_ in rows]
    firsts = [0, *itertools.accumulate(blocks)]
    missing = [0] * (ARRAYS - len(rows[0]) + 1)
    return np.array([(first, *row, *missing) for first, row in zip(firsts, rows, strict=False)], np.int64), firsts[-1]


# From a rule's arguments, as the portable kernels have them, to what its CUDA kernel reads.


def _sgd(lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    return lr, momentum, 1 - dampening, weight_decay, nesterov, maximize, first


def _adam(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
    decay, shrink = (0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1)
    return lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, (1 - beta2**step) ** 0.5, eps, decay, shrink, maximize


def _rmsprop(lr, alpha, eps, weight_decay, momentum, maximize):
    return lr, alpha, 1 - alpha, eps, weight_decay, momentum, maximize


def _adadelta(lr, rho, eps, weight_decay, maximize):
    return lr, rho, 1 - rho, eps, weight_decay, maximize


OPTIONS = {"sgd_update": _sgd, "adam_update": _adam, "rmsprop_update": _rmsprop, "adadelta_update": _adadelta}
