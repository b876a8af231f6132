#include "lab/lab.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>

#include "core/assemble/assembler.h"
#include "core/decode/decode.h"
#include "core/emit/rounder.h"
#include "core/emit/rounder64.h"
#include "core/numerics/text.h"
#include "lab/machine.h"
#include "lab/run.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fase::lab {
namespace {

using namespace core;

class Arena : public CodeView {
 public:
  std::size_t read(Address at, std::uint8_t* out, std::size_t n) const override {
    const auto base = reinterpret_cast<Address>(ground().guest);
    if (at < base || at >= base + kGuestBytes) return 0;
    n = std::min<std::size_t>(n, base + kGuestBytes - at);
    std::memcpy(out, reinterpret_cast<const void*>(at), n);
    return n;
  }
};

class ExcludeList : public SitePolicy {
 public:
  ExcludeList(const std::uint64_t* list, std::size_t n, bool dots) : list_(list), n_(n), dots_(dots) {}
  Treatment treatment(Address site, bool fp64) const override {
    if (fp64) return listed(site) ? Treatment::fp64 : Treatment::emulate64;
    return listed(site) ? Treatment::exclude : Treatment::emulate;
  }
  Treatment bf16_treatment(Address site, Bf16 kind) const override {
    return kind == Bf16::dot && dots_ && !listed(site) ? Treatment::emulate : Treatment::bf16;
  }

 private:
  bool listed(Address site) const { return std::find(list_, list_ + n_, site) != list_ + n_; }

  const std::uint64_t* list_;
  std::size_t n_;
  bool dots_;
};

class LabTables : public TableSource {
 public:
  void add(std::string_view key, std::span<const std::uint8_t> file) {
    files_.insert_or_assign(std::string(key), std::vector(file.begin(), file.end()));
  }

  const Lookup* table(std::string_view key, std::string_view letters, std::string& problem) override {
    const auto file = files_.find(std::string(key));
    if (file == files_.end()) return nullptr;
    Lookup& lookup = lookups_[file->first + std::string(letters)];
    if (lookup.words.empty()) problem = make_lookup(file->second, letters, lookup);
    return problem.empty() ? &lookup : nullptr;
  }

 private:
  std::map<std::string, std::vector<std::uint8_t>> files_;
  std::map<std::string, Lookup> lookups_;
};

LabTables tables_;

/// One format, by table or not.
bool read_format(const char* text, Format& out) {
  Operator op;
  const std::string word = text;
  if (!operator_from_text(word + "," + word + "," + word + "," + word, op, tables_).empty()) return false;
  out = op.a;
  return true;
}

Translation last_;

Translation translate_with(std::uint64_t entry, const FaseLabOptions& o) {
  Ground& g = ground();
  Operator op, dot;
  if (!g.ready || !operator_from_text(o.operator_spec, op, tables_).empty()) return {};
  if (o.dot_spec != nullptr && !operator_from_text(o.dot_spec, dot, tables_).empty()) return {};
  const Arena arena;
  const ExcludeList policy(o.excluded, o.excluded_count, o.dot_spec != nullptr);
  Request r;
  r.code = &arena;
  r.policy = &policy;
  r.entry = entry;
  const auto base = reinterpret_cast<Address>(g.guest);
  r.bounds = {base, base + kGuestBytes};
  r.op = &op;
  r.dot = o.dot_spec != nullptr ? &dot : nullptr;
  r.machine.avx512 = o.spill512 < 0 ? g.avx512 : o.spill512 != 0;
  r.machine.emit_avx512 = o.isa == FASE_LAB_AVX512;
  r.machine.wide_units = r.machine.dear_fixups = true;
  r.scratch = g.layout;
  r.scratch.vector_slots = std::min(o.vector_slots, kVectorSlots);
  r.limits = {o.instructions, o.fmas, o.scratch_registers, o.loops != 0, o.side_exits != 0, o.passes};
  r.at = reinterpret_cast<Address>(g.code);
  r.out = {g.code, kCodeBytes};
  r.first_counter = o.first_counter;
  return translate(r);
}

void jump_to_landing(std::uint8_t* p) {
  const std::uint8_t jump[6] = {0xff, 0x25, 0, 0, 0, 0};
  const std::uint64_t target = landing();
  std::memcpy(p, jump, 6);
  std::memcpy(p + 6, &target, 8);
}

FaseLabOptions whole(const char* operator_spec, int isa) {
  return {operator_spec, isa, -1, 1024, 512, 32, 1, 1, kAllPasses, kVectorSlots, 0, nullptr, 0, nullptr};
}

/// A guest loop over arrays of FP32 or FP64: loads, one FMA, a store. rcx counts bytes up to rdx; rsi, rdi, r8, r9 are a, b, c, d.
std::uint64_t place_fma_loop(int form, bool wide, bool fp64, std::uint64_t* entry) {
  Ground& g = ground();
  Assembler a({g.guest, 256}, reinterpret_cast<Address>(g.guest));
  const unsigned bits = wide ? 512 : 256;
  // Which register each operand of the form is: op0 zmm0, op1 zmm1, op2 zmm2.
  const int factor_a = form == 0 ? 0 : 1, factor_b = form == 1 ? 0 : 2, addend = form == 0 ? 1 : form == 1 ? 2 : 0;
  const auto element = [](std::uint8_t base) { return Mem{Segment64::none, base, 1, 1, 0}; };
  a.vector(op::vmovups_load, bits, factor_a, 0, element(6));
  a.vector(op::vmovups_load, bits, factor_b, 0, element(7));
  a.vector(op::vmovups_load, bits, addend, 0, element(8));
  *entry = a.here();
  a.vector({2, 1, static_cast<std::uint8_t>(0x98 + 16 * form), false, Tuple::full, fp64 ? Wide::both : Wide::no}, bits, 0, 1, 2);
  a.vector(op::vmovups_store, bits, 0, 0, element(9));
  a.lea(1, Mem::at(1, static_cast<std::int32_t>(bits / 8)));
  a.raw({0x48, 0x39, 0xd1});  // cmp rcx, rdx
  a.branch_back(2, 0);        // jb
  jump_to_landing(g.guest + a.offset());
  return reinterpret_cast<std::uint64_t>(g.guest);
}

class PoolOnly : public ConstantSource {
 public:
  PoolOnly(Assembler& a, Isa isa) : a_(a), isa_(isa) {}
  Rm constant(std::uint32_t value) override {
    return {Mem{Segment64::none, kPool, kNoRegister, 1, static_cast<std::int64_t>(a_.constant(value))}, isa_ == Isa::avx512};
  }
  Rm constant64(std::uint64_t value) override {
    return {Mem{Segment64::none, kPool64, kNoRegister, 1, static_cast<std::int64_t>(a_.constant64(value))}, isa_ == Isa::avx512};
  }

 private:
  Assembler& a_;
  Isa isa_;
};

template <class Number>
std::size_t lanes(int isa) {
  return (isa == FASE_LAB_AVX512 ? 64 : 32) / sizeof(Number);
}

bool can_run(int isa) { return ground().ready && (isa == FASE_LAB_AVX512 ? ground().avx512 : ground().avx2); }

/// Whole vectors straight from the arrays, the rest through padded copies.
template <class Call>
void in_vectors(std::size_t n, std::size_t width, Call call) {
  const std::size_t whole_part = n - n % width;
  if (whole_part) call(0, whole_part, false);
  if (n % width) call(whole_part, n - whole_part, true);
}

}  // namespace
}  // namespace fase::lab

using namespace fase::lab;
using namespace fase::core;

EXPORT int fase_lab_version() { return 1; }

EXPORT int fase_lab_machine() { return (can_run(FASE_LAB_AVX2) ? 1 : 0) | (can_run(FASE_LAB_AVX512) ? 2 : 0); }

namespace {

template <class Number>
int fma_over_arrays(const char* operator_spec, int isa, int form, const Number* a, const Number* b, const Number* c, Number* d, size_t n) {
  if (!can_run(isa) || form < 0 || form > 2) return -1;
  std::uint64_t entry = 0;
  const bool wide = isa == FASE_LAB_AVX512;
  const std::uint64_t start = place_fma_loop(form, wide, sizeof(Number) == 8, &entry);
  const FaseLabOptions options = whole(operator_spec, isa);
  const Translation t = translate_with(entry, options);
  if (t.status != TranslateStatus::ok) return -1;
  // The guest's loads run natively up to the FMA, which from now on leads into the region.
  Ground& g = ground();
  Assembler patch({reinterpret_cast<std::uint8_t*>(entry), 5}, entry);
  patch.jump(reinterpret_cast<Address>(g.code));
  in_vectors(n, lanes<Number>(isa), [&](std::size_t from, std::size_t count, bool padded) {
    Number buffer[4][16] = {};
    const Number* in[3] = {a + from, b + from, c + from};
    Number* out = d + from;
    if (padded) {
      for (int k = 0; k < 3; ++k) std::memcpy(buffer[k], in[k], count * sizeof(Number)), in[k] = buffer[k];
      out = buffer[3];
    }
    FaseLabState s{};
    FaseLabFault fault;
    s.mxcsr = 0x1f80;
    s.rflags = 0x202;
    s.gpr[6] = reinterpret_cast<std::uint64_t>(in[0]);
    s.gpr[7] = reinterpret_cast<std::uint64_t>(in[1]);
    s.gpr[8] = reinterpret_cast<std::uint64_t>(in[2]);
    s.gpr[9] = reinterpret_cast<std::uint64_t>(out);
    s.gpr[2] = (padded ? lanes<Number>(isa) : count) * sizeof(Number);
    run(start, s, fault, &t, reinterpret_cast<std::uint64_t>(g.code));
    if (padded) std::memcpy(d + from, buffer[3], count * sizeof(Number));
  });
  return 0;
}

/// Runs what `write` emits (destination `result`, source 0, temporaries from 2 on, random bits 6) over an array. `random`: null, or the bits of each.
template <class Number, class Write>
void over_array(int isa, int result, const Number* x, const std::uint32_t* random, Number* out, std::size_t n, Write write) {
  Ground& g = ground();
  const bool wide = isa == FASE_LAB_AVX512;
  const unsigned bits = wide ? 512 : 256;
  Assembler a({g.code, 4096}, reinterpret_cast<Address>(g.code));
  PoolOnly pool(a, wide ? Isa::avx512 : Isa::avx2);
  const int temporary[4] = {2, 3, 4, 5};
  // rdi: source, rsi: destination, rdx: vectors, rcx: random bits
  a.vector(op::vmovups_load, bits, 0, 0, Mem::at(7, 0));
  if (random != nullptr) a.vector(op::vmovups_load, bits, 6, 0, Mem::at(1, 0));
  write(a, pool, wide ? Isa::avx512 : Isa::avx2, bits, temporary);
  a.vector(op::vmovups_store, bits, result, 0, Mem::at(6, 0));
  for (const int pointer : {7, 6, 1}) a.lea(pointer, Mem::at(static_cast<std::uint8_t>(pointer), static_cast<std::int32_t>(bits / 8)));
  a.raw({0x48, 0xff, 0xca});  // dec rdx
  a.branch_back(5, 0);        // jnz
  a.raw({0xc5, 0xf8, 0x77});  // vzeroupper
  a.raw({0xc3});
  a.write_pool(wide ? 4 : 32);
  const auto call = reinterpret_cast<void (*)(const Number*, Number*, std::size_t, const std::uint32_t*)>(g.code);
  in_vectors(n, lanes<Number>(isa), [&](std::size_t from, std::size_t count, bool padded) {
    const std::uint32_t* words = random == nullptr ? nullptr : random + from;
    if (!padded) return call(x + from, out + from, count / lanes<Number>(isa), words);
    Number buffer[16] = {};
    std::uint32_t some[16] = {};
    std::memcpy(buffer, x + from, count * sizeof(Number));
    if (words != nullptr) std::memcpy(some, words, count * 4);
    call(buffer, buffer, 1, some);
    std::memcpy(out + from, buffer, count * sizeof(Number));
  });
}

/// out[i] = x[i] rounded; `random`: null, or the random bits of each.
int round_array(const Format& f, int isa, int care, const float* x, const std::uint32_t* random, float* out, std::size_t n) {
  const bool finite = (care & FASE_LAB_FINITE) != 0;
  const int result = care & FASE_LAB_IN_PLACE ? 0 : 1;
  over_array(isa, result, x, random, out, n, [&](Assembler& a, ConstantSource& pool, Isa chosen, unsigned bits, const int* temporary) {
    Rounder{chosen, f, (care & FASE_LAB_NAN_FIX) != 0, {false, finite, finite}, 6, 0, 1}.emit(a, pool, bits, result, 0, temporary);
  });
  return 0;
}

}  // namespace

EXPORT int fase_lab_fma(const char* operator_spec, int isa, int form, const float* a, const float* b, const float* c, float* d, size_t n) {
  return fma_over_arrays(operator_spec, isa, form, a, b, c, d, n);
}

EXPORT int fase_lab_fma64(const char* operator_spec, int isa, int form, const double* a, const double* b, const double* c, double* d, size_t n) {
  return fma_over_arrays(operator_spec, isa, form, a, b, c, d, n);
}

EXPORT int fase_lab_round64(const char* format, int isa, const double* x, double* out, size_t n) {
  Operator op;
  const std::string word(format);
  if (!can_run(isa) || !operator_from_text("e8m23,e8m23,e8m23,e8m23;" + word + "," + word + "," + word + "," + word, op, tables_).empty()) return -1;
  const Format64& f = op.fp64.a;
  if (!Rounder64::supports(f)) return -1;
  over_array(isa, 1, x, nullptr, out, n, [&](Assembler& a, ConstantSource& pool, Isa chosen, unsigned bits, const int* temporary) {
    Rounder64(a, pool, chosen, f, bits, 0, 1, temporary).emit();
  });
  return 0;
}

EXPORT const char* fase_lab_table(const char* key, const uint8_t* file, size_t n) {
  static std::string problem;
  Lookup lookup;
  problem = make_lookup({file, n}, "inu", lookup);
  if (problem.empty()) tables_.add(key, {file, n});
  return problem.empty() ? nullptr : problem.c_str();
}

EXPORT int fase_lab_round(const char* format, int isa, int care, const float* x, float* out, size_t n) {
  Format f;
  if (!can_run(isa) || !read_format(format, f) || !Rounder::supports(f) || f.is_stochastic()) return -1;
  if (!f.is_fp32()) return round_array(f, isa, care, x, nullptr, out, n);
  std::memmove(out, x, n * 4);
  return 0;
}

EXPORT int fase_lab_round_randomly(const char* format, int isa, const float* x, const uint32_t* random, float* out, size_t n) {
  Format f;
  if (!can_run(isa) || !read_format(format, f) || !Rounder::supports(f) || !f.is_stochastic()) return -1;
  return round_array(f, isa, FASE_LAB_NAN_FIX, x, random, out, n);
}

EXPORT const uint32_t* fase_lab_random(uint32_t seed, uint32_t thread) {
  *ground().stream = random_stream(seed, thread);
  return &ground().stream->position;
}

EXPORT uint64_t fase_lab_guest(const uint8_t* code, size_t n, size_t offset) {
  Ground& g = ground();
  if (!g.ready || offset + n + 16 > kGuestBytes) return 0;
  std::memcpy(g.guest + offset, code, n);
  jump_to_landing(g.guest + offset + n);
  return reinterpret_cast<std::uint64_t>(g.guest + offset);
}

EXPORT int fase_lab_translate(uint64_t entry, const FaseLabOptions* options, FaseLabTranslation* out) {
  last_ = translate_with(entry, *options);
  *out = {};
  out->status = static_cast<int>(last_.status);
  out->code = reinterpret_cast<std::uint64_t>(ground().code);
  out->size = last_.size;
  out->segments = static_cast<std::uint32_t>(last_.segments.size());
  out->marks = static_cast<std::uint32_t>(last_.marks.size());
  out->extents = static_cast<std::uint32_t>(last_.guest.size());
  for (std::size_t i = 0; i < last_.segments.size() && i < 64; ++i) {
    const Segment& s = last_.segments[i];
    out->segment[i] = {s.emulated,    s.excluded,     s.fp64,    s.fp64_emulated, s.dots_emulated, s.dots,
                       s.conversions, s.instructions, s.chunked, s.bounded,       s.unbounded};
  }
  for (std::size_t i = 0; i < last_.guest.size() && i < 16; ++i) {
    out->extent[i][0] = last_.guest[i].begin;
    out->extent[i][1] = last_.guest[i].end;
  }
  return out->status;
}

EXPORT int fase_lab_run(uint64_t address, FaseLabState* state, FaseLabFault* fault) {
  return run(address, *state, *fault, &last_, reinterpret_cast<std::uint64_t>(ground().code));
}

EXPORT uint64_t* fase_lab_counters(int reset, int forget) {
  Ground& g = ground();
  if (reset) std::fill(g.counters, g.counters + kCounters, 0);
  *g.counter_pointer = forget ? nullptr : g.counters;
  return g.counters;
}

EXPORT double fase_lab_translate_ns(uint64_t entry, const FaseLabOptions* options, int repeat) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (int i = 0; i < repeat; ++i) translate_with(entry, *options);
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / repeat;
}

EXPORT int fase_lab_decode(const uint8_t* code, size_t n, uint64_t address, FaseLabInsn* out) {
  Insn k;
  *out = {};
  if (!decode(code, n, address, k)) return 0;
  *out = {k.length,
          static_cast<std::uint32_t>(k.flow),
          static_cast<std::uint32_t>(k.encoding),
          k.vector_bits,
          k.reads.vectors,
          k.writes.vectors,
          k.kills.vectors,
          k.reads.gprs,
          k.writes.gprs,
          k.kills.gprs,
          k.reads.opmasks,
          k.writes.opmasks,
          k.flags_read,
          k.flags_written,
          k.flags_killed,
          static_cast<std::uint32_t>(k.bf16),
          k.fma.present,
          k.fma.form,
          static_cast<std::uint32_t>(k.fma.kind),
          k.fma.fp64,
          k.fma.scalar,
          k.mask,
          k.zeroing,
          k.broadcast,
          k.embedded_rounding,
          k.memory.present,
          k.memory.bytes,
          k.memory.reads,
          k.memory.writes,
          k.memory.base,
          k.memory.index,
          k.memory.scale,
          k.memory.disp,
          k.target};
  return 1;
}

namespace {

struct NamedOp {
  const char* name;
  VectorOp op;
  int fixed_reg;  // -1: as given; else the opcode extension, with the destination in vvvv
};

constexpr NamedOp kNamed[] = {
    {"vmovups_load", op::vmovups_load, -1},
    {"vmovups_store", op::vmovups_store, -1},
    {"vmovss", op::vmovss, -1},
    {"vmovss_store", op::vmovss_store, -1},
    {"vpgatherdd", op::vpgatherdd, -1},
    {"vbroadcastss", op::vbroadcastss, -1},
    {"vpand", op::vpand, -1},
    {"vpor", op::vpor, -1},
    {"vpaddd", op::vpaddd, -1},
    {"vpcmpgtd", op::vpcmpgtd, -1},
    {"vblendvps", op::vblendvps, -1},
    {"vpternlogd", op::vpternlogd, -1},
    {"vfixupimmps", op::vfixupimmps, -1},
    {"vfpclassps", op::vfpclassps, -1},
    {"vpsrld", op::vpsrld_imm, 2},
    {"vpsrad", op::vpsrad_imm, 4},
    {"vpandn", op::vpandn, -1},
    {"vpxor", op::vpxor, -1},
    {"vpsubd", op::vpsubd, -1},
    {"vpcmpeqd", op::vpcmpeqd, -1},
    {"vpminud", op::vpminud, -1},
    {"vpmaxud", op::vpmaxud, -1},
    {"vpmulld", op::vpmulld, -1},
    {"vpsrlvd", op::vpsrlvd, -1},
    {"vpcmpd", op::vpcmpd, -1},
    {"vpcmpud", op::vpcmpud, -1},
    {"vptestmd", op::vptestmd, -1},
    {"vaddps", op::vaddps, -1},
    {"vmulps", op::vmulps, -1},
    {"vsubps", op::vsubps, -1},
    {"vcmpps", op::vcmpps, -1},
    {"vrangeps", op::vrangeps, -1},
    {"vroundps", op::vroundps, -1},
    {"vcvttps2dq", op::vcvttps2dq, -1},
    {"vcvtdq2ps", op::vcvtdq2ps, -1},
    {"vldmxcsr", op::vldmxcsr, 2},
    {"vstmxcsr", op::vstmxcsr, 3},
    {"vcvtps2ph", op::vcvtps2ph, -1},
    {"vcvtph2ps", op::vcvtph2ps, -1},
    {"vmovupd_load", op::vmovupd_load, -1},
    {"vmovsd", op::vmovsd, -1},
    {"vbroadcastsd", op::vbroadcastsd, -1},
    {"vmovddup", op::vmovddup, -1},
    {"vpandq", op::vpandq, -1},
    {"vpandnq", op::vpandnq, -1},
    {"vporq", op::vporq, -1},
    {"vpxorq", op::vpxorq, -1},
    {"vpaddq", op::vpaddq, -1},
    {"vpsubq", op::vpsubq, -1},
    {"vpsrlq", op::vpsrlq_imm, 2},
    {"vpsraq", op::vpsraq_imm, 4},
    {"vpsllvq", op::vpsllvq, -1},
    {"vpsrlvq", op::vpsrlvq, -1},
    {"vpcmpgtq", op::vpcmpgtq, -1},
    {"vpcmpeqq", op::vpcmpeqq, -1},
    {"vblendvpd", op::vblendvpd, -1},
    {"vpmaxuq", op::vpmaxuq, -1},
    {"vpminuq", op::vpminuq, -1},
    {"vpternlogq", op::vpternlogq, -1},
    {"vfixupimmpd", op::vfixupimmpd, -1},
    {"vaddpd", op::vaddpd, -1},
    {"vsubpd", op::vsubpd, -1},
};

bool other_op(Assembler& a, const char* name, int reg, int vvvv, const Mem& m) {
  if (!std::strcmp(name, "set")) return a.set(reg, static_cast<std::uint64_t>(m.disp)), true;
  if (!std::strcmp(name, "kmovq_load")) return a.load_opmask(reg, m), true;
  if (!std::strcmp(name, "kmovq_store")) return a.store_opmask(m, reg), true;
  if (!std::strcmp(name, "kxnorw")) return a.fill_opmask(reg), true;
  if (!std::strcmp(name, "test_byte")) return a.test_byte(m, static_cast<std::uint8_t>(vvvv)), true;
  if (!std::strcmp(name, "kortestw")) return a.test_opmasks(reg, vvvv), true;
  if (!std::strcmp(name, "mov_load")) return a.load(reg, m), true;
  if (!std::strcmp(name, "mov_store")) return a.store(m, reg), true;
  if (!std::strcmp(name, "lea")) return a.lea(reg, m), true;
  if (!std::strcmp(name, "inc")) return a.inc(m), true;
  return false;
}

bool vector_op(const char* name, VectorOp& op, int* fixed) {
  *fixed = -1;
  unsigned opcode = 0;
  char kind = 'p';
  if (std::sscanf(name, "fma:%x:%c", &opcode, &kind) >= 1) {
    const bool fp64 = std::strstr(name, ":d") != nullptr;
    const Tuple scalar = fp64 ? Tuple::two : Tuple::scalar;
    op = {2, 1, static_cast<std::uint8_t>(opcode), false, kind == 's' ? scalar : Tuple::full, fp64 ? Wide::both : Wide::no};
    return true;
  }
  for (const NamedOp& n : kNamed) {
    if (std::strcmp(n.name, name)) continue;
    op = n.op;
    *fixed = n.fixed_reg;
    return true;
  }
  return false;
}

}  // namespace

EXPORT size_t fase_lab_assemble(const char* name, int bits, int reg, int vvvv, const FaseLabOperand* rm, int mask, int zeroing, int imm, int rounding,
                                uint64_t at, uint8_t* out) {
  Assembler a({out, 32}, at);
  const auto byte = [](int v) { return static_cast<std::uint8_t>(v); };
  const Mem m{static_cast<Segment64>(rm->segment), byte(rm->base), byte(rm->index), byte(rm->scale), rm->disp};
  if (other_op(a, name, reg, vvvv, m)) return a.offset();
  VectorOp op{};
  int fixed = -1;
  if (!vector_op(name, op, &fixed)) return 0;
  const Mods mods{byte(mask), zeroing != 0, static_cast<std::int16_t>(imm), static_cast<std::int8_t>(rounding)};
  const Rm last = rm->memory ? Rm(m, rm->broadcast != 0) : Rm(rm->reg);
  a.vector(op, static_cast<unsigned>(bits), fixed >= 0 ? fixed : reg, fixed >= 0 ? reg : vvvv, last, mods);
  return a.offset();
}
