// Normalisation by the statistics of a channel or a group, and its gradients. Formulas: kernels/portable. Teams of threads share
// the numbers that have one mean and variance, as team.cuh explains, for x seen as
//   batch norm              (1, N, C, inner)
//   group norm, of images   (N groups, C / groups, 1, inner)
//   group norm, of vectors  (N groups, 1, 1, C / groups)
//
// Traffic. y needs the mean of all x. Where a team has all of a channel (one part) it reads x twice, the second time from the
// cache, and writes y. Where teams share a channel, ``statistics`` reads x once, and ``standardise`` once more. Gradients
// likewise read gy and x once or twice and write gx; those of group norm's weights, sums over other numbers, read them again.
//
// Precision. float64 is slow on many GPUs, so statistics are sums of deviations from a pivot, a number of the part: a few in
// ``wide``, these in double. Parts are put together in double, by Chan, Golub and LeVeque, "Algorithms for computing the sample
// variance" (1983), eq. 2.1. A large mean costs no digits, and an outlier as pivot one or two of a variance that it makes large.
// Squares of deviations above 6e18, a few added up, overflow float: the variance is infinite, and y the bias.
#include "standard.cuh"

struct Moments {
    double count, mean, squares;  // squares: sum of (x - mean)²
};

// From sums of deviations d from a pivot, and of d².
__device__ Moments moments(double count, double pivot, double sum, double squares) {
    double mean = sum * (1 / count), around = squares - sum * mean;
    return {count, pivot + mean, around < 0 ? 0 : around};  // NaN stays NaN
}

__device__ Moments moments_of_part(const Share &s, const real *x) {
    bool packs = aligned(x);
    int n = numbers_of_step(s, packs);
    Range range = range_of(s, n);
    wide pivot = s.exists ? wide(x[place_of(s, n, range.from)]) : wide(0);
    double sum = 0, squares = 0;
    walk(s, packs, [&](auto size, long long place, int, int) {
        constexpr int N = decltype(size)::value;
        auto pack = load<N>(x + place);
        wide few = 0, few_squares = 0;
        for (int k = 0; k < N; k++) {
            wide d = pack.at[k] - pivot;
            few += d, few_squares += d * d;
        }
        sum += few, squares += few_squares;
    });
    return moments((double) range.count * n, pivot, sum_of_team(s, sum), sum_of_team(s, squares));
}

__device__ Moments moments_of_all(const Share &s, const Moments *parts) {
    double pivot = s.exists ? parts[(long long) s.channel * s.parts].mean : 0, count = 0, sum = 0, squares = 0;
    for (int p = s.member; s.exists && p < s.parts; p += s.members) {
        Moments m = parts[(long long) s.channel * s.parts + p];
        double d = m.mean - pivot;
        count += m.count, sum += m.count * d, squares += m.squares + m.count * d * d;
    }
    return moments(sum_of_team(s, count), pivot, sum_of_team(s, sum), sum_of_team(s, squares));
}

extern "C" __global__ void statistics(long long items, const real *__restrict__ x, int team, int outer, int kept, int inner,
                                      int parts, double *__restrict__ partial) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    Moments m = moments_of_part(s, x);
    if (s.exists && !s.member) ((Moments *) partial)[(long long) s.channel * parts + s.part] = m;
}

// y, by a mean and var that are ``fixed``, or else those of ``partial``, or without it of x itself, which are written. If
// ``relu``, what is below 0 becomes 0.
extern "C" __global__ void standardise(long long items, const real *__restrict__ x, int team, int outer, int kept, int inner,
                                       int parts, const double *__restrict__ partial, bool fixed, double *mean, double *var,
                                       double eps, const wide *__restrict__ weight, const wide *__restrict__ bias, int weights,
                                       int groups, bool relu, real *__restrict__ y) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    Standard hat = {};
    if (fixed) {
        if (s.exists) hat = standard(mean[s.channel], var[s.channel], eps);
    } else {
        Moments m = partial ? moments_of_all(s, (const Moments *) partial) : moments_of_part(s, x);
        m.squares /= m.count;
        hat = standard(m.mean, m.squares, eps);
        if (s.exists && !s.member && !s.part) mean[s.channel] = m.mean, var[s.channel] = m.squares;
    }
    Weights w = weights_of(s, weight, weights, groups), b = weights_of(s, bias, weights, groups);
    walk(s, aligned(x, y, weight, bias), [&](auto size, long long place, int row, int i) {
        constexpr int N = decltype(size)::value;
        auto pack = load<N>(x + place);
        auto slope = w.template of<N>(row, i), offset = b.template of<N>(row, i);
        for (int k = 0; k < N; k++) {
            wide value = hat(pack.at[k]) * slope.at[k] + offset.at[k];
            pack.at[k] = relu && value <= 0 ? 0 : value;
        }
        store(y + place, pack);
    });
}
