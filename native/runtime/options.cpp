#include "runtime/options.h"

#include <charconv>

#include "core/emit/emittable.h"
#include "core/numerics/text.h"
#include "runtime/tables.h"
#include "runtime/thread.h"

namespace fase::runtime {
namespace {

bool parse_number(std::string_view text, unsigned& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string wrong(std::string_view what, std::string_view value) { return std::string(what) + " '" + std::string(value) + "'"; }

std::string parse_limit(std::string_view key, std::string_view value, Options& out) {
  unsigned number = 0;
  if (!parse_number(value, number)) return wrong("not a number:", value);
  if (key == "limit.instructions") out.limits.instructions = number;
  else if (key == "limit.fmas") out.limits.fmas = number;
  else if (key == "limit.scratch_registers") out.limits.scratch_registers = number;
  else if (key == "limit.loops") out.limits.loops = number != 0;
  else if (key == "limit.side_exits") out.limits.side_exits = number != 0;
  else if (key == "limit.passes") out.limits.passes = number;
  else if (key == "limit.wide_units" && number <= 1) out.wide_units = static_cast<int>(number);
  else if (key == "limit.chunk_pages" && number >= 1 && number <= 4096) out.chunk_pages = number;
  else return wrong("unknown or out of range limit", key);
  return {};
}

std::string parse_isa(std::string_view value, Options& out) {
  if (value == "auto") out.isa = Options::Isa::automatic;
  else if (value == "avx2") out.isa = Options::Isa::avx2;
  else if (value == "avx512") out.isa = Options::Isa::avx512;
  else return wrong("unknown isa", value);
  return {};
}

std::string parse_scope(std::string_view value, Options& out) {
  if (value != "math" && value != "all") return wrong("unknown scope", value);
  out.policy.scope_all = value == "all";
  return {};
}

std::string parse_operator_rule(std::string_view value, Options& out) {
  auto first = value.find('|');
  auto second = first == std::string_view::npos ? first : value.find('|', first + 1);
  if (second == std::string_view::npos) return wrong("rule is not GLOB|MODE|OPERATOR:", value);
  OperatorRule rule;
  rule.glob = value.substr(0, first);
  rule.mode = value.substr(first + 1, second - first - 1);
  rule.follow = value.substr(first + 1) == "|";
  if (rule.follow) rule.mode.clear();
  else if (std::string problem = parse_operator(value.substr(second + 1), out.directory, rule.op); !problem.empty()) return problem;
  out.policy.operator_rules.push_back(std::move(rule));
  return {};
}

std::string parse_dots(std::string_view value, Options& out) {
  out.policy.dots = value == "run" ? Policy::Dots::run : Policy::Dots::own;
  if (out.policy.dots == Policy::Dots::run) return {};
  auto bar = value.find('|');
  if (bar == std::string_view::npos) return wrong("bf16 is not run or MODE|OPERATOR:", value);
  out.policy.dot_mode = value.substr(0, bar);
  return parse_operator(value.substr(bar + 1), out.directory, out.policy.dot_op);
}

std::string_view directory_in(std::string_view text) {
  constexpr std::string_view kKey = "directory=";
  while (!text.empty() && !text.starts_with(kKey)) {
    const auto end = text.find('\n');
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return text.empty() ? text : text.substr(kKey.size(), text.find('\n') - kKey.size());
}

std::string parse_pair(std::string_view key, std::string_view value, Options& out) {
  if (key == "mode") out.mode = value;
  else if (key == "operator") return parse_operator(value, out.directory, out.op);
  else if (key == "rounding") return value == "rne" ? std::string() : wrong("unknown rounding", value);
  else if (key == "scope") return parse_scope(value, out);
  else if (key == "isa") return parse_isa(value, out);
  else if (key == "exclude") out.policy.rules.push_back({false, std::string(value)});
  else if (key == "include") out.policy.rules.push_back({true, std::string(value)});
  else if (key == "rule") return parse_operator_rule(value, out);
  else if (key == "bf16") return parse_dots(value, out);
  else if (key == "directory") out.directory = value;
  else if (key.starts_with("limit.")) return parse_limit(key, value, out);
  else if (key == "version") return value == "1" ? std::string() : wrong("options of another version:", value);
  else return wrong("unknown option", key);
  return {};
}

}  // namespace

std::string parse_operator(std::string_view text, std::string_view directory, core::Operator& out) {
  if (std::string problem = core::operator_from_text(text, out, tables_in(directory)); !problem.empty()) return problem;
  std::string problem = core::obstacle(out);
  if (out.chunk != 0 && scratch_layout().totals == 0)
    problem = "chunk=N is for programs that `fase run` starts; a process that runs already has no room for the totals";
  return problem.empty() ? problem : "this agent cannot emit the operator: " + problem;
}

std::vector<std::string_view> mode_names(const Policy& policy, std::string_view mode) {
  std::vector<std::string_view> names{mode};
  if (policy.dots == Policy::Dots::own) names.push_back(policy.dot_mode);
  for (const OperatorRule& rule : policy.operator_rules)
    if (!rule.follow) names.push_back(rule.mode);
  return names;
}

std::string dot_problem(const Policy& policy, const core::Operator& op) {
  std::string problem;
  if (policy.dots == Policy::Dots::own) problem = core::dot_obstacle(policy.dot_op);
  if (policy.dots == Policy::Dots::run) {
    problem = core::dot_obstacle(op);
    for (const OperatorRule& rule : policy.operator_rules)
      if (problem.empty()) problem = core::dot_obstacle(rule.op);
  }
  return problem.empty() ? problem : "VDPBF16PS cannot run under the operator: " + problem;
}

std::string parse_options(std::string_view text, Options& out) {
  out.directory = directory_in(text);  // operators on the lines before it want it
  while (!text.empty()) {
    auto end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.empty()) continue;
    auto equals = line.find('=');
    if (equals == std::string_view::npos) return wrong("not key=value:", line);
    if (std::string problem = parse_pair(line.substr(0, equals), line.substr(equals + 1), out); !problem.empty()) return problem;
  }
  if (out.mode.empty()) return "no mode";
  if (out.directory.empty()) return "no directory";
  return {};
}

bool glob_matches(std::string_view glob, std::string_view text) {
  std::size_t g = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (g < glob.size() && (glob[g] == '?' || glob[g] == text[t]) && glob[g] != '*') {
      ++g, ++t;
    } else if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

}  // namespace fase::runtime
