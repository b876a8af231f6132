// The agent's start-up options (native/abi/agent.h), parsed and checked.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "core/numerics/operator.h"
#include "core/region/translate.h"

namespace fase::runtime {

struct Rule {
  bool include = false;
  std::string glob;
  bool operator==(const Rule&) const = default;
};

/// Functions or libraries that run under an operator of their own.
struct OperatorRule {
  std::string glob;
  bool follow = false;  // no operator: they follow the mode, and later rules do not matter
  std::string mode;
  core::Operator op;
  bool operator==(const OperatorRule&) const = default;
};

/// Which code is emulated, and which has an operator of its own.
struct Policy {
  bool scope_all = false;
  std::vector<Rule> rules;
  std::vector<OperatorRule> operator_rules;                  // first match wins
  enum class Dots { native, run, own } dots = Dots::native;  // VDPBF16PS: as it is, under the mode, under `dot_op`
  std::string dot_mode;
  core::Operator dot_op;
  bool operator==(const Policy&) const = default;
};

struct Options {
  std::string mode;
  core::Operator op;
  Policy policy;
  enum class Isa { automatic, avx2, avx512 } isa = Isa::automatic;
  std::string directory;
  core::Limits limits;
  unsigned chunk_pages = 16;
  int wide_units = -1;  // instead of what the CPU says
};

/// Parses `text`; returns an empty string, or what is wrong.
std::string parse_options(std::string_view text, Options& out);

/// An operator's text form (docs/operators.md); its tables are in `directory`. Empty, or why there is no such operator or no code for it.
std::string parse_operator(std::string_view text, std::string_view directory, core::Operator& out);

/// The names of the modes that code can be in under `policy` when `mode` is the mode of what no rule names.
std::vector<std::string_view> mode_names(const Policy& policy, std::string_view mode);

/// Why VDPBF16PS cannot run as `policy` wants it, `op` being the mode's operator; empty when it can.
std::string dot_problem(const Policy& policy, const core::Operator& op);

/// Shell-style match with * and ?.
bool glob_matches(std::string_view glob, std::string_view text);

}  // namespace fase::runtime
