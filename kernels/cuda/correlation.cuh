// What all ways to copy the matrices of a convolution share: its sizes, the tile of a block, and the weights.
#pragma once
#include "digits.cuh"
#include "mma.cuh"
#include "pack.cuh"
#include "tile.cuh"

struct Correlation {
    int groups, rows, channels;       // channels of y and of x in a group
    int height, width;                // of x
    int images, out_height, out_width;
    int window_h, window_w;
    int stride_h, stride_w, first_h, first_w, step_h, step_w;
    int chunks;                       // of channels
    int plane, start, row, column;    // of y: from channel to channel, pixel (0, 0), from row to row, from pixel to pixel

    __device__ int depth() const { return window_h * window_w * chunks; }
    __device__ int pixels() const { return images * out_height * out_width; }
};

// The tile that a block computes: blocks that run at the same time share the columns of B.
struct Place {
    int row, column, group, part;

    template <class T> __device__ static Place of_block(const Correlation &g, int columns) {
        int block = blockIdx.x, down = (g.rows + T::ROWS - 1) / T::ROWS, across = (columns + T::COLUMNS - 1) / T::COLUMNS;
        int rest = block / down / across;
        return {block % down * T::ROWS, block / down % across * T::COLUMNS, rest % g.groups, rest / g.groups};
    }
};

// Steps of w, which 4 threads copy a row of.
template <class T> struct Rows {
    static constexpr int APART = BLOCK / CHUNKS, COUNT = T::ROWS / APART;

    const Chunk *w;          // the next chunk of this thread's first row
    int rows, depth, left;   // rows from there on; their length, and what is left of it

    __device__ Rows(const Correlation &g, const Chunk *weights, Place p, int from)
        : rows(g.rows - p.row - threadIdx.x / CHUNKS), depth(g.depth()), left(depth - from - threadIdx.x % CHUNKS) {
        w = weights + ((long long) p.group * g.rows + p.row + threadIdx.x / CHUNKS) * depth + (depth - left);
    }

    __device__ void fetch(Chunk *a) {
        int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            copy_async(&a[T::A::place(row + i * APART, chunk)], w + i * APART * depth, (left > 0) & (i * APART < rows));
        w += CHUNKS, left -= CHUNKS;
    }
};
