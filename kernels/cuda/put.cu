// Rows of x (B, size) added up where they belong, in y (count, size): the adjoint of picking rows. A thread for each number of y
// goes through the rows that belong to it, in their order: ``order`` lists all rows of x, sorted by where they belong, and those
// from starts[i] to starts[i + 1] belong to row i. x is read once and y written once; sums are double.
#include "place.cuh"

extern "C" __global__ void put_rows(long long items, const real *__restrict__ x, const long long *__restrict__ order,
                                    const long long *__restrict__ starts, int size, real *__restrict__ y) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place at = place_of(item, 1, size);
    double sum = 0;
    for (long long i = starts[at.plane]; i < starts[at.plane + 1]; i++) sum += x[order[i] * size + at.j];
    y[item] = sum;
}
