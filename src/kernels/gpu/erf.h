// The error function for compilers without a mathematical library, to within 1.3e-7: a polynomial near zero, and
// beyond 1 minus a polynomial times exp(-x^2). Both are fitted at Chebyshev's nodes.
#pragma once

DEV float polynomial_erf(float x) {
    const float size = x < 0 ? -x : x;
    if (size < 1.f) {
        const float y = x * x;
        float p = fmaf(y, 7.933422913e-05f, -8.034828135e-04f);
        p = fmaf(y, fmaf(y, fmaf(y, p, 5.191216625e-03f), -2.685539873e-02f), 1.128362571e-01f);
        return x * fmaf(y, fmaf(y, p, -3.761262988e-01f), 1.128379167e+00f);
    }
    const float t = 1.f / fmaf(0.5f, size, 1.f);
    float q = fmaf(t, -5.525539236e-02f, -5.219394001e-02f);
    q = fmaf(t, fmaf(t, fmaf(t, q, 3.974782531e-01f), 1.054134032e-01f), 3.293389711e-01f);
    q = fmaf(t, fmaf(t, q, 2.739048209e-01f), 5.838840931e-04f);
    const float rest = expf(-size * size) * q;
    return x < 0 ? rest - 1.f : 1.f - rest;
}
