"""Kernels compiled with Numba for float32 and float64 NumPy arrays: blocked, fused, threaded."""

from minidl.kernels.cpu.memory import keep_freed_pages

keep_freed_pages()

DTYPES = {"float32", "float64", "uint32"}  # uint32: the keys of random numbers
KERNELS = {
    "matmul": "matmul",
    "im2col": "im2col", "col2im": "im2col",
    "conv2d": "conv", "conv2d_input_grad": "conv", "conv2d_weight_grad": "conv",
    "sum": "sum", "erf": "erf", "put_rows": "put", "join_edges": "segments",
    "max_windows": "pool", "max_values": "pool", "take_winners": "pool", "add_winners": "pool",
    "mean_windows": "pool", "spread_windows": "pool",
    "sgd_update": "optim", "adam_update": "optim", "rmsprop_update": "optim", "adadelta_update": "optim", "update_each": "optim",
    "philox": "philox", "philox_uniform": "philox", "philox_normal": "philox",
    "dropout_mask": "dropout", "apply_mask": "dropout",
    "softmax": "softmax", "softmax_grad": "softmax", "log_softmax": "softmax", "log_softmax_grad": "softmax",
    "cross_entropy": "cross_entropy", "cross_entropy_grad": "cross_entropy",
    "batch_norm": "norm", "batch_norm_grad": "norm", "group_norm": "norm", "group_norm_grad": "norm",
    "local_response_norm": "lrn", "local_response_norm_grad": "lrn",
    "add": "activation", "add_relu": "activation",
    "nms": "nms", "soft_nms": "nms",
    "roi_pool": "roi_pool", "take_roi_winners": "roi_pool", "add_roi_winners": "roi_pool",
    "ps_roi_pool": "roi_pool", "ps_roi_pool_adjoint": "roi_pool",
    "roi_align": "roi_align", "roi_align_adjoint": "roi_align",
    "relu": "activation", "relu_grad": "activation", "leaky_relu": "activation", "leaky_relu_grad": "activation",
}
