#include <engine/copy_on_write.h>
#include <gtest/gtest.h>

#include <vector>

namespace exercise::engine {
namespace {

struct Array {
  Array(std::vector<float> contents, int& copies) : values(std::move(contents)), copies_made(&copies) {}
  Array(const Array& other) : values(other.values), copies_made(other.copies_made) { ++*copies_made; }
  Array& operator=(const Array&) = delete;
  ~Array() = default;
  Array& operator+=(const Array& other) {
    for (size_t i = 0; i < values.size(); ++i) values[i] += other.values[i];
    return *this;
  }
  std::vector<float> values;
  int* copies_made;
};

using Handle = std::shared_ptr<Array>;
using Values = std::vector<float>;

TEST(EngineCopyOnWrite, TheFirstIsKept) {
  int copies = 0;
  const Handle gradient = std::make_shared<Array>(Values{1, 2}, copies);
  Handle x;
  pass(x, gradient);
  ASSERT_NE(x, nullptr);
  EXPECT_EQ(x, gradient) << "the first gradient is the sum: it need not be copied, nor added to zeros";
}

TEST(EngineCopyOnWrite, NobodyElsesArrayChanges) {
  int copies = 0;
  Handle a, b;
  const Handle of_sum = std::make_shared<Array>(Values{1, 2}, copies);
  pass(a, of_sum);  // y = a + b: one gradient for both
  pass(b, of_sum);
  pass(a, std::make_shared<Array>(Values{10, 20}, copies));
  EXPECT_EQ(a->values, (Values{11, 22}));
  EXPECT_EQ(b->values, (Values{1, 2})) << "b has got a part of a's gradient";
  EXPECT_EQ(of_sum->values, (Values{1, 2})) << "the operation's own gradient was written to";
  EXPECT_LE(copies, 1) << "copies for one sum";
}

TEST(EngineCopyOnWrite, WhatIsHeldAloneIsAddedToInPlace) {
  int copies = 0;
  Handle x;
  for (int i = 1; i <= 4; ++i) pass(x, std::make_shared<Array>(Values{static_cast<float>(i)}, copies));
  EXPECT_EQ(x->values, Values{10});
  EXPECT_EQ(copies, 0) << "copies, though nobody else held anything";
}

TEST(EngineCopyOnWrite, TheSameTwice) {
  int copies = 0;
  Handle x;
  {
    const Handle gradient = std::make_shared<Array>(Values{3}, copies);
    pass(x, gradient);  // y = x + x
    pass(x, gradient);
    EXPECT_EQ(gradient->values, Values{3}) << "the gradient of y itself has changed";
  }
  EXPECT_EQ(x->values, Values{6}) << "y = x + x";
  EXPECT_LE(copies, 1);
}

}  // namespace
}  // namespace exercise::engine
