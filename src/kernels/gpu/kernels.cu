// All kernels that a chip can run: what its code object is compiled from.
#include "plain.cu"
#include "load.cu"
#include "encoder.cu"
#include "gemm.cu"
#include "decoder.cu"
#include "attention.cu"
#include "caches.cu"
#include "cross.cu"
#include "rank.cu"
#if __CUDA_ARCH__ == 900
#include "hopper/encoder.cu"
#include "hopper/narrow.cu"
#include "hopper/attention.cu"
#include "hopper/step.cu"
#endif
