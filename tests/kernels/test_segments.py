"""Segments of a graph, against sets that grow edge by edge."""

import numpy as np
import pytest

from minidl.kernels.cpu import segments as cpu
from minidl.kernels.portable import segments as portable


def naive(weights, first, second, count, scale, least):
    """Sets of nodes, each with the weights of the edges that made it."""
    sets = [({n}, [0.0]) for n in range(count)]
    owner = list(range(count))
    for final in (False, True):
        for weight, a, b in zip(weights, first, second, strict=True):
            one, other = owner[a], owner[b]
            if one == other:
                continue
            (nodes, inner), (more, theirs) = sets[one], sets[other]
            small = len(nodes) < least or len(more) < least
            similar = weight < max(inner) + scale / len(nodes) and weight < max(theirs) + scale / len(more)
            if small if final else similar:
                sets[one] = nodes | more, [*inner, *theirs, weight]
                for n in more:
                    owner[n] = one
    return [min(sets[owner[n]][0]) for n in range(count)]


@pytest.mark.parametrize("room", [portable, cpu])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count, edges, scale, least", [
    (40, 90, 0.5, 1), (40, 90, 0.0, 4), (60, 50, 2.0, 3), (7, 0, 1.0, 9), (1, 0, 1.0, 1)])
def test_join_edges(room, dtype, count, edges, scale, least):
    random = np.random.default_rng(count)
    weights = np.sort(random.integers(0, 64, edges) / 64).astype(dtype)  # with ties
    first, second = random.integers(0, count, (2, 2 * edges))[:, ::2]  # not contiguous; some edges are loops
    before = weights.copy(), first.copy(), second.copy()
    roots = room.join_edges(weights, first, second, count, scale, least)
    assert roots.dtype == np.int64 and roots.tolist() == naive(weights, first, second, count, scale, least)
    assert all(np.array_equal(a, b) for a, b in zip(before, (weights, first, second), strict=True))


def test_worked_example():
    """Nodes 0-1-2-3 in a row. Edges 1 and 2 are below 3 / 1; then 0 and 1 allow 1 + 3/2 = 2.5, 2 and 3 allow 2 + 3/2 = 3.5."""
    weights, first, second = np.array([1.0, 2, 2.5]), np.array([0, 2, 1]), np.array([1, 3, 2])
    for room in (portable, cpu):
        assert room.join_edges(weights, first, second, 4, 3, 1).tolist() == [0, 0, 2, 2]
        assert room.join_edges(weights - [0, 0, 0.25], first, second, 4, 3, 1).tolist() == [0, 0, 0, 0]
        assert room.join_edges(weights, first, second, 4, 3, 3).tolist() == [0, 0, 0, 0]
