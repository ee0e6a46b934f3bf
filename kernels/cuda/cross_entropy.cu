// Cross-entropy of softmax(x) against class indices: one warp to a row of x (R, C), which is read once (row.cuh), and again for
// smoothing. Formulas: kernels/portable. Exponentials are ``wide``, sums and the loss double.
#include "row.cuh"
#include "team.cuh"

constexpr wide LOG2_E = 1.4426950408889634;  // exp(v) = 2^(v log2(e)), in a fifth of the instructions

__device__ wide weight_of(const wide *weight, long long c) { return weight ? weight[c] : wide(1); }

// To look at classes before a kernel runs, the CPU would wait for the GPU: here the loss of a wrong one is NaN.
__device__ bool is_class(long long t, int classes) { return 0 <= t && t < classes; }

extern "C" __global__ void cross_entropy(long long items, const real *__restrict__ x, const long long *__restrict__ target,
                                         const wide *__restrict__ weight, long long ignored, double smoothing, int classes,
                                         real *__restrict__ loss, double *__restrict__ log_total) {
    each_row(items, classes, 1, [=](auto row) {
        constexpr int KEPT = decltype(row)::KEPT, N = decltype(row)::N;
        Pack<wide, N> kept[KEPT + 1];
        row.keep(x, kept);
        long long n = row.first / classes, t = target[n];
        bool counts = t != ignored && is_class(t, classes);
        wide largest = x[row.first], hit = counts ? wide(x[row.first + t]) : wide(0);
        double sum = 0, smooth = 0;
        row.each([&](int j, long long i) {
            if (!KEPT) kept[j] = read<N>(x + i);
            for (int k = 0; k < N; k++) largest = fmax(largest, kept[j].at[k]);
        });
        largest = row.largest(largest);
        row.each([&](int j, long long i) {
            if (!KEPT) kept[j] = read<N>(x + i);
            wide few = 0;
            for (int k = 0; k < N; k++) few += exp2(LOG2_E * (kept[j].at[k] - largest));
            sum += few;
        });
        double total = largest + log(sum_of_warp(sum));
        if (smoothing) {
            for (int c = row.start; c < classes; c += 32) smooth += weight_of(weight, c) * (total - x[row.first + c]);
            smooth = smoothing / classes * sum_of_warp(smooth);
        }
        if (row.start) return;
        log_total[n] = total;
        if (counts) loss[n] = (1 - smoothing) * weight_of(weight, t) * (total - hit) + smooth;
        else loss[n] = t == ignored ? 0.0 : nan("");
    }, x);
}

// gx; all rows have gy[0] if it is ``shared``.
extern "C" __global__ void cross_entropy_grad(long long items, const real *__restrict__ gy, bool shared,
                                              const real *__restrict__ x, const double *__restrict__ log_total,
                                              const long long *__restrict__ target, const wide *__restrict__ weight,
                                              long long ignored, double smoothing, int classes, real *__restrict__ gx) {
    each_row(items, classes, 1, [=](auto row) {
        constexpr int KEPT = decltype(row)::KEPT, N = decltype(row)::N;
        Pack<wide, N> kept[KEPT + 1];
        row.keep(x, kept);
        long long n = row.first / classes, t = target[n];
        wide near = log_total[n], rest = log_total[n] - near;  // near + rest keeps the digits of a large total
        bool counts = t != ignored && is_class(t, classes);
        int hit = counts ? (int) t : -1;
        wide g = gy[shared ? 0 : n], hard = counts ? wide((1 - smoothing) * weight_of(weight, t) * g) : wide(0);
        wide factor = hard, soft = 0;  // of p, and of the weight of each class
        if (smoothing) {
            wide weights = 0;
            for (int c = row.start; c < classes; c += 32) weights += weight_of(weight, c);
            soft = smoothing / classes * g, factor += soft * sum_of_warp(weights);
        }
        row.each([&](int j, long long i) {
            Pack<wide, N> v = KEPT ? kept[j] : read<N>(x + i);
            int c = (int) (i - row.first);
            for (int k = 0; k < N; k++) v.at[k] = factor * exp(v.at[k] - near - rest) - (c + k == hit ? hard : wide(0));
            if (smoothing)
                for (int k = 0; k < N; k++) v.at[k] -= soft * weight_of(weight, c + k);
            if (t == ignored) v = {};
            write(gx + i, v);
        });
    }, x, gx);
}

// The sum of losses, and of the weights of their classes, over the rows that count.
struct Total {
    double loss, weight;
};

__device__ Total of_block(Total of_thread) {
    Share block = {BLOCK};
    return {sum_of_team(block, of_thread.loss), sum_of_team(block, of_thread.weight)};
}

// The mean of the rows' losses by the weights of their classes, by one block; more blocks leave their ``partial`` sums.
extern "C" __global__ void mean_loss(long long items, const real *__restrict__ loss, const long long *__restrict__ target,
                                     const wide *__restrict__ weight, long long ignored, int classes, long long rows,
                                     double *__restrict__ partial, real *__restrict__ mean, double *__restrict__ total) {
    Total sums = {};
#pragma unroll 4
    for (long long n = (long long) blockIdx.x * blockDim.x + threadIdx.x; n < rows; n += items * blockDim.x) {
        long long t = target[n];
        sums.loss += loss[n];
        if (t != ignored && is_class(t, classes)) sums.weight += weight_of(weight, t);
    }
    sums = of_block(sums);
    if (threadIdx.x) return;
    if (partial) ((Total *) partial)[blockIdx.x] = sums;
    else *mean = wide(sums.loss / sums.weight), *total = sums.weight;
}

extern "C" __global__ void mean_of_parts(long long items, const double *__restrict__ partial, int parts, real *__restrict__ mean,
                                         double *__restrict__ total) {
    Total sums = {};
    for (int part = threadIdx.x; part < parts; part += blockDim.x) {
        Total of_part = ((const Total *) partial)[part];
        sums.loss += of_part.loss, sums.weight += of_part.weight;
    }
    sums = of_block(sums);
    if (!threadIdx.x) *mean = wide(sums.loss / sums.weight), *total = sums.weight;
}
