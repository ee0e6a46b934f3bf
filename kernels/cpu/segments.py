"""Pixels joined to segments: a loop in which each step depends on the one before, so it is compiled as it stands."""

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.portable import segments as portable

_join_edges = jit(portable.join_edges)


def join_edges(weights, first, second, count, scale, least):
    """As the portable kernel."""
    return _join_edges(*ready(weights, first, second), count, float(scale), int(least))
