#include "core/numerics/text.h"

#include <charconv>

namespace fase::core {
namespace {

constexpr unsigned kMostLiterals = 3, kMostInChunk = 1u << 30;

template <class Number>
bool parse_number(std::string_view text, Number& out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

template <class Bits>
bool parse_encoding(std::string_view text, Bits& out) {
  return text.size() == 2 * sizeof(Bits) && parse_number(text, out, 16);
}

/// Cuts off what stands before `separator` (or everything).
std::string_view take(std::string_view& text, char separator) {
  const auto at = text.find(separator);
  const std::string_view word = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return word;
}

bool parse_beyond(char letter, Beyond& out) {
  if (letter == 'i') out = Beyond::infinity;
  else if (letter == 'n') out = Beyond::nan;
  else if (letter == 'm') out = Beyond::largest;
  else return false;
  return true;
}

template <class F>
bool parse_letters(std::string_view text, F& out) {
  if (text.size() != 4 || !parse_beyond(text[0], out.overflow) || !parse_beyond(text[1], out.infinity)) return false;
  if (text[2] != 'n' && text[2] != 'z' && text[2] != 'm') return false;
  if (text[3] != 's' && text[3] != 'u') return false;
  out.nan = text[2] == 'n' ? NanRule::nan : text[2] == 'z' ? NanRule::zero : NanRule::largest;
  out.signed_zero = text[3] == 's';
  return true;
}

bool parse_deterministic(std::string_view text, Rounding& out) {
  static constexpr std::string_view kNames[] = {"rne", "rtz", "rup", "rdn", "rna", "odd"};
  for (unsigned i = 0; i < 6; ++i) {
    if (text != kNames[i]) continue;
    out = static_cast<Rounding>(i);
    return true;
  }
  return false;
}

bool parse_rounding(std::string_view text, Format64& out) { return parse_deterministic(text, out.rounding); }

bool parse_rounding(std::string_view text, Format& out) {
  if (parse_deterministic(text, out.rounding)) return true;
  out.rounding = Rounding::sr;
  const unsigned dropped = 23u - out.mantissa_bits;
  return text.substr(0, 2) == "sr" && parse_number(text.substr(2), out.random_bits) && out.random_bits >= 1 &&
         out.random_bits <= (dropped == 0 ? 1 : dropped);
}

bool sane(const Format& f) {
  if (f.mantissa_bits > 23 || f.min_exponent < -126 || f.min_exponent > 127 || f.quantum() < -149) return false;
  return f.least < kInfinity && f.max_positive > 0 && f.max_positive < kInfinity && f.max_negative > kSignBit &&
         f.max_negative < kSignBit + kInfinity;
}

bool sane(const Format64& f) {
  if (f.mantissa_bits > 52 || f.min_exponent < -1022 || f.min_exponent > 1023 || f.quantum() < -1074) return false;
  return f.least < kInfinity64 && f.max_positive > 0 && f.max_positive < kInfinity64 && f.max_negative > kSignBit64 &&
         f.max_negative < kSignBit64 + kInfinity64;
}

/// m/emin/least/max+/max-/letters/rounding
template <class F>
bool parse_grid(std::string_view text, F& out) {
  if (!parse_number(take(text, '/'), out.mantissa_bits) || !parse_number(take(text, '/'), out.min_exponent)) return false;
  if (!parse_encoding(take(text, '/'), out.least) || !parse_encoding(take(text, '/'), out.max_positive)) return false;
  return parse_encoding(take(text, '/'), out.max_negative) && parse_letters(take(text, '/'), out) && sane(out) && parse_rounding(text, out);
}

/// key/letters
bool parse_table(std::string_view text, TableSource& tables, Format& out, std::string& problem) {
  const std::string_view key = take(text, '/');
  const bool is_key = key.size() == 16 && key.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  const Lookup* lookup = is_key && text.size() == 3 ? tables.table(key, text, problem) : nullptr;
  if (lookup != nullptr) out = lookup->format;
  return lookup != nullptr;
}

bool parse_literals(std::string_view text, Operator& out) {
  for (Format* f : {&out.a, &out.b, &out.c, &out.d})
    if (!parse_number(take(text, '.'), f->literals) || f->literals < 1 || f->literals > kMostLiterals) return false;
  return text.empty();
}

bool parse_products(std::string_view text, Operator& out) {
  out.product_count = 0;
  while (!text.empty()) {
    const std::string_view pair = take(text, '.');
    if (pair.size() != 2 || out.product_count == 9) return false;
    const Operator::Product p{static_cast<std::uint8_t>(pair[0] - '0'), static_cast<std::uint8_t>(pair[1] - '0')};
    if (p.a >= out.a.literals || p.b >= out.b.literals) return false;
    out.products[out.product_count++] = p;
  }
  return out.product_count > 0;
}

std::string wrong(std::string_view what, std::string_view value) { return std::string(what) + " '" + std::string(value) + "'"; }

std::string parse_option(std::string_view word, Operator& out) {
  std::string_view value = word;
  const std::string_view key = take(value, '=');
  if (word == "exact") out.exact = true;
  else if (key == "literals" && parse_literals(value, out)) return {};
  else if (key == "products" && parse_products(value, out)) return {};
  else if (key == "seed" && parse_encoding(value, out.seed)) return {};
  else if (key == "chunk" && parse_number(value, out.chunk) && out.chunk >= 1 && out.chunk <= kMostInChunk) return {};
  else return wrong("an operator has no option", word);
  return {};
}

/// One format. False when it is not one; `problem` when more can be said.
bool parse_format(std::string_view text, TableSource& tables, Format& out, std::string& problem) {
  if (text.substr(0, 3) == "t1/") return parse_table(text.substr(3), tables, out, problem);
  if (text.substr(0, 3) == "g1/") return parse_grid(text.substr(3), out);
  unsigned m = 0;
  if (text.substr(0, 3) != "e8m" || !parse_number(text.substr(3), m) || m < 1 || m > 23) return false;
  out = Format::ieee(m);
  return true;
}

bool parse_format(std::string_view text, Format64& out) {
  if (text.substr(0, 3) == "g2/") return parse_grid(text.substr(3), out);
  unsigned m = 0;
  if (text.substr(0, 4) != "e11m" || !parse_number(text.substr(4), m) || m < 1 || m > 52) return false;
  out = Format64::ieee(m);
  return true;
}

/// The formats of double-precision FMAs. Empty, or what is wrong.
std::string parse_double(std::string_view text, Operator64& out) {
  out.active = true;
  for (Format64* f : {&out.a, &out.b, &out.c, &out.d})
    if (const std::string_view word = take(text, ','); !parse_format(word, *f)) return wrong("not a format on the binary64 grid:", word);
  return text.empty() ? std::string() : wrong("double-precision operators have no option", text);
}

}  // namespace

std::string operator_from_text(std::string_view text, Operator& out, TableSource& tables) {
  out = Operator{};
  if (const auto semicolon = text.find(';'); semicolon != std::string_view::npos) {
    if (std::string problem = parse_double(text.substr(semicolon + 1), out.fp64); !problem.empty()) return problem;
    text = text.substr(0, semicolon);
  }
  for (Format* f : {&out.a, &out.b, &out.c, &out.d}) {
    const std::string_view word = take(text, ',');
    std::string problem;
    const bool is_format = parse_format(word, tables, *f, problem);
    if (!problem.empty()) return problem;
    if (!is_format) return wrong("not the description of a format:", word);
  }
  while (!text.empty())
    if (std::string problem = parse_option(take(text, ','), out); !problem.empty()) return problem;
  return {};
}

}  // namespace fase::core
