// Where a check's kernels run: on the emulator, or on a card through its driver, with the code object that is shipped.
#pragma once
#define EMULATE
#include "../../src/kernels/gpu/kernels.cu"

#include <dlfcn.h>

#include <string>

struct Card {
    void* library = nullptr;
    void* module = nullptr;
    void* stream = nullptr;
    bool on() const { return module != nullptr; }
    void* symbol(const char* name) const {
        void* found = dlsym(library, name);
        if (!found) { printf("the driver has no %s\n", name); exit(3); }
        return found;
    }
    template <class... A> void call(const char* name, A... arguments) const {
        int code = ((int (*)(A...))symbol(name))(arguments...);
        if (code) { printf("%s: error %d\n", name, code); exit(3); }
    }
    // Whether the kernel is in the code object; the emulator has all.
    bool has(const char* kernel) const {
        void* function = nullptr;
        return !on() || ((int (*)(void**, void*, const char*))symbol("cuModuleGetFunction"))(&function, module, kernel) == 0;
    }
    // Of the ring of `small`: see SMALL_STAGES.
    int stages() const { return has("enc_attn_3") ? 4 : 3; }
    void open(const char* object) {
        library = dlopen("libcuda.so.1", RTLD_NOW);
        if (!library) { printf("no driver: %s\n", dlerror()); exit(3); }
        FILE* file = fopen(object, "rb");
        if (!file) { printf("%s cannot be read\n", object); exit(3); }
        std::vector<char> image;
        for (int c; (c = fgetc(file)) != EOF;) image.push_back((char)c);
        image.push_back(0);
        fclose(file);
        void* context = nullptr;
        call("cuInit", 0u);
        call("cuDevicePrimaryCtxRetain", &context, 0);
        call("cuCtxSetCurrent", context);
        call("cuStreamCreate", &stream, 1u);
        call("cuModuleLoadData", &module, (const void*)image.data());
    }
};
inline Card& card() { static Card c; return c; }

// Numbers that a kernel reads or writes; on a card they have a copy there.
template <class T> struct Buffer {
    std::vector<T> host;
    u64 device = 0;
    Buffer() {}
    explicit Buffer(size_t n, T v = T()) : host(n, v) {}
    explicit Buffer(std::vector<T> v) : host(std::move(v)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(Buffer&& b) { std::swap(host, b.host); std::swap(device, b.device); return *this; }
    Buffer(Buffer&& b) : host(std::move(b.host)), device(b.device) { b.device = 0; }
    ~Buffer() { if (device) card().call("cuMemFree_v2", device); }
    T& operator[](size_t i) { return host[i]; }
    size_t size() const { return host.size(); }
    // The address for a kernel. What is in `host` goes along the first time.
    T* at() {
        if (!card().on()) return host.data();
        if (!device) {
            card().call("cuMemAlloc_v2", &device, host.size() * sizeof(T) + 64);
            // In the kernels' stream: a short copy outside it may still be under way when the kernel begins.
            card().call("cuMemcpyHtoDAsync_v2", device, (const void*)host.data(), host.size() * sizeof(T), card().stream);
        }
        return (T*)device;
    }
    // What the kernels wrote, into `host`.
    Buffer& back() {
        if (device) { card().call("cuStreamSynchronize", card().stream); card().call("cuMemcpyDtoH_v2", (void*)host.data(), device, host.size() * sizeof(T)); }
        return *this;
    }
};

template <class T> struct Passed { T value; explicit Passed(const T& v) : value(v) {} void* at() { return &value; } };
// A tensor map in the driver's own form.
template <> struct Passed<TensorMap> {
    alignas(64) u64 opaque[16];
    explicit Passed(const TensorMap& m) {
        u64 sizes[3] = {m.d[0], m.d[1], m.d[2]}, strides[2] = {m.stride[0] * m.size, m.stride[1] * m.size};
        u32 box[3] = {(u32)m.box_x, (u32)m.box_y, 1}, steps[3] = {1, 1, 1};
        // 16-bit floats or bytes, not interleaved, swizzled by 128 bytes, promoted to 256 bytes in L2, zeros outside
        card().call("cuTensorMapEncodeTiled", (void*)opaque, m.size == 1 ? 0 : 6, (u32)m.dims, (void*)m.data, (const u64*)sizes, (const u64*)strides, (const u32*)box, (const u32*)steps, 0, 3, 3, 0);
    }
    void* at() { return opaque; }
};
struct Attribute { u32 id; char pad[4]; union { u32 dimension[3]; int allowed; char size[64]; }; };
struct Config { u32 grid[3], block[3], shared; void* stream; Attribute* attributes; u32 count; };

inline void launch_card(const char* name, EmuDim grid, int threads, int shared, int cluster, void** arguments) {
    void* function = nullptr;
    card().call("cuModuleGetFunction", &function, card().module, name);
    if (shared > 48 << 10) card().call("cuFuncSetAttribute", function, 8, shared);
    Attribute attributes[2] = {};
    u32 count = 0;
    attributes[count].id = 6; attributes[count++].allowed = 1;   // programmatic stream serialization
    if (cluster > 1) { attributes[count].id = 4; u32* d = attributes[count++].dimension; d[0] = (u32)cluster; d[1] = d[2] = 1; }
    Config config = {{(u32)grid.x, (u32)grid.y, (u32)grid.z}, {(u32)threads, 1, 1}, (u32)shared, card().stream, attributes, count};
    card().call("cuLaunchKernelEx", (const void*)&config, function, arguments, (void*)nullptr);
}
template <class... A> void launch(const char* name, void (*kernel)(A...), EmuDim grid, int threads, int shared, int cluster, const A&... arguments) {
    if (!card().on()) { emu_launch(grid, threads, shared, cluster, [&] { kernel(arguments...); }); return; }
    [&](Passed<A>... passed) { void* list[] = {passed.at()...}; launch_card(name, grid, threads, shared, cluster, list); }(Passed<A>(arguments)...);
}
#define LAUNCH(kernel, ...) launch(#kernel, kernel, __VA_ARGS__)

// Milliseconds of one call of `f`, on a card: `inner` of them in a graph, the median of seven runs.
template <class F> double milliseconds(F f, int inner) {
    void *start = nullptr, *end = nullptr, *graph = nullptr, *ready = nullptr, *stream = card().stream;
    for (int i = 0; i < inner; ++i) f(i);   // memory comes up before the capture
    card().call("cuStreamSynchronize", stream);
    card().call("cuStreamBeginCapture_v2", stream, 2);
    for (int i = 0; i < inner; ++i) f(i);
    card().call("cuStreamEndCapture", stream, &graph);
    card().call("cuGraphInstantiateWithFlags", &ready, graph, 0ull);
    card().call("cuEventCreate", &start, 0u);
    card().call("cuEventCreate", &end, 0u);
    std::vector<float> times;
    for (int r = -2; r < 7; ++r) {
        float ms = 0;
        card().call("cuEventRecord", start, stream);
        card().call("cuGraphLaunch", ready, stream);
        card().call("cuEventRecord", end, stream);
        card().call("cuEventSynchronize", end);
        card().call("cuEventElapsedTime", &ms, start, end);
        if (r >= 0) times.push_back(ms / (float)inner);
    }
    card().call("cuGraphExecDestroy", ready);
    card().call("cuGraphDestroy", graph);
    std::sort(times.begin(), times.end());
    return times[3];
}

// ---- numbers and verdicts
inline float random_number() {
    static u32 state = 1;
    float s = 0;
    for (int i = 0; i < 4; ++i) { state = state * 1664525u + 1013904223u; s += (float)(state >> 8) / 16777216.f - .5f; }
    return s * 1.732f;
}
// As many numbers as are wanted; a million of them are new.
template <class T, class F> Buffer<T> filled(size_t n, F next) {
    const size_t period = 1000003;
    Buffer<T> b(n);
    for (size_t i = 0; i < n; ++i) b[i] = i < period ? next() : b[i - period];
    return b;
}
inline Buffer<h16> halves(size_t n, float spread) { return filled<h16>(n, [&] { return to_half(random_number() * spread); }); }
inline Buffer<float> floats(size_t n, float mean, float spread) { return filled<float>(n, [&] { return mean + random_number() * spread; }); }
inline Buffer<h16> unwritten(size_t n) { return Buffer<h16>(n, 0x7e00); }
inline double number(h16 h) { return to_float(h); }
inline double number(float f) { return f; }

// The relative error of all that a check compares, in the 2-norm; what is no number is as wrong as can be.
struct Verdict {
    double off = 0, all = 0;
    void add(double got, double wanted) {
        double e = got - wanted;
        if (!(fabs(e) < 1e30)) e = 1e30;
        off += e * e; all += wanted * wanted;
    }
    double error() const { return sqrt(off / (all > 0 ? all : 1)); }
};
inline int& wrong() { static int n = 0; return n; }
inline void report(const std::string& name, const Verdict& v, double bar) {
    bool fine = v.error() < bar && v.all > 0;
    if (!fine) ++wrong();
    printf("%-52s %.1e  under %.0e  %s\n", name.c_str(), v.error(), bar, fine ? "ok" : "WRONG");
    fflush(stdout);
}
inline double exact_gelu(double x) { return .5 * x * (1 + erf(x * .70710678118654752440)); }
