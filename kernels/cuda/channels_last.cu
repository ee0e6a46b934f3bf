// Arrays as conv_tensor.cu reads them: the channels of a group side by side for each pixel (or tap), as many as fill whole chunks
// of 16 bytes, the last of them 0 where there are no more. Floats are rounded to tf32 on the way.
#include "mma.cuh"

constexpr int PER_CHUNK = 16 / sizeof(real);
constexpr int PIXELS = 64, CHANNELS = 8 * PER_CHUNK;  // of a tile: 8 chunks are 128 bytes, which a warp writes at once

union alignas(16) Chunk {
    real number[PER_CHUNK];
};

// x (images, groups, channels, pixels) -> y (groups, images, pixels, chunks). A block transposes a tile of 64 pixels: it reads
// neighbouring pixels, and writes neighbouring channels.
extern "C" __global__ void images_last(long long items, const real *x, real *y, int images, int groups, int channels, int pixels,
                                       int chunks) {
    __shared__ real tile[CHANNELS][PIXELS + 4 / sizeof(real)];  // rows begin one bank apart
    int across = (pixels + PIXELS - 1) / PIXELS, down = (chunks + 7) / 8;
    int pixel = blockIdx.x % across * PIXELS, chunk = blockIdx.x / across % down * 8, image = blockIdx.x / across / down;

    int p = threadIdx.x % PIXELS, left = channels - chunk * PER_CHUNK;
    const real *from = x + ((long long) image * channels + chunk * PER_CHUNK) * pixels + pixel;
#pragma unroll
    for (int i = 0; i < CHANNELS; i += 256 / PIXELS) {
        int c = threadIdx.x / PIXELS + i;
        tile[c][p] = c < left && pixel + p < pixels ? operand(from[(long long) c * pixels + p]) : real(0.f);
    }
    __syncthreads();
    int group = image % groups, q = threadIdx.x % 8;
    Chunk *to = (Chunk *) y + ((long long) (group * images + image / groups) * pixels + pixel) * chunks + chunk;
    for (int p = threadIdx.x / 8; p < PIXELS; p += 32) {
        if (chunk + q >= chunks || pixel + p >= pixels) continue;
        Chunk out;
#pragma unroll
        for (int i = 0; i < PER_CHUNK; i++) out.number[i] = tile[q * PER_CHUNK + i][p];
        to[(long long) p * chunks + q] = out;
    }
}

struct Weights {
    int rows, high, low, channels, padded;  // of each group; taps in a window; channels, and as many as fill whole chunks
    int group, row, up, side, channel;      // how far apart numbers are in w: from group to group, ..., from channel to channel
};

// w, in which numbers lie anywhere, -> y (groups, rows, high, low, padded): a thread for each number of y.
extern "C" __global__ void weights_last(long long items, const real *w, real *y, const Weights g) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    int tap = i / g.padded, c = i % g.padded, row = tap / g.low / g.high;
    const real *from = w + (long long) row / g.rows * g.group + (long long) (row % g.rows) * g.row;
    from += tap / g.low % g.high * g.up + tap % g.low * g.side;
    y[i] = c < g.channels ? operand(from[(long long) c * g.channel]) : real(0.f);
}
