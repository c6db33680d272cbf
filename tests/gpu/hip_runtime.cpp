// AMD's HIP runtime as far as the program calls it, for a machine without a card of AMD's: memory is the machine's, kernels
// run on the emulator, and what a real runtime would refuse or leave undefined is refused here. Work of a stream is done when
// it is waited for and not before, so that memory that is used again too early shows. Code objects are the real ones: each is
// looked through for its chip and kernels, and a launch must fit what it says of them. FAKE_HIP describes the machine, in
// words such as `cards=2 chip=gfx90a version=60241133 memory=1000000 launches=9` (then the card is lost); FAKE_HIP_LOG names
// a file where calls are noted.
#define EMULATE
#include "../../src/kernels/gpu/plain.cu"

#include <functional>
#include <mutex>
#include <string>

typedef int Status;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, NO_BINARY = 209, INVALID_HANDLE = 400, NOT_FOUND = 500, FAILED_LAUNCH = 719 };

static std::string setting(const char* name, const char* otherwise) {
    const char* all = getenv("FAKE_HIP");
    const std::string words = std::string(" ") + (all ? all : "") + " ", key = std::string(" ") + name + "=";
    const size_t at = words.find(key);
    if (at == std::string::npos) return otherwise;
    const size_t from = at + key.size();
    return words.substr(from, words.find(' ', from) - from);
}
static long long number(const char* name, const char* otherwise) { return atoll(setting(name, otherwise).c_str()); }

struct Allocation { size_t bytes; int device; };
struct Stream { int device; std::vector<std::function<Status()>> work; };
struct Module { std::vector<u8> image; int device; };
struct Function { std::string name; u32 argument, shared; Module* module; };

static std::recursive_mutex one;
static std::map<u64, Allocation> memory;
static std::map<void*, Stream*> streams;
static long long taken, launched;
static thread_local int current = 0;

static void note(const std::string& call) {
    const char* path = getenv("FAKE_HIP_LOG");
    FILE* file = path ? fopen(path, "a") : nullptr;
    if (!file) return;
    fprintf(file, "%s\n", call.c_str());
    fclose(file);
}
static bool lost() { return launched >= number("launches", "1000000000"); }
static bool inside(u64 at, size_t bytes) {
    auto next = memory.upper_bound(at);
    if (next == memory.begin()) return false;
    const auto& [start, a] = *--next;
    return a.device == current && at - start <= a.bytes && bytes <= a.bytes - (at - start);
}
static Stream* stream_of(void* handle) {
    auto found = streams.find(handle);
    return found == streams.end() || found->second->device != current ? nullptr : found->second;
}
static Status finish(Stream* s) {
    std::vector<std::function<Status()>> work;
    work.swap(s->work);
    for (auto& piece : work)
        if (Status said = lost() ? FAILED_LAUNCH : piece()) return said;
    return lost() ? FAILED_LAUNCH : OK;
}

// ---- code objects: ELF files
template <class T> static T at(const std::vector<u8>& image, u64 offset) {
    T value{};
    if (offset + sizeof value <= image.size()) memcpy(&value, &image[offset], sizeof value);
    return value;
}
struct Section { u32 name, kind; u64 flags, address, offset, size; u32 link, info; u64 align, entry; };
static u64 image_bytes(const u8* image) {
    // Headers of sections come last.
    u64 headers;
    unsigned short size, count;
    memcpy(&headers, image + 40, 8), memcpy(&size, image + 58, 2), memcpy(&count, image + 60, 2);
    return headers + (u64)size * count;
}
static std::vector<Section> sections(const std::vector<u8>& image) {
    std::vector<Section> all;
    for (u32 i = 0; i < at<unsigned short>(image, 60); ++i) all.push_back(at<Section>(image, at<u64>(image, 40) + i * 64ull));
    return all;
}
// Where a symbol's bytes are in the file; 0: nowhere.
static u64 symbol(const std::vector<u8>& image, const std::string& name) {
    const auto all = sections(image);
    for (const Section& table : all) {
        if (table.kind != 11) continue;    // .dynsym
        for (u64 i = table.offset; i < table.offset + table.size; i += 24) {
            const u64 text = all[table.link].offset + at<u32>(image, i), value = at<u64>(image, i + 8);
            if (name != (const char*)&image[text]) continue;
            for (const Section& s : all)
                if (s.address && s.address <= value && value < s.address + s.size) return s.offset + value - s.address;
        }
    }
    return 0;
}

// ---- kernels
#define SERVE(kernel, Argument, block)                                        \
    if (name == #kernel) {                                                    \
        if (bytes != sizeof(Argument) || threads != block) return 2;          \
        if (!run) return 0;                                                   \
        Argument p;                                                           \
        memcpy(&p, argument, sizeof p);                                       \
        emu_launch(blocks, threads, shared, 1, [&] { kernel(p); });           \
        return 0;                                                             \
    }
// 0: it fits, and ran where it was to; 1: there is none; 2: another argument or block than its own.
static int serve(bool run, const std::string& name, EmuDim blocks, int threads, int shared, const void* argument, size_t bytes) {
    SERVE(plain_gemm, PlainGemm, 256)
    SERVE(plain_rows, PlainRows, 256)
    SERVE(plain_norm, PlainNorm, 128)
    SERVE(plain_taps, PlainTaps, 128)
    SERVE(plain_softmax, PlainSoftmax, 256)
    SERVE(plain_embed, PlainEmbed, 128)
    SERVE(plain_place, PlainPlace, 128)
    SERVE(plain_attention, PlainAttention, 256)
    return 1;
}

#define CALL(name, ...) extern "C" Status name(__VA_ARGS__)
#define ALONE std::lock_guard<std::recursive_mutex> alone(one)
#define ALIVE ALONE; if (lost()) return FAILED_LAUNCH

extern "C" const char* hipGetErrorName(Status status) {
    switch (status) {
        case OUT_OF_MEMORY: return "hipErrorOutOfMemory";
        case NO_BINARY: return "hipErrorNoBinaryForGpu";
        case FAILED_LAUNCH: return "hipErrorLaunchFailure";
        default: return "hipError";
    }
}
extern "C" const char* hipGetErrorString(Status status) {
    switch (status) {
        case OUT_OF_MEMORY: return "out of memory";
        case FAILED_LAUNCH: return "unspecified launch failure";
        default: return "something that the emulated runtime refuses";
    }
}
CALL(hipRuntimeGetVersion, int* version) { *version = (int)number("version", "60241133"); return OK; }
CALL(hipGetDeviceCount, int* count) { *count = (int)number("cards", "1"); return *count ? OK : NO_DEVICE; }
CALL(hipGetDevicePropertiesR0600, char* to, int device) {
    if (device < 0 || device >= number("cards", "1")) return INVALID_DEVICE;
    // As HIP 6 has it: all of its 1,472 bytes are written.
    memset(to, 0, 1472);
    strcpy(to, "AMD Emulated");
    const u64 bytes = number("memory", "8589934592");
    memcpy(to + 288, &bytes, 8);
    const int wave = 64;
    memcpy(to + 308, &wave, 4);
    strcpy(to + 1160, setting("chip", "gfx942:sramecc+:xnack-").c_str());
    return OK;
}
CALL(hipSetDevice, int device) {
    if (device < 0 || device >= number("cards", "1")) return INVALID_DEVICE;
    current = device;
    return OK;
}
CALL(hipMemGetInfo, size_t* free, size_t* total) {
    ALIVE;
    *total = number("memory", "8589934592"), *free = *total - taken;
    return OK;
}
CALL(hipMalloc, void** address, size_t bytes) {
    ALIVE;
    note("malloc " + std::to_string(bytes));
    if (taken + (long long)bytes > number("memory", "8589934592")) return OUT_OF_MEMORY;
    *address = malloc(bytes);
    memset(*address, 0xff, bytes);
    memory[(u64)*address] = {bytes, current};
    taken += bytes;
    return OK;
}
CALL(hipFree, void* address) {
    ALONE;
    auto found = memory.find((u64)address);
    if (found == memory.end() || found->second.device != current) return INVALID_VALUE;
    for (auto& [handle, stream] : streams) if (stream->device == current) finish(stream);
    taken -= found->second.bytes;
    memory.erase(found);
    free(address);
    return OK;
}
CALL(hipStreamCreateWithFlags, void** handle, u32 flags) {
    ALIVE;
    if (flags != 1) return INVALID_VALUE;
    Stream* stream = new Stream{current, {}};
    streams[stream] = stream;
    *handle = stream;
    return OK;
}
CALL(hipStreamSynchronize, void* handle) {
    ALIVE;
    Stream* stream = stream_of(handle);
    return stream ? finish(stream) : INVALID_HANDLE;
}
CALL(hipStreamDestroy, void* handle) {
    ALONE;
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    note(stream->work.empty() ? "stream closed" : "stream closed with work in it");
    streams.erase(handle);
    delete stream;
    return OK;
}
static Status copy(void* to, const void* from, size_t bytes, void* handle, const void* card) {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (!inside((u64)card, bytes)) return INVALID_VALUE;
    stream->work.push_back([=] { memcpy(to, from, bytes); return OK; });
    return OK;
}
CALL(hipMemcpyHtoDAsync, void* to, const void* from, size_t bytes, void* stream) { ALIVE; return copy(to, from, bytes, stream, to); }
CALL(hipMemcpyDtoHAsync, void* to, void* from, size_t bytes, void* stream) { ALIVE; return copy(to, from, bytes, stream, from); }
CALL(hipModuleLoadData, void** handle, const void* bytes) {
    ALIVE;
    note("load");
    const u8* from = (const u8*)bytes;
    if (memcmp(from, "\177ELF", 4)) return INVALID_IMAGE;
    Module* module = new Module{{from, from + image_bytes(from)}, current};
    // AMD's machine, and the chip that it is for, as LLVM numbers them.
    const u32 chip = at<u32>(module->image, 48) & 0xff;
    const std::string name = chip == 0x3f ? "gfx90a" : chip == 0x4c ? "gfx942" : "?";
    const std::string own = setting("chip", "gfx942:sramecc+:xnack-");
    if (at<unsigned short>(module->image, 18) != 224 || name != own.substr(0, own.find(':'))) return NO_BINARY;
    *handle = module;
    return OK;
}
CALL(hipModuleUnload, void* handle) { ALONE; note("unload"); delete (Module*)handle; return OK; }
CALL(hipModuleGetFunction, void** handle, void* of, const char* name) {
    ALIVE;
    Module* module = (Module*)of;
    // The kernel's descriptor: bytes of shared memory, of scratch, and of the argument.
    const u64 descriptor = symbol(module->image, std::string(name) + ".kd");
    if (!descriptor) return NOT_FOUND;
    *handle = new Function{name, at<u32>(module->image, descriptor + 8), at<u32>(module->image, descriptor), module};
    return OK;
}
CALL(hipModuleLaunchKernel, void* handle, u32 gx, u32 gy, u32 gz, u32 x, u32 y, u32 z, u32 shared, void* queue, void** arguments, void** extra) {
    ALIVE;
    const Function f = *(Function*)handle;
    Stream* stream = stream_of(queue);
    if (!stream || f.module->device != current) return INVALID_HANDLE;
    const bool sizes = gx && gy && gz && y == 1 && z == 1 && x <= 1024 && (u64)gx * x < 1ull << 32 && gy < 65536 && gz < 65536;
    if (!sizes || f.shared + shared > 65536 || extra || !arguments) return INVALID_VALUE;
    const EmuDim blocks{(int)gx, (int)gy, (int)gz};
    if (serve(false, f.name, blocks, x, shared, nullptr, f.argument)) return INVALID_VALUE;
    ++launched;
    note("launch " + f.name + " " + std::to_string(gx) + " " + std::to_string(gy) + " " + std::to_string(gz));
    std::vector<u8> argument((u8*)arguments[0], (u8*)arguments[0] + f.argument);
    stream->work.push_back([=] { return serve(true, f.name, blocks, x, shared, argument.data(), f.argument) ? FAILED_LAUNCH : OK; });
    return OK;
}
