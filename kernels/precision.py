"""How float32 may be multiplied on a GPU: a switch for the whole process, as in PyTorch."""

PRECISIONS = ("highest", "high", "medium")
_precision = ["highest"]


def set_float32_matmul_precision(precision: str) -> None:
    """How a GPU may multiply float32 numbers inside matrix products and convolutions: ``"highest"`` (the default) in float32,
    ``"high"`` rounded to tf32 (8 bits of exponent, 10 of fraction). ``"medium"``, which allows bfloat16, is as ``"high"`` here.
    Sums stay in float32, and so do inputs and results. Tensor cores multiply tf32 many times as fast.

    The CPU always computes as with ``"highest"``. In PyTorch convolutions have a switch of their own, on from the start; here
    this one counts for both.

    Raises ValueError for any other word.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision

    >>> set_float32_matmul_precision("high"); float32_matmul_precision()
    'high'
    >>> set_float32_matmul_precision("highest")
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    _precision[0] = precision


def float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` asks for; kernels that use tensor cores read it. Outside this room it bears PyTorch's
    name, ``minidl.get_float32_matmul_precision``.

    >>> float32_matmul_precision()
    'highest'
    """
    return _precision[0]
