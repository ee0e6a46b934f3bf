// The gradients of normalisation: see norm.cu.
#include "standard.cuh"

struct Sums {
    double plain, by_hat;  // of h, and of h x^
};

// What a ReLU after y = slope x^ + offset passes on of gy: all if there is none.
struct Passed {
    bool relu;
    wide slope, offset;

    __device__ wide operator()(wide g, wide hat) const { return relu && hat * slope + offset <= 0 ? 0 : g; }
};

__device__ Passed passed(const Share &s, const wide *weight, const wide *relu_bias, int groups) {
    if (!relu_bias || !s.exists) return {};
    return {true, *weights_of(s, weight, OF_CHANNEL, groups).first, *weights_of(s, relu_bias, OF_CHANNEL, groups).first};
}

// For h = weight gy; weights OF_CHANNEL, which all are the same, are left out. hat_of(row) gives what makes x^ of x.
template <class Hat>
__device__ Sums sums_of_part(const Share &s, const real *gy, const real *x, Weights w, Passed passed, bool packs, Hat hat_of) {
    double plain = 0, by_hat = 0;
    walk(s, packs, [&](auto size, long long place, int row, int i) {
        constexpr int N = decltype(size)::value;
        auto g = load<N>(gy + place), v = load<N>(x + place);
        Pack<wide, N> slope;
        if (w.kind != OF_CHANNEL) slope = w.template of<N>(row, i);
        Standard hat = hat_of(row);
        wide few = 0, few_by_hat = 0;
        for (int k = 0; k < N; k++) {
            wide of_x = hat(v.at[k]), h = passed(g.at[k], of_x);
            if (w.kind != OF_CHANNEL) h *= slope.at[k];
            few += h, few_by_hat += h * of_x;
        }
        plain += few, by_hat += few_by_hat;
    });
    return {sum_of_team(s, plain), sum_of_team(s, by_hat)};
}

__device__ Sums sums_of_all(const Share &s, const Sums *parts) {
    double plain = 0, by_hat = 0;
    for (int p = s.member; s.exists && p < s.parts; p += s.members) {
        Sums part = parts[(long long) s.channel * s.parts + p];
        plain += part.plain, by_hat += part.by_hat;
    }
    return {sum_of_team(s, plain), sum_of_team(s, by_hat)};
}

extern "C" __global__ void sums(long long items, const real *__restrict__ gy, const real *__restrict__ x, int team, int outer,
                                int kept, int inner, int parts, const double *__restrict__ mean,
                                const double *__restrict__ var, double eps, const wide *__restrict__ weight, int weights,
                                int groups, const wide *__restrict__ relu_bias, double *__restrict__ partial) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    Standard hat = {};
    if (s.exists) hat = standard(mean[s.channel], var[s.channel], eps);
    Weights w = weights_of(s, weight, weights, groups);
    Sums t = sums_of_part(s, gy, x, w, passed(s, weight, relu_bias, groups), aligned(gy, x, weight), [=](int) { return hat; });
    if (s.exists && !s.member) ((Sums *) partial)[(long long) s.channel * parts + s.part] = t;
}

// gx, and the sums of each channel where ``gweight`` is not null, and what makes its x^ where ``hats`` is not null. ``fixed``:
// statistics that do not depend on x. ``relu_bias``: the bias, if a ReLU followed.
extern "C" __global__ void standardise_grad(long long items, const real *__restrict__ gy, const real *__restrict__ x, int team,
                                            int outer, int kept, int inner, int parts, const double *__restrict__ partial,
                                            bool fixed, const double *__restrict__ mean, const double *__restrict__ var,
                                            double eps, const wide *__restrict__ weight, int weights, int groups,
                                            const wide *__restrict__ relu_bias, real *__restrict__ gx,
                                            double *__restrict__ gweight, double *__restrict__ gbias, wide *__restrict__ hats) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    Weights w = weights_of(s, weight, weights, groups);
    bool packs = aligned(gy, x, gx, weight);
    Standard hat = {};
    if (s.exists) hat = standard(mean[s.channel], var[s.channel], eps);
    Passed pass = passed(s, weight, relu_bias, groups);
    Sums t = partial ? sums_of_all(s, (const Sums *) partial) : sums_of_part(s, gy, x, w, pass, packs, [=](int) { return hat; });
    if (!s.exists) return;
    if (!s.member && !s.part) {
        if (gweight) gweight[s.channel] = t.by_hat, gbias[s.channel] = t.plain;
        if (hats) ((Standard *) hats)[s.channel] = hat;
    }
    double of_all = (weights == OF_CHANNEL ? w.first[0] : 1) / ((double) outer * inner);
    wide plain = t.plain * of_all, by_hat = t.by_hat * of_all;
    walk(s, packs, [&](auto size, long long place, int row, int i) {
        constexpr int N = decltype(size)::value;
        auto g = load<N>(gy + place), v = load<N>(x + place);
        auto slope = w.template of<N>(row, i);
        for (int k = 0; k < N; k++) {
            wide of_x = hat(v.at[k]), h = pass(g.at[k], of_x) * slope.at[k];
            v.at[k] = (fixed ? h : h - plain - of_x * by_hat) * hat.rstd;
        }
        store(gx + place, v);
    });
}

// Sums of gy and gy x^ for each channel of x (N, C, inner), where row n of channel c has the x^ of group c / each of image n.
extern "C" __global__ void channel_sums(long long items, const real *__restrict__ gy, const real *__restrict__ x, int team,
                                        int outer, int kept, int inner, int parts, const wide *__restrict__ hats, int groups,
                                        double *__restrict__ partial) {
    Share s = share_of_this_thread(items, team, outer, kept, inner, parts);
    const Standard *of_channel = (const Standard *) hats + s.channel / (kept / groups);
    Sums t = sums_of_part(s, gy, x, {nullptr, OF_CHANNEL}, {}, aligned(gy, x),
                          [=](int row) { return of_channel[(long long) row * groups]; });
    if (s.exists && !s.member) ((Sums *) partial)[(long long) s.channel * parts + s.part] = t;
}
