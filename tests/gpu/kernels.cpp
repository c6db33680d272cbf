// The kernels on the emulator behind one function, for an executor that launches them by name.
#define EMULATE
#include "../../src/kernels/gpu/plain.cu"
#include "../../src/kernels/gpu/load.cu"
#include "../../src/kernels/gpu/encoder.cu"
#include "../../src/kernels/gpu/gemm.cu"
#include "../../src/kernels/gpu/decoder.cu"
#include "../../src/kernels/gpu/attention.cu"
#include "../../src/kernels/gpu/caches.cu"
#include "../../src/kernels/gpu/cross.cu"

#define SERVE(kernel, Argument)                                     \
    if (!strcmp(name, #kernel)) {                                   \
        Argument p;                                                 \
        if (bytes != sizeof p) return 2;                            \
        memcpy(&p, argument, sizeof p);                             \
        emu_launch(blocks, threads, shared, 1, [&] { kernel(p); }); \
        return 0;                                                   \
    }

// 0: it ran; 1: there is no such kernel; 2: its argument has another size.
extern "C" int run_kernel(const char* name, const int* grid, int threads, int shared, const void* argument, size_t bytes) {
    const EmuDim blocks{grid[0], grid[1], grid[2]};
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
    SERVE(embed, Embed)
    SERVE(dec_ln, DecNorm)
    SERVE(tile_half, StepGemm)
    SERVE(tile_gelu, StepGemm)
    SERVE(tile_residual, StepGemm)
    SERVE(tile_qkv, StepGemm)
    SERVE(tile_logits, StepGemm)
    SERVE(self_attn, SelfAttn)
    SERVE(cross_f16, CrossAttn)
    SERVE(cross_sum, CrossAttn)
    SERVE(cross_weights, CrossWeights)
    return 1;
}
