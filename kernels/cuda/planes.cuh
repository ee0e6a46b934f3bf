// Convolution by windows of a single pixel, with numbers of 16 bits, reads x where it lies:
//
//     y[n, r, p]  =  sum over c of  w[r, c]  x[n, c, p]               gw[r, c]  =  sum over n, p of  gy[n, r, p]  x[n, c, p]
//        C                             A         B                       C                            A            B
//
// p counts the pixels of a plane, which is cut into chunks: as many as the plane has whole ones. To y's B, chunks lie across the
// depth, c; to both matrices of gw along it.
#pragma once
#include "correlation.cuh"

// Of one group: chunk ``q`` of the pixels of all images, in channel 0 of ``channels``.
struct Planes {
    const Chunk *first;
    int length, step;  // of a plane, and from image to image, in chunks

    __device__ Planes(const Correlation &g, const Chunk *images, int group, int channels)
        : length(g.plane / PER_CHUNK), step(g.groups * channels * length) {
        first = images + (long long) group * channels * length;
    }
    __device__ int place(int q) const { return q / length * step + q % length; }
};

// Steps of y: of B a thread has a chunk of pixels for good, and every APART-th channel.
template <class T> struct PlaneWindows {
    static constexpr int LENGTH = T::COLUMNS / PER_CHUNK, APART = BLOCK / LENGTH;

    Rows<T> weights;
    const Chunk *x;     // in this thread's first channel
    int length, left;   // of a plane; channels from there on

    __device__ PlaneWindows(const Correlation &g, const Chunk *images, const Chunk *w, Place p, int from)
        : weights(g, w, p, from) {
        Planes planes(g, images, p.group, g.channels);
        int q = p.column / PER_CHUNK + threadIdx.x % LENGTH, channel = from * PER_CHUNK + threadIdx.x / LENGTH;
        length = planes.length, left = q * PER_CHUNK < g.pixels() ? g.channels - channel : 0;
        x = planes.first + (planes.place(q) + channel * length);
    }

    __device__ void fetch(Chunk *a, Chunk *b) {
        weights.fetch(a);
#pragma unroll
        for (int i = 0; i < DEPTH; i += APART)
            copy_async(&b[T::B::place(threadIdx.x / LENGTH + i, threadIdx.x % LENGTH)], x + i * length, i < left);
        x += DEPTH * length, left -= DEPTH;
    }
};

// Steps of gw: 4 threads copy a row of A or a column of B, of which each is a channel.
template <class T> struct PlanePixels {
    static constexpr int APART = BLOCK / CHUNKS, ROWS = T::ROWS / APART, COLUMNS = T::COLUMNS / APART;

    const Chunk *gy, *x;  // in this thread's first channels
    int rows, columns;    // that there are from there on
    int row_step, column_step, length;
    Counter q;            // the chunk of pixels that comes next

    __device__ PlanePixels(const Correlation &g, const Chunk *gy, const Chunk *x, Place p, int from)
        : q(CHUNKS, 1, g.plane / PER_CHUNK, g.pixels() / PER_CHUNK) {
        Planes of_gy(g, gy, p.group, g.rows), of_x(g, x, p.group, g.channels);
        int row = p.row + threadIdx.x / CHUNKS, column = p.column + threadIdx.x / CHUNKS;
        length = of_x.length, row_step = of_gy.step, column_step = of_x.step;
        rows = g.rows - row, columns = g.channels - column;
        this->gy = of_gy.first + row * length, this->x = of_x.first + column * length;
        q.start(from / PER_CHUNK + threadIdx.x % CHUNKS);
    }

    __device__ void fetch(Chunk *a, Chunk *b) {
        int from = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        bool exists = q.left > 0;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            copy_async(&a[T::A::place(from + i * APART, chunk)], gy + (q.now.high * row_step + q.now.low + i * APART * length),
                       exists & (i * APART < rows));
#pragma unroll
        for (int i = 0; i < COLUMNS; i++)
            copy_async(&b[T::B::place(from + i * APART, chunk)], x + (q.now.high * column_step + q.now.low + i * APART * length),
                       exists & (i * APART < columns));
        q.advance();
    }
};
