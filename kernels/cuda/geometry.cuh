// Where the windows of a convolution lie:   x (N, C, H, W), w (O, C/G, KH, KW) -> y (N, O, OH, OW)
//
// Window (i, j) reads pixel (i*sh + a*dh - ph, j*sw + b*dw - pw) with tap (a, b); outside the image there are zeros.
#pragma once

struct Geometry {  // geometry.py reads the names and their order here
    int n, c, h, w;
    int o, kh, kw;
    int oh, ow;
    int windows;         // N*OH*OW
    int sh, sw;          // stride
    int ph, pw;          // padding
    int dh, dw;          // dilation
    int groups;
    int step_h, step_w;  // of the taps that see a pixel: from one to the next
    int back_h, back_w;  // and from its window to the next one's, backwards
};

// The other way round, along one axis: pixel h is read by tap a of window i where h = i*stride + a*dilation - padding. If tap a
// sees it from window i, so does tap a + step from window i - back, with step = stride / gcd and back = dilation / gcd of stride
// and dilation. Which tap is the first depends on h % stride alone: pixels that are a stride apart are seen alike.
struct Taps {
    int first, count;  // taps first, first + step, ...
    int window;        // from which the first sees the pixel; like those of the others it may lie outside of y
};

__device__ Taps taps_of(int pixel, int kernel, int stride, int padding, int dilation, int step) {
    int first = 0;
    while (first < step && (pixel + padding - first * dilation) % stride) first++;
    if (first == step || first >= kernel) return {0, 0, 0};
    return {first, (kernel - first + step - 1) / step, (pixel + padding - first * dilation) / stride};
}
