// Arrays as conv_tensor.cu reads them: the channels of a group side by side for each pixel (or tap), as many as fill whole chunks
// of 16 bytes, the last of them 0 where there are no more. Floats are rounded to tf32 on the way.
//
// Images x (images, groups, channels, pixels) become y (groups, images, pixels, chunks): of each group a matrix is transposed,
// whose columns are the pixels of all images, counted through: so images of few pixels share a tile.
#include "each.cuh"
#include "load.cuh"
#include "mma.cuh"
#include "place.cuh"

constexpr int BLOCK = 256, PER_WORD = 4 / sizeof(real);
constexpr int PIXELS = 64, CHUNKS = 8;  // of a tile: a warp writes 128 bytes of a pixel at once
constexpr int CHANNELS = CHUNKS * LANES, PACKS = PIXELS / LANES;

struct Images {
    int images, groups, channels, pixels, chunks;

    // How many numbers can be read at once: no pack goes on in the next row.
    __device__ bool has_packs_of(int n, const real *x) const { return pixels % n == 0 && aligned(x); }
    // Where a pixel is, of those of all images, and a channel of a group.
    __device__ const real *place(const real *x, int group, unsigned pixel, int channel) const {
        unsigned image = pixel / pixels;
        return x + ((long long) (image * groups + group) * channels + channel) * pixels + (pixel - image * pixels);
    }
};

// Reads a tile, neighbouring pixels by neighbouring threads, N at a time. Pack v of a channel is kept in place v ^ (chunk of the
// channel): a warp that reads the same pixels of 8 chunks finds them in different banks.
template <int N>
__device__ void read_tile(Pack<real> (&tile)[CHANNELS][PACKS], const Images &s, const real *x, int group, int pixel, int chunk) {
    constexpr int ACROSS = PIXELS / N, ROWS = BLOCK / ACROSS, TIMES = CHANNELS / ROWS;
    int first = threadIdx.x / ACROSS, p = threadIdx.x % ACROSS * N, left = s.channels - chunk * LANES;
    bool exists = pixel + p < s.images * s.pixels;
    const real *from = s.place(x, group, pixel + p, chunk * LANES + first);
    Pack<real, N> packs[TIMES];
#pragma unroll
    for (int i = 0; i < TIMES; i++)
        packs[i] = load_if(exists && first + ROWS * i < left, (const Pack<real, N> *) (from + (long long) ROWS * i * s.pixels));
#pragma unroll
    for (int i = 0; i < TIMES; i++) {
        int c = first + ROWS * i;
        for (int k = 0; k < N; k++) packs[i].at[k] = operand(packs[i].at[k]);
        store(tile[c][p / LANES ^ c / LANES].at + p % LANES, packs[i]);
    }
}

// A block transposes a tile of 64 pixels and 8 chunks of their channels. A thread writes one chunk, or those of two pixels of 16
// bits that lie in one word.
extern "C" __global__ void images_last(long long items, const real *__restrict__ x, real *__restrict__ y, const Images s) {
    __shared__ Pack<real> tile[CHANNELS][PACKS];
    int all = s.images * s.pixels;
    Place block = place_of(blockIdx.x, (all + PIXELS - 1) / PIXELS, (s.chunks + CHUNKS - 1) / CHUNKS);
    int group = (int) block.plane, pixel = block.i * PIXELS, chunk = block.j * CHUNKS;
    if (s.has_packs_of(LANES, x))
        read_tile<LANES>(tile, s, x, group, pixel, chunk);
    else if (s.has_packs_of(LANES / 2, x))
        read_tile<LANES / 2>(tile, s, x, group, pixel, chunk);
    else
        read_tile<1>(tile, s, x, group, pixel, chunk);
    __syncthreads();

    int q = threadIdx.x % CHUNKS;
    if (chunk + q >= s.chunks) return;
    Pack<real> *to = (Pack<real> *) y + ((long long) group * all + pixel) * s.chunks + chunk + q;
    for (int p = threadIdx.x / CHUNKS * PER_WORD; p < PIXELS; p += BLOCK / CHUNKS * PER_WORD) {
        Pack<real, PER_WORD> words[LANES];
#pragma unroll
        for (int i = 0; i < LANES; i++) words[i] = load<PER_WORD>(tile[q * LANES + i][p / LANES ^ q].at + p % LANES);
#pragma unroll
        for (int k = 0; k < PER_WORD; k++) {
            Pack<real> out;
            for (int i = 0; i < LANES; i++) out.at[i] = words[i].at[k];
            if (pixel + p + k < all) to[(long long) (p + k) * s.chunks] = out;
        }
    }
}

// One chunk of each of N pixels.
template <int N> __device__ void turn(const Images &s, const real *x, real *y, int group, int pixel, int chunk) {
    const real *from = s.place(x, group, pixel, chunk * LANES);
    Pack<real, N> packs[LANES];
#pragma unroll
    for (int i = 0; i < LANES; i++)
        packs[i] = load_if(chunk * LANES + i < s.channels, (const Pack<real, N> *) (from + (long long) i * s.pixels));
    Pack<real> *to = (Pack<real> *) y + ((long long) group * s.images * s.pixels + pixel) * s.chunks + chunk;
#pragma unroll
    for (int k = 0; k < N; k++) {
        Pack<real> out;
        for (int i = 0; i < LANES; i++) out.at[i] = operand(packs[i].at[k]);
        to[(long long) k * s.chunks] = out;
    }
}

// The same for few chunks, which would leave most of a tile empty: a thread turns one chunk of two pixels by itself.
extern "C" __global__ void few_last(long long items, const real *__restrict__ x, real *__restrict__ y, const Images s) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    int all = s.images * s.pixels;
    Place at = place_of(item, (all + 1) / 2, s.chunks);
    int group = (int) at.plane, pixel = at.i * 2;
    if (s.has_packs_of(2, x))
        turn<2>(s, x, y, group, pixel, at.j);
    else
        for (int p = pixel; p < min(pixel + 2, all); p++) turn<1>(s, x, y, group, p, at.j);
}

struct Weights {
    int rows, high, low, channels, chunks;  // of each group; taps in a window; channels, and chunks that hold them
    int group, row, up, side, channel;      // how far apart numbers are in w: from group to group, ..., from channel to channel
};

// w, in which numbers lie anywhere, -> y (groups, rows, high, low, chunks): a thread for each chunk of y.
extern "C" __global__ void weights_last(long long items, const real *__restrict__ w, real *__restrict__ y, const Weights g) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place tap = place_of(item, g.low, g.chunks), line = place_of(tap.plane, g.rows, g.high);
    int c = tap.j * LANES;
    const real *from = w + line.plane * g.group + (long long) line.i * g.row + (long long) c * g.channel;
    from += (long long) line.j * g.up + (long long) tap.i * g.side;
    Pack<real> out;
    if (g.channel == 1 && c + LANES <= g.channels && aligned(from))
        out = load<LANES>(from);
    else
#pragma unroll
        for (int i = 0; i < LANES; i++)
            out.at[i] = load_if(c + i < g.channels, (const Pack<real, 1> *) (from + (long long) i * g.channel)).at[0];
    for (int i = 0; i < LANES; i++) out.at[i] = operand(out.at[i]);
    ((Pack<real> *) y)[item] = out;
}

// What lies as it should, but for the rounding.
extern "C" __global__ void rounded(long long items, const real *__restrict__ x, real *__restrict__ y) {
    each(items, y, [](real v) { return operand(v); }, x);
}
