"""Writes wgmma.h: the warpgroup's matrix product, a function a width and kind of number, operands in shared memory or the first in registers."""


def function(name, n, first, product, number="f16", deep=16):
    half = n // 2
    sums = ", ".join(f"%{i}" for i in range(half))
    outputs = ", ".join(f'"+f"(d[{i}])' for i in range(half))
    arguments = [f"%{half + i}" for i in range(len(first) + 1)]
    a = arguments[0] if len(first) == 1 else "{" + ", ".join(arguments[:-1]) + "}"
    kinds = "".join(f', {kind} {name_}' for kind, name_ in first)
    inputs = ", ".join(f'"{"l" if kind == "u64" else "r"}"({name_})' for kind, name_ in [*first, ("u64", "b")])
    return (
        f"DEV void {name}(float (&d)[{half}]{kinds}, u64 b, int add) {{\n"
        f'    asm volatile("{{.reg .pred p; setp.ne.b32 p, %{half + len(first) + 1}, 0;"\n'
        f'                 "wgmma.mma_async.sync.aligned.m64n{n}k{deep}.f32.{number}.{number} {{{sums}}}, {a}, {arguments[-1]}, p, {product};}}"\n'
        f'                 : {outputs}\n'
        f'                 : {inputs}, "r"(add));\n'
        f"}}\n"
    )


def main():
    parts = ["// Written by wgmma.py.\n#pragma once\n"]
    parts += [function("wgmma", n, [("u64", "a")], "1, 1, 0, 0") for n in (16, 32, 64, 128, 256)]
    parts += [function("wgmma_e4m3", n, [("u64", "a")], "1, 1", "e4m3", 32) for n in (128, 256)]
    registers = [("u32", f"a{i}") for i in range(4)]
    parts.append(function("wgmma_registers", 64, registers, "1, 1, 1"))
    print("".join(parts), end="")


main()
