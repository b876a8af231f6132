// Random number generation: not arithmetic of the model either. A uniform number in [0,1) that is rounded to BF16 becomes 1, its logarithm minus
// infinity, and one normal number in 500 NaN; no machine draws its random numbers on the matrix unit.
#include <algorithm>
#include <iterator>

#include "core/scope/scope.h"

namespace fase::core {
namespace {

// C++ identifiers anywhere in a mangled name: kernels are lambdas nested in templates. ATen, Eigen and TensorFlow, the standard library.
constexpr std::string_view kIdentifiers[] = {
    "normal_kernel",
    "normal_fill",
    "NormalFill16",
    "uniform_kernel",
    "exponential_kernel",
    "bernoulli_scalar_kernel",
    "bernoulli_tensor_kernel",
    "cauchy_kernel",
    "log_normal_kernel",
    "geometric_kernel",
    "random_kernel",
    "random_from_to_kernel",
    "random_full_64_bits_range_kernel",
    "bernoulli_mkl_kernel",
    "exponential_mkl_kernel",
    "uniform_real_distribution",
    "normal_distribution",
    "lognormal_distribution",
    "exponential_distribution",
    "cauchy_distribution",
    "gamma_distribution",
    "generate_canonical",
    "UniformRandomGenerator",
    "NormalRandomGenerator",
    "PhiloxRandom",
    "FillPhiloxRandom",
    "UniformDistribution",
    "NormalDistribution",
    "TruncatedNormalDistribution",
};

// Beginnings of C names: MKL's vector statistics (sRngGaussian and its kernels), NumPy's generators.
constexpr std::string_view kPrefixes[] = {
    "mkl_vsl_",      "__vsl",        "vslNewStream",     "vsRng", "vdRng", "viRng", "random_standard_", "random_uniform",
    "random_normal", "legacy_gauss", "legacy_standard_",
};

/// `name` as an identifier of a mangled name: with its length before it. (`_GLOBAL__N_1` before a length runs into its digits: no look-behind.)
bool names_identifier(std::string_view mangled, std::string_view name) {
  const std::size_t at = mangled.find(name);
  if (at == std::string_view::npos || at < 2) return false;
  const std::size_t n = name.size();
  const std::size_t ones = n % 10, tens = n / 10;
  const bool units_fit = mangled[at - 1] == static_cast<char>('0' + ones);
  return units_fit && (tens == 0 || mangled[at - 2] == static_cast<char>('0' + tens));
}

}  // namespace

bool is_random_generator(std::string_view function) {
  if (function.substr(0, 2) != "_Z") {
    return std::any_of(std::begin(kPrefixes), std::end(kPrefixes), [&](std::string_view p) { return function.substr(0, p.size()) == p; });
  }
  return std::any_of(std::begin(kIdentifiers), std::end(kIdentifiers), [&](std::string_view i) { return names_identifier(function, i); });
}

}  // namespace fase::core
