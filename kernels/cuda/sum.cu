// Sums over axes, along teams of threads: see team.cuh. x is read once. Sums are double; numbers of 16 bits are first added up in
// float, eight at a time. A channel of several parts leaves them in ``partial`` (channels, parts), for sum_parts.
#include "load.cuh"
#include "team.cuh"

extern "C" __global__ void sum(long long items, const real *__restrict__ x, int team, int outer, int kept, int inner, int parts,
                               double divisor, double *__restrict__ partial, real *__restrict__ y) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    double total = 0;
    walk(s, aligned(x), [&](auto size, long long place, int, int) {
        constexpr int N = decltype(size)::value;
        auto pack = load<N>(x + place);
        if (sizeof(real) == 2) {
            wide few = 0;
            for (int k = 0; k < N; k++) few += pack.at[k];
            total += few;
        } else
            for (int k = 0; k < N; k++) total += pack.at[k];
    });
    total = sum_of_team(s, total);
    if (s.member || !s.exists) return;
    if (partial)
        partial[(long long) s.channel * parts + s.part] = total;
    else
        y[s.channel] = total / divisor;
}

// Sums of short rows of x (rows, length): a warp adds up ROWS at once, since one alone has too few numbers to wait for.
constexpr int ROWS = 4;

extern "C" __global__ void sum_rows(long long items, const real *__restrict__ x, long long rows, int length, double divisor,
                                    real *__restrict__ y) {
    long long first = ((long long) blockIdx.x * blockDim.x + threadIdx.x) / 32 * ROWS;
    if (first >= rows) return;  // the whole warp
    int lane = threadIdx.x % 32;
    double sums[ROWS] = {};
    for (int k = lane; k < length + lane; k += 64) {
        real numbers[ROWS][2];
#pragma unroll
        for (int n = 0; n < ROWS * 2; n++) {
            int place = k + n % 2 * 32;
            numbers[n / 2][n % 2] = load_if(first + n / 2 < rows && place < length, x + (first + n / 2) * length + place);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) sums[r] += wide(numbers[r][0]), sums[r] += wide(numbers[r][1]);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        double sum = sum_of_warp(sums[r]);
        if (lane == r && first + r < rows) y[first + r] = sum / divisor;
    }
}

extern "C" __global__ void sum_parts(long long items, const double *__restrict__ partial, int parts, double divisor,
                                     real *__restrict__ y) {
    Share s = share_of_this_thread(items, WARP, 1, 1, parts, 1);
    double total = 0;
    for (int part = s.member; s.exists && part < parts; part += s.members) total += partial[(long long) s.channel * parts + part];
    total = sum_of_team(s, total);
    if (s.exists && !s.member) y[s.channel] = total / divisor;
}
