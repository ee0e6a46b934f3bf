"""Rows added up where they belong: the adjoint of picking rows."""

from minidl.kernels import namespace
from minidl.kernels.half import accumulator


def put_rows(x, rows, count):
    """Zeros (count, R) with row ``x[b]`` added to row ``rows[b]``.   x (B, R), rows (B,) int64 in [0, count) -> (count, R).

    Rows may repeat; floating-point sums are accumulated in float64 and rounded once to the dtype of ``x``.
    """
    xp, size = namespace(x), x.shape[1]
    wide = accumulator(x.dtype)
    y = xp.zeros(count * size, wide)
    places = rows[:, None] * size + xp.arange(size)  # NumPy's add.at is fast in one dimension only
    xp.add.at(y, places.reshape(-1), x.reshape(-1).astype(wide, copy=False))
    return y.astype(x.dtype, copy=False).reshape(count, size)
