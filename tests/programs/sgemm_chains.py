"""SGEMM of every library here, bit for bit: `sgemm_chains.py EXAMPLES K...` prints, for each library, K and mode, the chains found and whether the
product is what they explain: each chain by the reference, in order, and the chains added up in FP32."""

import itertools
import sys

sys.path.insert(0, sys.argv[1])
from accumulation_error import chains, in_order, libraries, operands, start_under_fase

import fase

start_under_fase()
for library in libraries():
    for k in map(int, sys.argv[2:]):
        lengths = chains(library.product, k)
        a, b = operands(f"N{k}", 1)
        ends = list(itertools.accumulate(lengths))
        for mode in ("fp32", "bf16", "bf16-2_2-3", "bf16,chunk=64", "bf16,chunk=7"):
            fase.set_mode(mode)
            parts = [in_order(mode)(a[:, end - n : end], b[end - n : end]) for n, end in zip(lengths, ends, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            equal = total.tobytes() == library.product(a, b).tobytes()
            print("product", library.name.split()[0], k, mode, "+".join(map(str, lengths)), "equal" if equal else "different")
