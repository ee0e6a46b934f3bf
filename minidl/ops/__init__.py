"""Differentiable ops, one file per family. All public functions, under PyTorch's names."""

from minidl.ops.activation import (
    add_relu,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    prelu,
    relu,
    relu6,
    selu,
    silu,
    softplus,
)
from minidl.ops.arithmetic import add, div, floor_divide, mul, neg, remainder, sub
from minidl.ops.arrange import diag, diagonal, flip, repeat, roll, tile, tril, triu
from minidl.ops.boxes import box_area, box_convert, box_iou, clip_boxes_to_image, generalized_box_iou, remove_small_boxes
from minidl.ops.choose import clamp, maximum, minimum, where
from minidl.ops.compare import (
    allclose,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    equal,
    ge,
    gt,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from minidl.ops.conv import conv2d, conv_transpose2d, fold, unfold
from minidl.ops.create import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from minidl.ops.cross_entropy import cross_entropy, multi_margin_loss, nll_loss
from minidl.ops.dropout import dropout, dropout2d
from minidl.ops.einsum import einsum
from minidl.ops.elementwise import abs_ as abs
from minidl.ops.elementwise import (
    ceil,
    cos,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    pow,
    reciprocal,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    tanh,
    trunc,
)
from minidl.ops.gather import (
    argwhere,
    embedding,
    gather,
    index_select,
    masked_fill,
    masked_select,
    nonzero,
    one_hot,
    scatter,
    scatter_add,
    take_along_dim,
)
from minidl.ops.index import narrow
from minidl.ops.join import cat, chunk, concat, concatenate, split, stack, unbind
from minidl.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from minidl.ops.matmul import addmm, bmm, dot, linear, matmul, mm, mv, outer
from minidl.ops.nms import batched_nms, nms, soft_nms
from minidl.ops.norm import batch_norm, group_norm, layer_norm, local_response_norm, normalize
from minidl.ops.pad import pad
from minidl.ops.pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    max_pool2d,
    max_unpool2d,
)
from minidl.ops.random import bernoulli, normal, rand, rand_like, randint, randint_like, randn, randn_like, randperm
from minidl.ops.reduce import all_ as all
from minidl.ops.reduce import (
    amax,
    amin,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
)
from minidl.ops.reduce import any_ as any
from minidl.ops.resample import interpolate
from minidl.ops.roi import ps_roi_pool, roi_align, roi_pool
from minidl.ops.shape import (
    broadcast_tensors,
    broadcast_to,
    flatten,
    movedim,
    permute,
    reshape,
    squeeze,
    swapaxes,
    swapdims,
    t,
    transpose,
    unflatten,
    unsqueeze,
)
from minidl.ops.softmax import log_softmax, logsumexp, softmax
from minidl.ops.sort import argsort, kthvalue, msort, sort, topk

# Every function imported above is public, as `minidl.NAME` and `minidl.nn.functional.NAME`; the modules are not. A plain list,
# so that type checkers can read it; tests/test_imports.py holds it to what is imported.
__all__ = [
    "abs", "adaptive_avg_pool2d", "adaptive_max_pool2d", "add", "add_relu", "addmm", "all", "allclose", "amax", "amin", "any",
    "arange", "argmax", "argmin", "argsort", "argwhere", "avg_pool2d", "batch_norm", "batched_nms", "bernoulli",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "bitwise_and", "bitwise_not", "bitwise_or", "bitwise_xor",
    "bmm", "box_area", "box_convert", "box_iou", "broadcast_tensors", "broadcast_to", "cat", "ceil", "chunk", "clamp",
    "clip_boxes_to_image", "concat", "concatenate", "conv2d", "conv_transpose2d", "cos", "count_nonzero", "cross_entropy",
    "cumprod", "cumsum", "diag", "diagonal", "div", "dot", "dropout", "dropout2d", "einsum", "elu", "embedding", "empty",
    "empty_like", "eq", "equal", "erf", "exp", "expm1", "eye", "flatten", "flip", "floor", "floor_divide", "fold", "full",
    "full_like", "gather", "ge", "gelu", "generalized_box_iou", "group_norm", "gt", "hardsigmoid", "hardswish", "hardtanh",
    "hinge_embedding_loss", "huber_loss", "index_select", "interpolate", "isclose", "isfinite", "isinf", "isnan", "kl_div",
    "kthvalue", "l1_loss", "layer_norm", "le", "leaky_relu", "linear", "linspace", "local_response_norm", "log", "log10",
    "log1p", "log2", "log_softmax", "logical_and", "logical_not", "logical_or", "logical_xor", "logsigmoid", "logsumexp", "lt",
    "masked_fill", "masked_select", "matmul", "max", "max_pool2d", "max_unpool2d", "maximum", "mean", "meshgrid", "min",
    "minimum", "mm", "movedim", "mse_loss", "msort", "mul", "multi_margin_loss", "mv", "narrow", "ne", "neg", "nll_loss", "nms",
    "nonzero", "norm", "normal", "normalize", "one_hot", "ones", "ones_like", "outer", "pad", "permute", "pow", "prelu", "prod",
    "ps_roi_pool", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "reciprocal", "relu",
    "relu6", "remainder", "remove_small_boxes", "repeat", "reshape", "roi_align", "roi_pool", "roll", "round", "rsqrt",
    "scatter", "scatter_add", "selu", "sigmoid", "sign", "silu", "sin", "smooth_l1_loss", "soft_nms", "softmax", "softplus",
    "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "sub", "sum", "swapaxes", "swapdims", "t", "take_along_dim",
    "tanh", "tile", "topk", "transpose", "tril", "triu", "trunc", "unbind", "unflatten", "unfold", "unsqueeze", "var", "where",
    "zeros", "zeros_like",
]
