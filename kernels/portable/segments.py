"""Pixels joined to segments along the edges of a graph, shortest first."""

import numpy as np


def join_edges(weights, first, second, count, scale, least):
    """The segment of each of ``count`` nodes, named by its node of the lowest number.   (E,), (E,), (E,) -> (count,) int64.

    ``weights`` (E,) rise; edge e joins the nodes ``first[e]`` and ``second[e]`` (int64, in [0, count)). Two segments become one
    where the edge weighs less than the heaviest edge inside either, plus ``scale`` divided by its number of nodes. After that,
    by the same order of edges, segments of less than ``least`` nodes join their neighbours.

    Source: P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004, algorithm 1: as an edge
    that joins is the heaviest one so far, it is the new segment's internal difference.
    """
    parent = np.arange(count)
    size = np.ones(count, np.int64)
    limit = np.full(count, float(scale))  # what an edge may weigh at most, by the segment's first node
    for final in (False, True):
        for e in range(len(weights)):
            a, b = first[e], second[e]
            while parent[a] != a:  # paths to the root grow shorter as they are walked
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a == b:
                continue
            if min(size[a], size[b]) < least if final else weights[e] < min(limit[a], limit[b]):
                a, b = min(a, b), max(a, b)
                parent[b] = a
                size[a] += size[b]
                limit[a] = weights[e] + scale / size[a]
    for a in range(count):  # a parent has a lower number, so it has its root already
        parent[a] = parent[parent[a]]
    return parent
