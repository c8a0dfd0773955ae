// Help with misspelt names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vg::data {

/// The candidate with the smallest edit distance from `word` (Levenshtein); empty without candidates.
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace vg::data
