"""minidl: deep learning that can be read in an afternoon.

>>> import minidl
>>> x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4., 6.])
"""

import os as _os
import warnings as _warnings

# A copy whose links did not survive (a ZIP, Windows): the floors `kernels` and `models` lie beside this package.
if not _os.path.isdir(_os.path.join(__path__[0], "kernels")):
    __path__.append(_os.path.dirname(__path__[0]))

from minidl import blas as _blas  # before everything that imports NumPy

_blas.load_numpy()

# NaN and inf are values here, as in every deep learning framework: NumPy need not warn where our own code meets them.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"minidl\.(op|ops|tape|kernels)\b")

from minidl import autograd, dtypes, errors, kernels, ops, random
from minidl.autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minidl.cuda.graph import capture
from minidl.device import Device as device
from minidl.device import get_default_device, set_default_device
from minidl.dtypes import bool_ as bool
from minidl.dtypes import (
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    result_type,
    set_default_dtype,
    uint8,
)
from minidl.kernels import explain, use_algorithm, use_backend
from minidl.kernels.precision import float32_matmul_precision as get_float32_matmul_precision
from minidl.kernels.precision import set_float32_matmul_precision
from minidl.op import Op
from minidl.ops import *
from minidl.random import Generator, get_rng_state, initial_seed, manual_seed, set_rng_state
from minidl.tensor import Tensor, from_numpy, tensor
from minidl.threads import get_num_threads, set_num_threads

from minidl import amp, cuda, data, nn, optim  # isort: skip
from minidl.amp import autocast, get_autocast_dtype, is_autocast_enabled  # isort: skip
from minidl.io import load, save  # isort: skip

__version__ = "0.1.0"

long, double, half = int64, float64, float16


def __getattr__(name):
    if name == "bfloat16":  # its package is loaded when it is asked for
        try:
            return dtypes.as_dtype(name)
        except errors.MissingDependencyError as error:  # hasattr must be able to say no
            raise AttributeError(error) from None
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")
