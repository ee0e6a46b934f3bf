"""Kernels in CUDA C++, one file *.cu for each family, beside the Python functions that launch them.

CuPy arrays are computed on the GPU. NumPy arrays are taken too, under ``use_backend("cuda")``: the same source is then compiled
as C++ for the host, where a test or a debugger can follow it thread by thread (docs/cuda.md).
"""

DTYPES = {"float32", "float64", "float16", "bfloat16", "uint32"}  # uint32: the keys of random numbers
KERNELS = {
    "matmul": "matmul",
    "conv2d": "conv", "conv2d_input_grad": "conv", "conv2d_weight_grad": "conv", "im2col": "im2col", "col2im": "im2col",
    "sum": "sum", "erf": "erf", "put_rows": "put",
    "max_windows": "pool", "max_values": "pool", "take_winners": "pool", "add_winners": "pool",
    "mean_windows": "pool", "spread_windows": "pool",
    "update_each": "optim", "unscale_each": "optim",
    "philox": "philox", "philox_uniform": "philox", "philox_normal": "philox",
    "dropout": "dropout", "dropout_mask": "dropout", "apply_mask": "dropout",
    "softmax": "softmax", "softmax_grad": "softmax", "log_softmax": "softmax", "log_softmax_grad": "softmax",
    "cross_entropy": "cross_entropy", "cross_entropy_grad": "cross_entropy", "mean_loss": "cross_entropy",
    "batch_norm": "norm", "batch_norm_grad": "norm", "move_statistics": "norm",
    "group_norm": "norm", "group_norm_grad": "norm",
    "local_response_norm": "lrn", "local_response_norm_grad": "lrn",
    "nms": "nms", "soft_nms": "nms",
    "roi_pool": "roi_pool", "take_roi_winners": "roi_pool", "add_roi_winners": "roi_pool",
    "ps_roi_pool": "roi_pool", "ps_roi_pool_adjoint": "roi_pool",
    "roi_align": "roi_align", "roi_align_adjoint": "roi_align",
    "copy": "activation", "add": "activation", "add_relu": "activation",
    "relu": "activation", "relu_grad": "activation", "leaky_relu": "activation", "leaky_relu_grad": "activation",
}
