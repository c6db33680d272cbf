// Every kernel against its twin in double precision. Without arguments on the emulator; with a code object on a card, where times
// at large-v3's shapes follow unless there is a second argument. What only Hopper has is left out where the object lacks it.
#include "decoder.h"
#include "encoder.h"
#include "rank.h"
#include "timing.h"
#include "../../src/kernels/gpu/erf.h"

static void check_decoder() {
    check_tell();
    check_embed(384);
    for (int D : {384, 1280}) check_norm(D, 3);
    check_small(384, QKV, 1, 3 * 384, 384, 384);
    check_small(512, GELU, 5, 144, 512, 512);
    check_small(640, LOGITS, 8, 90, 1280, 1280);
    check_small(640, RESIDUAL, 3, 80, 2560, 1280);
    check_small(640, HALF, 8, 64, 1280, 1280);
    check_small(384, RESIDUAL, 1, 48, 768, 768);
    check_tile(QKV, 30, 192, 128, 64);
    check_tile(GELU, 70, 100, 192, 64);
    check_tile(RESIDUAL, 9, 64, 640, 64);
    check_tile(LOGITS, 17, 90, 128, 64);
    check_tile(HALF, 64, 64, 64, 64);
}
static void check_attention() {
    check_self(2, 3, 0);
    check_self(2, 4, 70);
    check_self(1, 3, 445);
    check_cross(false, 100, 2, 2, 1, 1);
    check_cross(false, 300, 2, 3, 8, 1);
    check_cross(false, 300, 2, 2, 3, 4);
    check_cross(true, 100, 2, 2, 1, 1);
    check_cross(true, 300, 2, 3, 8, 1);
    check_cross(true, 500, 2, 2, 3, 5);
}
static void check_encoder() {
    check_frames(80, 70, 2, 128);
    check_positions(50, 128, 3);
    for (int D : {384, 512}) check_enc_norm(D, 9);
    check_product(0, PLAIN, 200, 1, 256, 192);
    check_product(0, ACTIVATED, 100, 2, 128, 240, 80);
    check_product(0, ADDED, 60, 2, 192, 64);
    for (int positions : {50, 200}) check_heads(0, positions, 2, 2);
}
static void check_hopper() {
    check_small_wide(1, 48, 5120);
    check_small_wide(8, 80, 1280);
    check_mid(GELU, 50, 128, 320, 64);
    check_mid(RESIDUAL, 64, 128, 1280, 64);
    check_mid(QKV, 40, 192, 1280, 64);
    check_mid(RESIDUAL, 50, 64, 384, 64);   // blocks of the cluster without work
    check_mid(RESIDUAL, 13, 64, 1280, 64);
    check_mid(QKV, 30, 192, 640, 64);
    check_mid(HALF, 100, 64, 640, 64);
    check_mid(LOGITS, 33, 90, 640, 64);
    check_mid(GELU, 200, 64, 384, 64);
    check_mid(LOGITS, 16, 130, 384, 64);
    check_product(128, PLAIN, 200, 1, 256, 192);
    check_product(128, ACTIVATED, 140, 2, 128, 240, 80);
    check_product(128, ADDED, 200, 1, 256, 128);
    check_product(256, PLAIN, 100, 1, 256, 64);
    check_product(256, ACTIVATED, 100, 1, 256, 128);
    check_product(256, ADDED, 300, 1, 512, 192);
    check_narrow(128, PLAIN, 200, 256, 384);
    check_narrow(128, ACTIVATED, 60, 128, 256);
    check_narrow(256, PLAIN, 100, 512, 128);
    check_narrow(256, ACTIVATED, 300, 256, 640);
    check_heads(2, 300, 2, 1);
    check_heads(3, 500, 2, 1);
    check_heads(3, 100, 1, 2);
}

static void check_sweep() {
    Buffer<u32> memory(4 * 5003), found(8 * 3);
    u32 wanted = 0, all = 0;
    for (size_t i = 0; i < memory.size(); ++i) wanted ^= memory[i] = (u32)i * 2654435761u;
    LAUNCH(sweep, {3, 1, 1}, 256, 0, 1, Sweep{(const u8*)memory.at(), found.at(), 5003});
    found.back();
    for (size_t i = 0; i < found.size(); ++i) all ^= found[i];
    Verdict v;
    v.add(all, wanted);
    report("sweep", v, 1e-12);
}
// Clang has no mathematical library for AMD's chips.
static void check_erf() {
    Verdict v;
    for (int i = -60000; i <= 60000; ++i) v.add(polynomial_erf(i * 1e-4f), std::erf((double)(i * 1e-4f)));
    report("polynomial_erf", v, 1e-7);
}

int main(int count, char** arguments) {
    if (count > 1) card().open(arguments[1]);
    check_erf();
    check_sweep();
    check_decoder();
    check_attention();
    check_encoder();
    if (card().has("enc_attn_3")) check_hopper();
    check_rank(5000);
    if (card().on()) check_rank(51865);
    if (card().on() && count == 2) time_all();
    printf("%d wrong\n", wrong());
    return wrong() > 0;
}
