"""Optimizer updates on the GPU, many parameters in one launch: see optim.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import THREADS, launch, ready
from minidl.kernels.recording import live, uploaded

CHUNK = 4096  # numbers that a block changes, as in optim.cu
ARRAYS = 5  # pointers in a row of the table: a parameter, its gradient, and up to three states
MOST_OPTIONS = 9


def update_each(rule, arrays, numbers, found_inf=None):
    """As the portable kernel. States are contiguous; a parameter of another layout is copied and written back."""
    like, rows, blocks = arrays[0][0], [], 0
    prepared = [ready(*each) for each in arrays]
    for each in prepared:
        pointers = [0 if array is None else _address(array) for array in each]
        rows.append((blocks, each[0].size, *pointers, *[0] * (ARRAYS - len(each))))
        blocks += -(-each[0].size // CHUNK)
    options = live(lambda: OPTIONS[rule](*numbers()), np.float64, MOST_OPTIONS, namespace(like))
    table = uploaded(np.array(rows, np.int64), like, often=False)  # another one if gradients have moved
    launch(f"optim.{rule}", blocks, table, len(rows), options, found_inf, dtype=like.dtype, per_item=THREADS)
    for (p, *_), (value, *_) in zip(arrays, prepared, strict=True):
        if value is not p:
            p[...] = value


def _address(array) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


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
