// Numbers that a thread reads or writes at once: N neighbours, at an address that is a multiple of their size, or of 16.
#pragma once

constexpr int LANES = 16 / sizeof(real);  // of 16 bytes, the most that one access can move

template <class T, int N = LANES> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack { T at[N]; };

template <int N, class T> __device__ Pack<T, N> load(const T *from) { return *(const Pack<T, N> *) from; }

template <int N, class T> __device__ void store(T *to, const Pack<T, N> &pack) { *(Pack<T, N> *) to = pack; }

// Numbers as they are computed with, and as they are stored.
template <int N> __device__ Pack<wide, N> read(const real *from) {
    Pack<real, N> stored = load<N>(from);
    Pack<wide, N> pack;
    for (int k = 0; k < N; k++) pack.at[k] = stored.at[k];
    return pack;
}

template <int N> __device__ void write(real *to, const Pack<wide, N> &pack) {
    Pack<real, N> stored;
    for (int k = 0; k < N; k++) stored.at[k] = pack.at[k];
    store(to, stored);
}

// Whether arrays begin where packs may; a view of a part of an array may not.
template <class... T> __device__ bool aligned(const T *...arrays) {
    return (((unsigned long long) arrays % sizeof(Pack<T>) == 0) && ...);
}

// A number that the compiler knows, as an argument.
template <int N> struct Size {
    static constexpr int value = N;
};
