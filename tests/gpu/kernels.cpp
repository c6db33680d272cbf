// The kernels on the emulator behind one function, for an executor that launches them by name.
#define EMULATE
#include "../../src/kernels/gpu/kernels.cu"

#define SERVE(kernel, Argument)                                           \
    if (!strcmp(name, #kernel)) {                                         \
        Argument p;                                                       \
        if (bytes != sizeof p) return 2;                                  \
        memcpy(&p, argument, sizeof p);                                   \
        emu_launch(blocks, threads, shared, cluster, [&] { kernel(p); }); \
        return 0;                                                         \
    }
// With tensor maps in front.
#define SERVE_MAPPED(kernel, Argument, ...)                                            \
    if (!strcmp(name, #kernel)) {                                                      \
        Argument p;                                                                    \
        if (bytes != sizeof p) return 2;                                               \
        memcpy(&p, argument, sizeof p);                                                \
        emu_launch(blocks, threads, shared, cluster, [&] { kernel(__VA_ARGS__, p); }); \
        return 0;                                                                      \
    }
#define SERVE_LAYERS(kind) \
    SERVE(kind##_half, StepGemm) SERVE(kind##_gelu, StepGemm) SERVE(kind##_residual, StepGemm) SERVE(kind##_qkv, StepGemm) SERVE(kind##_logits, StepGemm)
#define SERVE_MID(kind)                                                                                                 \
    SERVE_MAPPED(kind##_half, StepGemm, map(0)) SERVE_MAPPED(kind##_gelu, StepGemm, map(0)) SERVE_MAPPED(kind##_residual, StepGemm, map(0)) \
    SERVE_MAPPED(kind##_qkv, StepGemm, map(0)) SERVE_MAPPED(kind##_logits, StepGemm, map(0))
#define SERVE_TILES(kind)                                                        \
    SERVE_MAPPED(kind##_plain, EncTiles, map(0), map(1), map(2), map(3))         \
    SERVE_MAPPED(kind##_gelu, EncTiles, map(0), map(1), map(2), map(3))          \
    SERVE_MAPPED(kind##_residual, EncTiles, map(0), map(1), map(2), map(3))
#define SERVE_NARROW(kind)                                                       \
    SERVE_MAPPED(kind##_e4m3_plain, EncTiles, map(0), map(1), map(2), map(3))    \
    SERVE_MAPPED(kind##_e4m3_gelu, EncTiles, map(0), map(1), map(2), map(3))

struct Emulated { const int* grid; int threads, shared, cluster; const u64 (*maps)[16]; const void* argument; size_t bytes; };

static int run_plain(const char* name, EmuDim blocks, int threads, int shared, int cluster, const void* argument, size_t bytes) {
    SERVE(plain_gemm, PlainGemm)
    SERVE(plain_rows, PlainRows)
    SERVE(plain_norm, PlainNorm)
    SERVE(plain_taps, PlainTaps)
    SERVE(plain_softmax, PlainSoftmax)
    SERVE(plain_embed, PlainEmbed)
    SERVE(plain_place, PlainPlace)
    SERVE(plain_attention, PlainAttention)
    SERVE(halve, Halve)
    SERVE(pack_tiles, Pack)
    SERVE(mel_frames, Frames)
    SERVE(add_positions, Positions)
    SERVE(enc_ln, EncNorm)
    SERVE(enc_flash, EncFlash)
    SERVE(enc_gemm_plain, EncGemm)
    SERVE(enc_gemm_gelu, EncGemm)
    SERVE(enc_gemm_residual, EncGemm)
    SERVE(kv_f16, KvLayout)
    SERVE(kv_spread, KvLayout)
    SERVE(kv_i8, KvLayout)
    SERVE(tell, Tell)
    SERVE(embed, Embed)
    SERVE(dec_ln, DecNorm)
    SERVE_LAYERS(tile)
    SERVE_LAYERS(small_384)
    SERVE_LAYERS(small_512)
    SERVE_LAYERS(small_640)
    SERVE(small_1280_residual, StepGemm)
    SERVE(self_attn, SelfAttn)
    SERVE(cross_f16, CrossAttn)
    SERVE(cross_i8, CrossAttn)
    SERVE(cross_sum, CrossAttn)
    SERVE(cross_weights, CrossWeights)
    SERVE(rank_part, Rank)
    SERVE(rank_row, Rank)
    SERVE(sweep, Sweep)
    SERVE(narrow_rows, Narrow)
    SERVE(enc_ln_e4m3, EncNorm)
    return 1;
}
// Hopper's: their maps are as the recording driver notes tensors.
static int run_mapped(const char* name, EmuDim blocks, int threads, int shared, int cluster, const u64 (*maps)[16], const void* argument, size_t bytes) {
    auto map = [&](int i) {
        const u64* m = maps[i];
        return TensorMap{(const u8*)m[0], (int)m[8], (int)m[1], {m[2], m[3], m[4]}, {m[5], m[6]}, 128 / (int)m[8], (int)m[7]};
    };
    SERVE_MID(mid_16)
    SERVE_MID(mid_32)
    SERVE_MID(mid_64)
    SERVE_MID(mid_128)
    SERVE_MID(mid_256)
    SERVE_TILES(enc_tiles_128)
    SERVE_TILES(enc_tiles_256)
    SERVE_NARROW(enc_tiles_128)
    SERVE_NARROW(enc_tiles_256)
    SERVE_MAPPED(enc_attn_2, EncAttn, map(0), map(1))
    SERVE_MAPPED(enc_attn_3, EncAttn, map(0), map(1))
    return 1;
}

// 0: it ran; 1: there is no such kernel; 2: its argument has another size.
extern "C" int run_kernel(const char* name, const Emulated* e) {
    const EmuDim blocks{e->grid[0], e->grid[1], e->grid[2]};
    int ran = run_plain(name, blocks, e->threads, e->shared, e->cluster, e->argument, e->bytes);
    return ran == 1 ? run_mapped(name, blocks, e->threads, e->shared, e->cluster, e->maps, e->argument, e->bytes) : ran;
}
