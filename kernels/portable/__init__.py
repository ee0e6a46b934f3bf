"""Readable kernels on the array interface that NumPy and CuPy share. Their docstrings state every kernel's contract."""

DTYPES = None  # all
KERNELS = {
    "matmul": "matmul",
    "sum": "sum", "erf": "erf", "put_rows": "put", "join_edges": "segments",
    "max_windows": "pool", "max_values": "pool", "take_winners": "pool", "add_winners": "pool",
    "mean_windows": "pool", "spread_windows": "pool",
    "sgd_update": "optim", "adam_update": "optim", "rmsprop_update": "optim", "adadelta_update": "optim", "update_each": "optim",
    "unscale_each": "scale", "update_scale": "scale",
    "im2col": "im2col", "col2im": "im2col",
    "conv2d": "conv", "conv2d_input_grad": "conv", "conv2d_weight_grad": "conv",
    "philox": "philox", "philox_uniform": "philox", "philox_normal": "philox",
    "dropout": "dropout", "dropout_mask": "dropout", "apply_mask": "dropout",
    "softmax": "softmax", "softmax_grad": "softmax", "log_softmax": "softmax", "log_softmax_grad": "softmax",
    "cross_entropy": "cross_entropy", "cross_entropy_grad": "cross_entropy",
    "mean_loss": "cross_entropy", "total_weight": "cross_entropy",
    "batch_norm": "norm", "batch_norm_grad": "norm", "move_statistics": "norm",
    "group_norm": "norm", "group_norm_grad": "norm",
    "local_response_norm": "lrn", "local_response_norm_grad": "lrn",
    "copy": "activation", "add": "activation", "add_relu": "activation",
    "nms": "nms", "soft_nms": "nms",
    "roi_pool": "roi_pool", "take_roi_winners": "roi_pool", "add_roi_winners": "roi_pool",
    "ps_roi_pool": "roi_pool", "ps_roi_pool_adjoint": "roi_pool",
    "roi_align": "roi_align", "roi_align_adjoint": "roi_align",
    "relu": "activation", "relu_grad": "activation", "leaky_relu": "activation", "leaky_relu_grad": "activation",
}
