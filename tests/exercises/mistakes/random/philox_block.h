// The key grows before the first round.
#pragma once

#include <array>
#include <cstdint>

namespace exercise::random {

inline std::array<uint32_t, 4> philox_block(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0], b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
  }
  return counter;
}

}  // namespace exercise::random
