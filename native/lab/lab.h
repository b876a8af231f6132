// The lab: core without a process to patch. Guest code is given as bytes, compiled by the real translate(), and run on a full register state.
// For `fase doctor` (bulk functions) and the tests. C ABI for ctypes; not thread-safe: one call at a time.
#pragma once
#include <stddef.h>
#include <stdint.h>

extern "C" {

enum { FASE_LAB_AVX2 = 0, FASE_LAB_AVX512 = 1 };

/// Version of this interface.
int fase_lab_version();
/// Bit 0: this machine can run the AVX2 emitter's code, bit 1: the AVX-512 emitter's.
int fase_lab_machine();

// ---- Bulk: what an operator or a format does, computed by emitted code. 0, or -1 (format unknown to the emitter, machine lacks the ISA).

/// d[i] = FMA(a[i], b[i], c[i]) under `operator_spec` ("a,b,c,d", each eXmY; e8m23 is FP32), through the packed vfmadd instruction.
/// form: 0 is 132, 1 is 213, 2 is 231. Any n; arrays need no alignment.
int fase_lab_fma(const char* operator_spec, int isa, int form, const float* a, const float* b, const float* c, float* d, size_t n);
/// A format's table (the file's bytes), for operators that name it by `key`. Null, or what is wrong with it.
const char* fase_lab_table(const char* key, const uint8_t* file, size_t n);
/// FASE_LAB_NAN_FIX: x may hold NaNs off the grid; FASE_LAB_IN_PLACE: source and destination are one register; FASE_LAB_FINITE: no NaN, no infinity.
enum { FASE_LAB_NAN_FIX = 1, FASE_LAB_IN_PLACE = 2, FASE_LAB_FINITE = 4 };
/// out[i] = x[i] rounded to `format` ("eXmY", "g1/..." or "t1/...").
int fase_lab_round(const char* format, int isa, int care, const float* x, float* out, size_t n);
/// The same for stochastic rounding: `random` holds 32 random bits for each x, of which the upper ones are used.
int fase_lab_round_randomly(const char* format, int isa, const float* x, const uint32_t* random, float* out, size_t n);
/// Starts the random stream that translated code draws from. Returns its position: 9e3779b9 times the number of roundings since.
const uint32_t* fase_lab_random(uint32_t seed, uint32_t thread);

/// The same for double precision: the operator's part behind the semicolon; a format on the binary64 grid.
int fase_lab_fma64(const char* operator_spec, int isa, int form, const double* a, const double* b, const double* c, double* d, size_t n);
int fase_lab_round64(const char* format, int isa, const double* x, double* out, size_t n);

// ---- Translation of given code.

/// A guest machine. Vectors beyond what the machine has are ignored. gpr[4] (rsp) is an output only.
struct FaseLabState {
  uint8_t vector[32][64];
  uint64_t opmask[8];
  uint64_t gpr[16];
  uint64_t rflags;
  uint32_t mxcsr;
  uint32_t reserved;
};

struct FaseLabOptions {
  const char* operator_spec;
  int isa;                                                                    // emitter; EVEX guest code always gets AVX-512
  int spill512;                                                               // machine.avx512; -1: as the machine
  uint32_t instructions, fmas, scratch_registers, loops, side_exits, passes;  // limits
  uint32_t vector_slots;                                                      // scratch given, at most 62
  uint32_t first_counter;
  const uint64_t* excluded;  // addresses of FMAs that are out of scope, and of VDPBF16PS that run as they are
  size_t excluded_count;
  const char* dot_spec;  // operator of VDPBF16PS; null: as it is
};

struct FaseLabSegment {
  uint32_t emulated, excluded, fp64, fp64_emulated, dots_emulated, dots, conversions, instructions, chunked, bounded, unbounded;
};

struct FaseLabTranslation {
  int status;     // TranslateStatus
  uint64_t code;  // where it was written; runnable until the next translation
  size_t size;
  uint32_t segments, marks, extents;
  struct FaseLabSegment segment[64];
  uint64_t extent[16][2];
};

struct FaseLabFault {
  uint64_t rip;        // faulting instruction; 0: none
  uint64_t guest_rip;  // as the translation's marks have it; `rip` itself outside of translated code
  uint64_t address;    // si_addr
  uint32_t not_emulated, not_excluded, not_fp64, not_fp64_emulated, not_dots_emulated, not_dots, not_conversions;  // counted, not executed
  uint32_t counter_faults;  // null counter blocks supplied on the way
};

/// Puts guest code at `offset` (< 64 KiB) of the guest area, followed by a jump that ends a run. Returns its address.
uint64_t fase_lab_guest(const uint8_t* code, size_t n, size_t offset);
/// Compiles the region that starts at `entry`. Returns the status.
int fase_lab_translate(uint64_t entry, const struct FaseLabOptions* options, struct FaseLabTranslation* out);
/// Runs from `address` (guest or translated code) until the guest code's end. A fault also ends the run; the state then is what the guest would
/// see, rebuilt from the marks. 0, or 1 after a fault.
int fase_lab_run(uint64_t address, struct FaseLabState* state, struct FaseLabFault* fault);
/// The thread's counters (4096 of them). `reset` zeroes them; `forget` makes the next access fault, as on a thread's first use.
uint64_t* fase_lab_counters(int reset, int forget);
/// Nanoseconds for one translate() of the region, averaged over `repeat`.
double fase_lab_translate_ns(uint64_t entry, const struct FaseLabOptions* options, int repeat);

// ---- Pieces, for their own tests.

struct FaseLabInsn {
  uint32_t length, flow, encoding, vector_bits;
  uint32_t reads_vectors, writes_vectors, kills_vectors;
  uint32_t reads_gprs, writes_gprs, kills_gprs, reads_opmasks, writes_opmasks;
  uint32_t flags_read, flags_written, flags_killed;
  uint32_t bf16, fma, form, kind, fp64, scalar, mask, zeroing, broadcast, embedded_rounding;
  uint32_t memory, memory_bytes, memory_reads, memory_writes, memory_base, memory_index, memory_scale;  // base, index: 255 none, 254 RIP
  int64_t memory_disp;
  uint64_t target;
};
/// 1, or 0 for an invalid instruction.
int fase_lab_decode(const uint8_t* code, size_t n, uint64_t address, struct FaseLabInsn* out);

struct FaseLabOperand {  // the last operand; memory: base/index 255 none, 254 RIP (disp is the target)
  int memory, broadcast, reg, base, index, scale, segment;
  int64_t disp;
};
/// Assembles by name ("vpandd", "vmovups_store", "mov_load", "inc", ...; FMAs as "fma:OPCODE[:s][:d]"). Returns the length, 0 for an unknown name.
size_t fase_lab_assemble(const char* name, int bits, int reg, int vvvv, const struct FaseLabOperand* rm, int mask, int zeroing, int imm, int rounding,
                         uint64_t at, uint8_t* out);

}  // extern "C"
