"""Kernels compiled with Numba for float32 and float64 NumPy arrays: blocked, fused, threaded."""

KERNELS = {
    "sum": "sum", "erf": "erf",
}
