// The encoder's kernels against the same in double precision.
#pragma once
#include "runtime.h"

inline TensorMap map3(Buffer<h16>& b, size_t offset, u64 dx, u64 dy, u64 row, u64 dz, u64 window, int box_y) {
    return {(const u8*)(b.at() + offset), 2, 3, {dx, dy, dz}, {row, window}, 64, box_y};
}
typedef void (*TilesKernel)(const TensorMap, const TensorMap, const TensorMap, const TensorMap, const EncTiles);
struct NamedTiles { const char* name; TilesKernel kernel; };
typedef void (*EncKernel)(const EncGemm);
struct NamedEnc { const char* name; EncKernel kernel; };
enum { PLAIN = 0, ACTIVATED = 1, ADDED = 2 };

// out = what(a w + bias), a (windows, rows, K) with rows `row` numbers apart. wide: 256 or 128 for Hopper's, 0 for everybody's.
struct Product {
    int rows, windows, N, K, row, window;
    Buffer<h16> a, w, out, before;
    Buffer<float> bias;
    Product(int rows, int windows, int N, int K, int row, int what)
        : rows(rows), windows(windows), N(N), K(K), row(row), window((rows - 1) * row + K), a(halves((size_t)windows * window + 64, 1)), w(halves((size_t)N * K, .05f)),
          out(unwritten((size_t)windows * rows * N)), before(halves((size_t)windows * rows * N, 1)), bias(floats(N, 0, .1f)) {
        if (window % 8) window += 8 - window % 8;
        if (what == ADDED) out.host = before.host;
        a = halves((size_t)windows * window + 64, 1);
    }
    void run(int wide, int what, int blocks) {
        if (wide == 0) {
            static const NamedEnc all[3] = {{"enc_gemm_plain", enc_gemm_plain}, {"enc_gemm_gelu", enc_gemm_gelu}, {"enc_gemm_residual", enc_gemm_residual}};
            EncGemm p{a.at(), w.at(), bias.at(), out.at(), out.at(), window, row, (long long)rows * N, N, rows, N, K};
            launch(all[what].name, all[what].kernel, {ceil_div(N, 128), ceil_div(rows, 128), windows}, 256, 3 * 256 * 80, 1, p);
            return;
        }
        static const NamedTiles all[2][3] = {{{"enc_tiles_128_plain", enc_tiles_128_plain}, {"enc_tiles_128_gelu", enc_tiles_128_gelu}, {"enc_tiles_128_residual", enc_tiles_128_residual}},
                                             {{"enc_tiles_256_plain", enc_tiles_256_plain}, {"enc_tiles_256_gelu", enc_tiles_256_gelu}, {"enc_tiles_256_residual", enc_tiles_256_residual}}};
        const NamedTiles& k = all[wide == 256][what];
        TensorMap ma = map3(a, 0, K, rows, row, windows, window, 128), mw = {(const u8*)w.at(), 2, 2, {(u64)K, (u64)N, 1}, {(u64)K, (u64)K * N}, 64, 128}, mo = map3(out, 0, N, rows, N, windows, (u64)rows * N, 16);
        EncTiles p{bias.at(), nullptr, nullptr, ceil_div(rows, 128), windows, N / wide, ceil_div(K, 64)};
        int stages = wide == 256 ? 4 : 5;
        launch(k.name, k.kernel, {min(blocks, p.tiles_m * windows * p.tiles_n), 1, 1}, 384, 1024 + stages * (16384 + wide * 128) + 8 * 4096 + 256, 1, ma, mw, mo, mo, p);
    }
    void judge(const std::string& name, int what) {
        Verdict v;
        out.back();
        for (int z = 0; z < windows; ++z) for (int m = 0; m < rows; ++m) for (int n = m % 3; n < N; n += 3) {
            double s = bias[n];
            for (int k = 0; k < K; ++k) s += number(a[(size_t)z * window + (size_t)m * row + k]) * number(w[(size_t)n * K + k]);
            size_t at = ((size_t)z * rows + m) * N + n;
            if (what == ACTIVATED) s = exact_gelu(s);
            if (what == ADDED) s += number(before[at]);
            v.add(number(out[at]), s);
        }
        report(name, v, 6e-4);
    }
};
inline void check_product(int wide, int what, int rows, int windows, int N, int K, int row = 0) {
    Product p(rows, windows, N, K, row ? row : K, what);
    p.run(wide, what, 2);
    const char* kind = what == PLAIN ? "plain" : what == ACTIVATED ? "gelu" : "residual";
    std::string name = wide ? "enc_tiles_" + std::to_string(wide) : "enc_gemm";
    p.judge(name + "_" + kind + ", " + std::to_string(windows) + " x " + std::to_string(rows) + " x " + std::to_string(N) + " x " + std::to_string(K) + (row ? ", overlapping" : ""), what);
}

// A product behind a LayerNorm in eight-bit floats: what both are made of, and then, of the bytes as they are, the product.
struct NarrowProduct {
    int rows, N, K;
    Buffer<h16> x, out;
    Buffer<float> gamma, beta, w, bias, a_scales, w_scales;
    Buffer<u8> a_bytes, w_bytes;
    NarrowProduct(int rows, int N, int K)
        : rows(rows), N(N), K(K), x(halves((size_t)rows * K, 2)), out(unwritten((size_t)rows * N)), gamma(floats(K, 1, .2f)), beta(floats(K, 0, .2f)), w(floats((size_t)N * K, 0, .05f)),
          bias(floats(N, 0, .1f)), a_scales(rows + 256, NAN), w_scales(N, NAN), a_bytes((size_t)rows * K, 127), w_bytes((size_t)N * K, 127) {}
    void narrow() {
        LAUNCH(narrow_rows, {ceil_div(N, 8), 1, 1}, 256, 0, 1, Narrow{w.at(), w_bytes.at(), w_scales.at(), N, K});
        LAUNCH(enc_ln_e4m3, {ceil_div(rows, 8), 1, 1}, 256, 0, 1, EncNorm{x.at(), gamma.at(), beta.at(), (h16*)a_bytes.at(), a_scales.at(), rows, K});
    }
    void run(int wide, int what, int blocks) {
        static const NamedTiles all[2][2] = {{{"enc_tiles_128_e4m3_plain", enc_tiles_128_e4m3_plain}, {"enc_tiles_128_e4m3_gelu", enc_tiles_128_e4m3_gelu}},
                                             {{"enc_tiles_256_e4m3_plain", enc_tiles_256_e4m3_plain}, {"enc_tiles_256_e4m3_gelu", enc_tiles_256_e4m3_gelu}}};
        const NamedTiles& k = all[wide == 256][what];
        u64 n = (u64)N, d = (u64)K, r = (u64)rows;
        TensorMap ma = {a_bytes.at(), 1, 3, {d, r, 1}, {d, d * r}, 128, 128}, mw = {w_bytes.at(), 1, 2, {d, n, 1}, {d, d * n}, 128, 128}, mo = map3(out, 0, n, r, n, 1, n * r, 16);
        EncTiles p{bias.at(), a_scales.at(), w_scales.at(), ceil_div(rows, 128), 1, N / wide, K / 128};
        int stages = wide == 256 ? 4 : 5;
        launch(k.name, k.kernel, {min(blocks, p.tiles_m * p.tiles_n), 1, 1}, 384, 1024 + stages * (16384 + wide * 128) + 8 * 4096 + 256, 1, ma, mw, mo, mo, p);
    }
    double a(int m, int k) { return emu_e4m3(a_bytes[(size_t)m * K + k]) * (double)a_scales[m]; }
    double b(int n, int k) { return emu_e4m3(w_bytes[(size_t)n * K + k]) * (double)w_scales[n]; }
    void judge(const std::string& name, int what) {
        Verdict inputs, weights, product;
        out.back();
        for (Buffer<u8>* bytes : {&a_bytes, &w_bytes}) bytes->back();
        for (Buffer<float>* scales : {&a_scales, &w_scales}) scales->back();
        for (int m = 0; m < rows; ++m) {
            std::vector<float> row(K);
            for (int c = 0; c < K; ++c) row[c] = (float)number(x[(size_t)m * K + c]);
            auto wanted = layer_norm(row.data(), K, gamma.host.data(), beta.host.data());
            for (int c = 0; c < K; ++c) inputs.add(a(m, c), wanted[c]);
            for (int n = m % 3; n < N; n += 3) {
                double s = bias[n];
                for (int k = 0; k < K; ++k) s += a(m, k) * b(n, k);
                product.add(number(out[(size_t)m * N + n]), what == ACTIVATED ? exact_gelu(s) : s);
            }
        }
        for (int n = 0; n < N; ++n) for (int k = 0; k < K; ++k) weights.add(b(n, k), w[(size_t)n * K + k]);
        report("enc_ln_e4m3, " + std::to_string(K), inputs, 4e-2);
        report("narrow_rows, " + std::to_string(N) + " x " + std::to_string(K), weights, 4e-2);
        report(name, product, 1e-3);
    }
};
inline void check_narrow(int wide, int what, int rows, int N, int K) {
    NarrowProduct p(rows, N, K);
    p.narrow();
    p.run(wide, what, 2);
    p.judge("enc_tiles_" + std::to_string(wide) + "_e4m3_" + (what == PLAIN ? "plain, " : "gelu, ") + std::to_string(rows) + " x " + std::to_string(N) + " x " + std::to_string(K), what);
}

struct Heads {
    int positions, heads, windows, D;
    Buffer<h16> qkv, out;
    Heads(int positions, int heads, int windows) : positions(positions), heads(heads), windows(windows), D(heads * 64), qkv(halves((size_t)windows * positions * 3 * D, 1)), out(unwritten((size_t)windows * positions * D)) {}
    // groups: 3 or 2 warpgroups on Hopper, 0 for everybody's.
    void run(int groups, int blocks) {
        if (groups == 0) { LAUNCH(enc_flash, {ceil_div(positions, 64), heads, windows}, 128, 5 * 64 * 144, 1, EncFlash{qkv.at(), out.at(), positions, D}); return; }
        u64 row = 3 * (u64)D, window = row * positions;
        TensorMap q = map3(qkv, 0, row, positions, row, windows, window, 64), k = map3(qkv, 0, row, positions, row, windows, window, 128);
        EncAttn p{out.at(), positions, D, heads, windows, ceil_div(positions, groups * 64)};
        EmuDim grid = {min(blocks, p.tiles * heads * windows), 1, 1};
        int shared = 1024 + groups * 8192 + (groups == 3 ? 2 : 3) * 32768 + 256;
        if (groups == 3) LAUNCH(enc_attn_3, grid, 512, shared, 1, q, k, p); else LAUNCH(enc_attn_2, grid, 384, shared, 1, q, k, p);
    }
    void judge(const std::string& name) {
        Verdict v;
        out.back();
        for (int z = 0; z < windows; ++z) for (int h = 0; h < heads; ++h) for (int i = 0; i < positions; i += 7) {
            auto at = [&](int position, int what, int d) { return number(qkv[((size_t)z * positions + position) * 3 * D + what * D + h * 64 + d]); };
            std::vector<double> q(64), s(positions);
            for (int d = 0; d < 64; ++d) q[d] = at(i, 0, d);
            double sum = 0;
            for (int j = 0; j < positions; ++j) { for (int d = 0; d < 64; ++d) s[j] += q[d] * at(j, 1, d) / 8; s[j] = exp(s[j]); sum += s[j]; }
            for (int d = 0; d < 64; ++d) {
                double wanted = 0;
                for (int j = 0; j < positions; ++j) wanted += s[j] / sum * at(j, 2, d);
                v.add(number(out[((size_t)z * positions + i) * D + h * 64 + d]), wanted);
            }
        }
        report(name, v, 8e-4);
    }
};
inline void check_heads(int groups, int positions, int heads, int windows) {
    Heads h(positions, heads, windows);
    h.run(groups, 2);
    h.judge((groups ? "enc_attn_" + std::to_string(groups) : std::string("enc_flash")) + ", " + std::to_string(windows) + " windows of " + std::to_string(positions));
}

inline void check_enc_norm(int D, int rows) {
    Buffer<h16> x = halves((size_t)rows * D, 2), y = unwritten((size_t)rows * D);
    Buffer<float> gamma = floats(D, 1, .2f), beta = floats(D, 0, .2f);
    LAUNCH(enc_ln, {ceil_div(rows, 8), 1, 1}, 256, 0, 1, EncNorm{x.at(), gamma.at(), beta.at(), y.at(), nullptr, rows, D});
    y.back();
    Verdict v;
    for (int m = 0; m < rows; ++m) {
        std::vector<float> row(D);
        for (int c = 0; c < D; ++c) row[c] = (float)number(x[(size_t)m * D + c]);
        auto wanted = layer_norm(row.data(), D, gamma.host.data(), beta.host.data());
        for (int c = 0; c < D; ++c) v.add(number(y[(size_t)m * D + c]), wanted[c]);
    }
    report("enc_ln, " + std::to_string(D), v, 3e-4);
}
inline void check_frames(int n_mels, int frames, int windows, int D) {
    Buffer<h16> mel = halves((size_t)windows * n_mels * frames, 1), out = unwritten((size_t)windows * (frames + 2) * n_mels), next = unwritten((size_t)windows * (frames + 2) * D);
    LAUNCH(mel_frames, {frames / 32 + 1, windows, 1}, 256, 0, 1, Frames{mel.at(), out.at(), next.at(), frames, n_mels, D});
    out.back(); next.back();
    Verdict v;
    for (int z = 0; z < windows; ++z) for (int f = 0; f < frames + 2; ++f) {
        bool edge = f == 0 || f == frames + 1;
        for (int m = 0; m < n_mels; ++m) v.add(number(out[((size_t)z * (frames + 2) + f) * n_mels + m]), edge ? 0 : number(mel[((size_t)z * n_mels + m) * frames + f - 1]));
        for (int c = 0; edge && c < D; ++c) v.add(number(next[((size_t)z * (frames + 2) + f) * D + c]), 0);
    }
    report("mel_frames, " + std::to_string(n_mels) + " x " + std::to_string(frames), v, 3e-4);
}
inline void check_positions(int positions, int D, int windows) {
    size_t period = (size_t)positions * D, count = period * windows;
    Buffer<h16> x = halves(count, 1), table = halves(period, 1);
    Buffer<h16> before(std::vector<h16>(x.host));
    LAUNCH(add_positions, {(int)(count / 2048 + 1), 1, 1}, 256, 0, 1, Positions{x.at(), table.at(), (long long)count, (long long)period});
    x.back();
    Verdict v;
    for (size_t i = 0; i < count; ++i) v.add(number(x[i]), number(before[i]) + number(table[i % period]));
    report("add_positions", v, 3e-4);
}
