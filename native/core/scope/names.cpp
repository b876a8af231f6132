#include <algorithm>

#include "core/scope/scope.h"

namespace fase::core {
namespace {

#include "core/scope/names.inc"

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool starts_with_root(std::string_view text, std::string_view root) {
  return text.size() >= root.size() && lower(text[0]) == root[0] && text.substr(1, root.size() - 1) == root.substr(1);
}

/// One `[...]` of a pattern: whether `c` is in it. `pattern` starts after the bracket and is left after the closing one.
bool in_class(std::string_view& pattern, char c) {
  const std::size_t end = pattern.find(']');
  const std::string_view members = pattern.substr(0, end);
  pattern.remove_prefix(end + 1);
  for (std::size_t i = 0; i < members.size(); ++i) {
    const bool range = i + 2 < members.size() && members[i + 1] == '-';
    if (range ? c >= members[i] && c <= members[i + 2] : c == members[i]) return true;
    if (range) i += 2;
  }
  return false;
}

bool matches(std::string_view pattern, std::string_view text) {
  while (!pattern.empty()) {
    const char p = pattern.front();
    pattern.remove_prefix(1);
    if (p == '*') {
      for (std::size_t i = 0; i <= text.size(); ++i)
        if (matches(pattern, text.substr(i))) return true;
      return false;
    }
    if (p == '@') {
      for (const std::string_view root : kRoots)
        if (starts_with_root(text, root) && matches(pattern, text.substr(root.size()))) return true;
      return false;
    }
    if (text.empty()) return false;
    if (p == '[' ? !in_class(pattern, text.front()) : p != '?' && p != text.front()) return false;
    text.remove_prefix(1);
  }
  return text.empty();
}

template <std::size_t N>
bool any_matches(const std::string_view (&patterns)[N], std::string_view text) {
  return std::any_of(std::begin(patterns), std::end(patterns), [&](std::string_view p) { return matches(p, text); });
}

bool digit(char c) { return c >= '0' && c <= '9'; }

/// A length-prefixed identifier at the front of `mangled`; empty when there is none. Leaves `mangled` after it.
std::string_view take_identifier(std::string_view& mangled) {
  std::size_t length = 0, i = 0;
  for (; i < mangled.size() && digit(mangled[i]) && length < 10000; ++i) length = length * 10 + static_cast<std::size_t>(mangled[i] - '0');
  if (i == 0 || mangled.size() - i < length) return {};
  const std::string_view identifier = mangled.substr(i, length);
  mangled.remove_prefix(i + length);
  return identifier;
}

/// Own name of a C++ function: the last component of the leading run of plain components. Template arguments are skipped where they are built-in
/// types (Vectorized<float>); beyond others nothing is read, and the class before them is no function's name.
std::string_view own_name(std::string_view mangled) {
  mangled.remove_prefix(2);  // _Z
  const bool nested = !mangled.empty() && mangled.front() == 'N';
  if (nested) mangled.remove_prefix(1);
  for (const char c : std::string_view("rVKRO"))
    if (nested && !mangled.empty() && mangled.front() == c) mangled.remove_prefix(1);
  if (mangled.substr(0, 2) == "St") mangled.remove_prefix(2);
  std::string_view name;
  for (;;) {
    if (!mangled.empty() && mangled.front() == 'L') mangled.remove_prefix(1);  // internal linkage
    const std::string_view next = take_identifier(mangled);
    if (next.empty()) return name;
    name = next;
    if (!nested) return name;
    if (mangled.size() > 3 && mangled[0] == 'I' && mangled[2] == 'E') mangled.remove_prefix(3);
  }
}

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

/// Without the suffixes of compilers' clones (.isra.0, .part.1, .cold) and of symbol versions (@@GLIBC_2.29).
std::string_view stem(std::string_view name) {
  if (name.substr(0, 4) == "xla.") return name;
  const std::size_t cut = name.find_first_of(".@", 1);
  return cut == std::string_view::npos ? name : name.substr(0, cut);
}

}  // namespace

bool is_transcendental(std::string_view function, std::string_view library, std::size_t fmas) {
  const std::string_view name = stem(function);
  if (name.substr(0, 2) == "_Z" && name.substr(0, 4) != "_ZGV") {
    const std::string_view own = own_name(name);
    return !own.empty() && any_matches(kMangledNames, own);
  }
  if (!name.empty() && any_matches(kArithmeticNames, name)) return false;
  if (any_matches(kLibraries, base_name(library))) return !name.empty() || fmas != 1;
  return !name.empty() && any_matches(kPlainNames, name);
}

}  // namespace fase::core
