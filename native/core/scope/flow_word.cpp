// General registers and stack slots, as far as they lead to constants and spilled values.
#include <algorithm>
#include <cstring>

#include "core/scope/flow.h"

namespace fase::core {
namespace {

constexpr std::size_t kMaxSlots = 256;
constexpr std::uint8_t kRsp = 4, kRbp = 5;
constexpr std::uint16_t kCallClobbers = 0x0fc7;  // rax, rcx, rdx, rsi, rdi, r8-r11

}  // namespace

Word ValueFlow::address(const Op& op) const {
  if (op.index != kNoRegister) return {};
  if (op.base == kRip) return {Word::constant, 0, op.value};
  if (op.base >= 16 || now_.words[op.base].kind == Word::unknown) return {};
  Word w = now_.words[op.base];
  w.value += op.value;
  return w;
}

/// A pointer in memory: spilled, or in a module's constant data (a GOT).
Word ValueFlow::loaded(const Word& at) const {
  if (at.kind == Word::frame) {
    const Slot* s = slot(at);
    return s != nullptr && s->frame == at.id && s->offset == at.value ? s->word : Word{};
  }
  std::uint8_t bytes[8];
  const auto a = static_cast<Address>(at.value);
  if (at.kind != Word::constant || !constants_.is_constant(a) || code_.read(a, bytes, sizeof bytes) != sizeof bytes) return {};
  Word w{Word::constant, 0, 0};
  std::memcpy(&w.value, bytes, sizeof bytes);
  return w;
}

const Slot* ValueFlow::slot(const Word& at) const {
  for (const Slot& s : now_.slots.all())
    if (s.frame == at.id && at.value >= s.offset && at.value < s.offset + static_cast<std::int64_t>(s.bytes)) return &s;
  return nullptr;
}

void ValueFlow::put(const Word& at, std::uint32_t bytes, ValueId vector, const Word& word) {
  if (at.kind != Word::frame || bytes == 0) return;
  const std::int64_t begin = at.value, end = begin + bytes;
  std::vector<Slot>& slots = now_.slots.own();
  std::erase_if(slots, [&](const Slot& s) { return s.frame == at.id && s.offset < end && s.offset + static_cast<std::int64_t>(s.bytes) > begin; });
  if (slots.size() >= kMaxSlots || begin != static_cast<std::int32_t>(begin)) return;
  const Slot s{at.id, static_cast<std::int32_t>(begin), bytes, vector, word};
  slots.insert(std::upper_bound(slots.begin(), slots.end(), s), s);
}

void ValueFlow::call(ValueId id) {
  Value v;
  v.origin = id;
  values_[id] = v;
  std::fill(std::begin(now_.vectors), std::end(now_.vectors), kUnknown);
  now_.vectors[0] = id;
  for (unsigned r = 0; r < 16; ++r)
    if (kCallClobbers >> r & 1) now_.words[r] = Word{};
}

void ValueFlow::stack(const Op& op) {
  Word& rsp = now_.words[kRsp];
  if (op.kind == OpKind::push) {
    rsp.value -= 8;
    put(rsp, 8, kUnknown, op.in[0] < 16 ? now_.words[op.in[0]] : Word{});
    return;
  }
  if (op.kind == OpKind::leave) rsp = now_.words[kRbp];
  const Word w = loaded(rsp);
  rsp.value += 8;
  now_.words[op.kind == OpKind::leave ? kRbp : op.dst & 15] = w;
}

void ValueFlow::set_word(const Op& op) {
  Word* words = now_.words;
  switch (op.kind) {
    case OpKind::gpr_set: words[op.dst & 15] = {Word::constant, 0, op.value}; return;
    case OpKind::gpr_copy: words[op.dst & 15] = words[op.in[0] & 15]; return;
    case OpKind::gpr_add: words[op.dst & 15].value += op.value; return;
    case OpKind::gpr_lea: words[op.dst & 15] = address(op); return;
    case OpKind::gpr_load: words[op.dst & 15] = loaded(address(op)); return;
    case OpKind::gpr_store: return put(address(op), op.bytes, kUnknown, op.in[0] < 16 ? words[op.in[0]] : Word{});
    case OpKind::align_stack: words[kRsp] = {Word::frame, static_cast<std::uint32_t>(op.at), 0}; return;
    case OpKind::clobber:
      for (unsigned r = 0; r < 16; ++r)
        if (op.gprs >> r & 1) words[r] = Word{};
      return;
    default: return;
  }
}

}  // namespace fase::core
