// Where a number stands in an array of three axes.
#pragma once

struct Place {
    long long plane;
    int i, j;
};

template <class N> __device__ Place split(N item, N rows, N columns) {
    N line = item / columns, plane = line / rows;
    return {(long long) plane, (int) (line - plane * rows), (int) (item - line * columns)};
}

// Where number ``item`` of an array (planes, rows, columns) stands. Divisions of 64 bits take long.
__device__ Place place_of(long long item, int rows, int columns) {
    if (item >> 32) return split<unsigned long long>(item, rows, columns);
    return split<unsigned>(item, rows, columns);
}
