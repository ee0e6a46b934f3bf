// A number as three digits, as windows are counted by (image, i, j) and taps by (channel, a, b).
#pragma once

// k = (high * middles + middle) * lows + low
struct Digits {
    int high, middle, low;
};

__device__ Digits digits_of(int k, int middles, int lows) { return {k / lows / middles, k / lows % middles, k % lows}; }

// Counts in steps, and divides only at the start.
struct Counter {
    int middles, lows;
    int stop;  // k counts to here
    int left;  // stop - k
    int step;
    Digits now, digits_of_step;

    Counter() = default;
    __device__ Counter(int step, int middles, int lows, int stop)
        : middles(middles), lows(lows), stop(stop), step(step), digits_of_step(digits_of(step, middles, lows)) {}
    __device__ void start(int from) { left = stop - from, now = digits_of(from, middles, lows); }
    __device__ void advance() {
        left -= step;
        now.low += digits_of_step.low, now.middle += digits_of_step.middle, now.high += digits_of_step.high;
        if (now.low >= lows) now.low -= lows, now.middle++;
        if (now.middle >= middles) now.middle -= middles, now.high++;
    }
};
