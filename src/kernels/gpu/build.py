"""Compiles kernels.cu with NVIDIA's run-time compiler into built/: a code object a chip, PTX for chips to come, and a
manifest with the hashes of sources and results. With --check nothing is written: results are compared with what is there.

In: the folder where pip put each version of the compiler (see build.sh). The same compiler gives the same bytes.
"""

import ctypes
import hashlib
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE / "built"
# Which compiler makes what: PTX loads on drivers no older than its compiler, so the older one writes it; the newer one knows
# newer chips, and does not serialize Hopper's matrix products, as the older does.
TARGETS = {
    "12.1.105": ["compute_80"],
    "12.9.86": ["sm_80", "sm_90a", "sm_100", "sm_120"],
}


def sources():
    found = [path for pattern in ("*.cu", "*.h") for path in HERE.rglob(pattern)]
    return sorted((path for path in found if path.name != "emulate.h"), key=lambda path: str(path.relative_to(HERE)))


class Compiler:
    def __init__(self, folder):
        # the builtins of the same version, which the compiler would otherwise look for by its own name
        for library in sorted(folder.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(folder / "libnvrtc.so.12"))

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code and name != "nvrtcCompileProgram":
            raise SystemExit(f"{name}: error {code}")
        return code

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def compile(self, target):
        program = ctypes.c_void_p()
        source = (HERE / "kernels.cu").read_bytes()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source, b"kernels.cu", 0, None, None)
        options = [f"--gpu-architecture={target}", "-std=c++17", "-default-device", f"--include-path={HERE}"]
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = self.call("nvrtcCompileProgram", program, len(options), array)
        log = self.text(program, "ProgramLog").rstrip(b"\0\n").decode()
        if log:
            print(log, file=sys.stderr)
        if failed:
            raise SystemExit(f"{target} does not compile")
        return self.text(program, "CUBIN" if target.startswith("sm_") else "PTX")


def manifest(results):
    def line(path, content):
        return f"{path}\t{hashlib.sha256(content).hexdigest()}\n"

    lines = [line(path.relative_to(HERE), path.read_bytes()) for path in sources()]
    return "".join(lines + [line(f"built/{name}", content) for name, content in sorted(results.items())])


def build(folder, version, targets):
    compiler = Compiler(folder / version / "nvidia/cuda_nvrtc/lib")
    return {target + (".cubin" if target.startswith("sm_") else ".ptx"): compiler.compile(target) for target in targets}


def main():
    if "--versions" in sys.argv:
        print(*TARGETS)
        return
    jobs = [(Path(sys.argv[1]), version, [target]) for version, targets in TARGETS.items() for target in targets]
    results = {}
    # A process each: a library of another version would not be loaded beside the first.
    with ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        for result in pool.map(build, *zip(*jobs)):
            results.update(result)
    for name, content in results.items():
        print(f"{name}: {len(content)} bytes, {len(zlib.compress(content, 9))} packed")
    found = manifest(results)
    if "--check" not in sys.argv:
        BUILT.mkdir(exist_ok=True)
        for name, content in results.items():
            (BUILT / f"{name}.zz").write_bytes(zlib.compress(content, 9))
        (BUILT / "manifest.tsv").write_text(found)
    elif found != (BUILT / "manifest.tsv").read_text():
        raise SystemExit("what is in built/ was not made from these sources by these compilers: run build.sh")


if __name__ == "__main__":
    main()
