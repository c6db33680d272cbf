// How long the kernels take on a card at large-v3's shapes, each 16 times over other memory.
#pragma once
#include "decoder.h"
#include "encoder.h"

inline void show(const std::string& name, double ms, double flops, double bytes) {
    printf("%-40s %8.1f us %8.0f TFLOP/s %8.2f TB/s\n", name.c_str(), ms * 1e3, flops / ms / 1e9, bytes / ms / 1e9);
    fflush(stdout);
}
inline void time_step(int what, int B, int N, int K) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (int i = 0; i < (what == LOGITS ? 1 : 16); ++i) layers.emplace_back(new Layer(what, B, N, K, 1280, B <= 8));
    double ms = milliseconds([&](int i) { Layer& l = *layers[(size_t)i % layers.size()]; if (B <= 8) run_small(640, what, l, 132, card().stages()); else if (card().has("mid_16_half")) run_mid(what, l); else run_tile(what, l); }, 16);
    show(title(B <= 8 ? "small" : "many", what, B, N, K), ms, 2. * B * N * K, 2. * N * K);
}
inline void time_product(int what, int windows, int N, int K) {
    Product p(1500 * windows, 1, N, K, K, what);
    double ms = 1e9;
    if (card().has("enc_attn_3")) ms = milliseconds([&](int) { p.run(256, what, 132); }, 8);
    show("enc_tiles_256 " + std::to_string(windows) + " x 1500 x " + std::to_string(N) + " x " + std::to_string(K), ms, 2. * windows * 1500 * N * K, 0);
    ms = milliseconds([&](int) { p.run(0, what, 0); }, 2);
    show("enc_gemm, the same", ms, 2. * windows * 1500 * N * K, 0);
}
inline void time_narrow(int what, int windows, int N, int K) {
    NarrowProduct p(1500 * windows, N, K);
    p.narrow();
    double ms = milliseconds([&](int) { p.run(256, what, 132); }, 8);
    show("enc_tiles_256_e4m3 " + std::to_string(windows) + " x 1500 x " + std::to_string(N) + " x " + std::to_string(K), ms, 2. * windows * 1500 * N * K, 0);
}
inline void time_sweep() {
    Buffer<u32> memory((size_t)256 << 20, 1), found(8 * 132 * 8);
    double ms = milliseconds([&](int) { LAUNCH(sweep, {132 * 8, 1, 1}, 256, 0, 1, Sweep{(const u8*)memory.at(), found.at(), 64 << 20}); }, 8);
    show("sweep, 1 GiB", ms, 0, 1 << 30);
}
inline void time_heads(int windows) {
    Heads h(1500, 20, windows);
    for (int groups : {3, 2, 0}) {
        if (groups && !card().has("enc_attn_3")) continue;
        double ms = milliseconds([&](int) { h.run(groups, 132); }, 4);
        show("encoder's attention, groups " + std::to_string(groups) + ", windows " + std::to_string(windows), ms, 4. * windows * 20 * 1500 * 1500 * 64, 0);
    }
}
inline void time_cross(bool bytes, int windows) {
    std::vector<std::unique_ptr<Audio>> layers;
    for (int i = 0; i < 4; ++i) layers.emplace_back(new Audio(bytes, 1500, 20, windows, 1));
    Buffer<h16> q = halves((size_t)windows * 1280, 1), out = unwritten((size_t)windows * 1280);
    Buffer<float> parts((size_t)(windows + 1) * 20 * 12 * 528);
    for (int split : {1, 2, 4, 12}) {
        if (split * windows > 16 && split > 1) continue;
        double ms = milliseconds([&](int i) {
            Audio& a = *layers[(size_t)i % 4];
            run_cross(a, {q.at(), a.keys.at(), a.values.at(), bytes ? a.key_scale.at() : nullptr, bytes ? a.value_scale.at() : nullptr, a.groups.at(), out.at(), parts.at(), (long long)a.window_bytes, 1280, a.padded, split});
        }, 16);
        show(std::string("cross ") + (bytes ? "i8" : "f16") + ", windows " + std::to_string(windows) + ", split " + std::to_string(split), ms, 0, 2. * windows * layers[0]->window_bytes);
    }
}
inline void time_self(int B, int from) {
    Texts texts(B, from);
    Buffer<h16> q = halves((size_t)B * 1280, 1), keys = halves((size_t)texts.blocks * 1280 * 64, 1), values = halves((size_t)texts.blocks * 1280 * 64, 1), out = unwritten((size_t)B * 1280);
    double ms = milliseconds([&](int) { LAUNCH(self_attn, {20, B, 1}, 128, 0, 1, SelfAttn{q.at(), keys.at(), values.at(), out.at(), texts.rows.at(), texts.places.at(), 1280, Texts::CONTEXT}); }, 16);
    show("self_attn, " + std::to_string(B) + " rows at " + std::to_string(from), ms, 0, 2. * B * 1280 * from * 2);
}
inline void time_rank(int B, u32 want, u32 k) {
    Ranking r(51866, B);
    for (int b = 0; b < B; ++b) r.ask(want, k, 1, .5);
    Rank p{r.logits.at(), r.asks.at(), r.sets.at(), r.listed.at(), r.sums.at(), r.few.at(), r.said.at(), r.probability.at(), r.vocab};
    double ms = milliseconds([&](int) { LAUNCH(rank_part, {r.parts, B, 1}, 256, 0, 1, p); LAUNCH(rank_row, {B, 1, 1}, 256, 0, 1, p); }, 16);
    show("rank, rows " + std::to_string(B) + ", want " + std::to_string(want), ms, 0, 4. * B * r.vocab);
}
inline void time_all() {
    time_sweep();
    for (int B : {1, 8, 32, 64, 128}) {
        time_step(QKV, B, 3840, 1280);
        time_step(RESIDUAL, B, 1280, 1280);
        time_step(HALF, B, 1280, 1280);
        time_step(GELU, B, 5120, 1280);
        time_step(RESIDUAL, B, 1280, 5120);
        time_step(LOGITS, B, 51866, 1280);
        time_self(B, 100);
        time_rank(B, BEST, 1);
    }
    time_self(64, 440);
    time_rank(40, BEST_K, 6);
    time_rank(8, DRAW, 1);
    for (int windows : {1, 8}) { time_product(PLAIN, windows, 3840, 1280); time_product(ADDED, windows, 1280, 1280); time_product(ACTIVATED, windows, 5120, 1280); time_product(ADDED, windows, 1280, 5120); time_heads(windows); }
    if (card().has("enc_ln_e4m3")) for (int windows : {1, 8}) { time_narrow(PLAIN, windows, 3840, 1280); time_narrow(ACTIVATED, windows, 5120, 1280); }
    for (int windows : {1, 8, 32}) { time_cross(false, windows); time_cross(true, windows); }
}
