// "Did you mean": the one of several names that is near a mistyped one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace farport {

// Insertions, deletions, substitutions and swaps of neighbours that make `a` of `b` (optimal string
// alignment), without regard to case.
size_t edit_distance(std::string_view a, std::string_view b);

// The nearest of `candidates`, if it is near enough to be meant: at most a third of the letters
// wrong, or the only one that contains `name`. Empty: none.
std::string nearest(std::string_view name, std::span<const std::string> candidates);

// "; did you mean X?", or nothing.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

}  // namespace farport
