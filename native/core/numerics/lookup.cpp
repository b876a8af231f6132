#include "core/numerics/lookup.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace fase::core {
namespace {

constexpr std::string_view kMagic = "FASETAB1";
constexpr std::size_t kHeader = 16;
constexpr std::uint32_t kMostValues = 65536;
constexpr unsigned kFewestBucketBits = 9, kMostBucketBits = 16;  // sign and exponent; 256 KiB of buckets
constexpr unsigned kFewSteps = 1;
constexpr std::int32_t kBeyond = std::numeric_limits<std::int32_t>::max();  // as a limit: above every number

constexpr std::int32_t key_of(std::uint32_t encoding) {
  const std::uint32_t magnitude = encoding & kMagnitude;
  return static_cast<std::int32_t>(encoding & kSignBit ? ~magnitude : magnitude);
}

/// As a limit -0 is not above +0, nor the other way round.
constexpr std::int32_t limit_key(std::uint32_t encoding) { return (encoding & kMagnitude) == 0 ? -1 : key_of(encoding); }

constexpr bool is_nan(std::uint32_t encoding) { return (encoding & kMagnitude) > kInfinity; }

struct File {
  std::vector<std::uint32_t> values, limits;
};

std::string read(std::span<const std::uint8_t> bytes, File& out) {
  const auto word = [&](std::size_t at) {
    std::uint32_t w = 0;
    std::memcpy(&w, bytes.data() + at, 4);
    return w;
  };
  if (bytes.size() < kHeader || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return "it does not begin with FASETAB1";
  const std::uint32_t count = word(8);
  if (count < 2 || count > kMostValues) return "it does not hold 2 to 65536 values";
  if (word(12) != 0) return "bytes 12 to 15 are not zero";
  if (bytes.size() != kHeader + 8 * std::size_t{count} - 4) return "its size is not that of its number of values";
  for (std::size_t i = 0; i < count; ++i) out.values.push_back(word(kHeader + 4 * i));
  for (std::size_t i = 0; i + 1 < count; ++i) out.limits.push_back(word(kHeader + 4 * (count + i)));
  return {};
}

std::string check(const File& f) {
  const auto end = f.values.size() - 1;
  for (std::size_t i = 0; i <= end; ++i) {
    const std::uint32_t v = f.values[i];
    if (is_nan(v) || v == kSignBit) return "a value is a NaN or -0";
    if ((v & kMagnitude) == kInfinity && i != 0 && i != end) return "an infinity is neither its first nor its last value";
  }
  if (end == 1 && (f.values[0] & f.values[1] & kInfinity) == kInfinity) return "it has no finite value";
  for (std::size_t i = 0; i < end; ++i) {
    if (key_of(f.values[i]) >= key_of(f.values[i + 1])) return "its values are not ascending";
    const std::int32_t limit = limit_key(f.limits[i]);
    if (is_nan(f.limits[i]) || limit <= key_of(f.values[i]) || limit > key_of(f.values[i + 1])) return "a limit is not between its values";
  }
  return {};
}

/// Number of limits that are not above x, so the number of the value that x rounds to.
std::size_t rank(const std::vector<std::int32_t>& limits, std::int32_t x) {
  return static_cast<std::size_t>(std::upper_bound(limits.begin(), limits.end(), x) - limits.begin());
}

std::uint32_t bucket(std::int32_t key, unsigned bits) { return static_cast<std::uint32_t>(key) >> (32 - bits); }

/// Most limits that a bucket of finite numbers holds.
std::uint32_t fullest(const std::vector<std::int32_t>& limits, unsigned bits) {
  std::uint32_t most = 0, n = 0, last = 0;
  for (const std::int32_t limit : limits) {
    const std::uint32_t b = bucket(limit, bits);
    if (b == bucket(key_of(kInfinity), bits) || b == bucket(key_of(kInfinity | kSignBit), bits)) continue;
    n = n > 0 && b == last ? n + 1 : 1;
    last = b;
    most = std::max(most, n);
  }
  return most;
}

bool policies(std::string_view letters, Format& out) {
  if (letters.size() != 3) return false;
  const auto infinity = std::string_view("inm").find(letters[0]), nan = std::string_view("nzm").find(letters[1]);
  if (infinity == std::string_view::npos || nan == std::string_view::npos || (letters[2] != 's' && letters[2] != 'u')) return false;
  out.infinity = static_cast<Beyond>(infinity);
  out.nan = static_cast<NanRule>(nan);
  out.signed_zero = letters[2] == 's';
  return true;
}

void set_stability(const File& file, Format& f) {
  const bool infinite = (file.values.back() & kMagnitude) == kInfinity || (file.values.front() & kMagnitude) == kInfinity;
  const bool nan_stays = f.nan == NanRule::nan || f.infinity != Beyond::nan;
  f.holds_zero = std::find(file.values.begin(), file.values.end(), 0u) != file.values.end();
  f.stable_lookup = nan_stays && (f.nan != NanRule::zero || f.holds_zero) && (!infinite || f.infinity != Beyond::nan);
}

class Builder {
 public:
  Builder(const File& file, Lookup& out) : file_(file), out_(out) {
    for (const std::uint32_t limit : file.limits) limits_.push_back(limit_key(limit));
    unsigned bits = kFewestBucketBits;
    while (bits < kMostBucketBits && fullest(limits_, bits) > kFewSteps) ++bits;
    out_.bucket_bits = static_cast<std::uint8_t>(bits);
    out_.steps = static_cast<std::uint8_t>(std::bit_width(fullest(limits_, bits)));
    padding_ = std::size_t{1} << out_.steps;
  }

  /// The negative numbers' part first, so that a zero has their sign there; then the others'; then one value for each infinity.
  void build() {
    std::vector<std::int32_t> list, values;
    const std::size_t split = rank(limits_, -1);
    const auto begin_negative = add_part(0, split, true, list, values);
    const auto begin_positive = add_part(split, limits_.size(), false, list, values);
    const auto infinite = [&](std::uint32_t encoding, std::uint32_t value) {
      const auto at = list.size();
      list.insert(list.end(), padding_, kBeyond);
      values.insert(values.end(), padding_, static_cast<std::int32_t>(value));
      return std::pair(bucket(key_of(encoding), out_.bucket_bits), static_cast<std::int32_t>(at));
    };
    const auto plus = infinite(kInfinity, infinity(false)), minus = infinite(kInfinity | kSignBit, infinity(true));
    const std::uint32_t buckets = 1u << out_.bucket_bits;
    for (std::uint32_t b = 0; b < buckets; ++b) {
      const auto first = static_cast<std::int32_t>(b << (32 - out_.bucket_bits));
      const auto before = std::lower_bound(limits_.begin(), limits_.end(), first) - limits_.begin();
      const bool negative = b >= buckets / 2;
      out_.words.push_back(static_cast<std::int32_t>(negative ? begin_negative + static_cast<std::size_t>(before)
                                                              : begin_positive + std::max<std::size_t>(before, split) - split));
    }
    out_.words[plus.first] = plus.second;
    out_.words[minus.first] = minus.second;
    out_.limits_at = buckets;
    out_.values_at = static_cast<std::uint32_t>(buckets + list.size());
    out_.words.insert(out_.words.end(), list.begin(), list.end());
    out_.words.insert(out_.words.end(), values.begin(), values.end());
  }

 private:
  /// Limits [first, last) and the values around them; padding behind them.
  std::size_t add_part(std::size_t first, std::size_t last, bool negative, std::vector<std::int32_t>& list, std::vector<std::int32_t>& values) const {
    const std::size_t begin = list.size();
    for (std::size_t i = first; i <= last; ++i) {
      list.push_back(i < last ? limits_[i] : kBeyond);
      values.push_back(static_cast<std::int32_t>(value(i, negative)));
    }
    list.insert(list.end(), padding_, kBeyond);
    values.insert(values.end(), padding_, 0);
    return begin;
  }

  std::uint32_t value(std::size_t i, bool negative) const {
    const std::uint32_t v = file_.values[i];
    return v == 0 && negative && out_.format.signed_zero ? kSignBit : v;
  }

  std::uint32_t infinity(bool negative) const {
    const std::uint32_t x = kInfinity | (negative ? kSignBit : 0);
    switch (out_.format.infinity) {
      case Beyond::nan: return kQuietNan | (negative ? kSignBit : 0);
      case Beyond::largest: return negative ? file_.values.front() : file_.values.back();
      default: return value(rank(limits_, key_of(x)), negative);
    }
  }

  const File& file_;
  Lookup& out_;
  std::vector<std::int32_t> limits_;  // as keys
  std::size_t padding_ = 1;
};

}  // namespace

std::string make_lookup(std::span<const std::uint8_t> bytes, std::string_view letters, Lookup& out) {
  File file;
  out.format = Format{};
  if (!policies(letters, out.format)) return "its policies are not three letters";
  if (std::string problem = read(bytes, file); !problem.empty()) return problem;
  if (std::string problem = check(file); !problem.empty()) return problem;
  out.format.max_positive = file.values.back();
  out.format.max_negative = file.values.front();
  out.format.lookup = &out;
  set_stability(file, out.format);
  Builder(file, out).build();
  return {};
}

}  // namespace fase::core
