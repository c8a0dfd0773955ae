// The smallest autograd that works as engine/autograd.cpp does: scalars, two operations, reverse mode. Its
// page is engine/README.md.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

struct Node;

/// What autograd knows about a value: shared by all copies of it and by the nodes that take it as input.
struct Meta {
  double grad = 0;
  std::shared_ptr<Node> node;  // the operation that made the value; null for leaves
};

struct Scalar {
  double value;
  std::shared_ptr<Meta> meta = std::make_shared<Meta>();
};

/// One recorded operation: its inputs, and how the gradient of its output becomes gradients of them.
struct Node {
  std::vector<std::shared_ptr<Meta>> inputs;
  std::function<void(double grad_output)> backward;
  int depth = 0;  // longest path from a leaf
};

Scalar record(double value, const std::vector<Scalar>& inputs, std::function<void(double)> backward) {
  auto node = std::make_shared<Node>();
  for (const Scalar& input : inputs) {
    node->inputs.push_back(input.meta);
    if (input.meta->node) node->depth = std::max(node->depth, input.meta->node->depth + 1);
  }
  node->backward = std::move(backward);
  Scalar output{value};
  output.meta->node = std::move(node);
  return output;
}

Scalar operator+(const Scalar& a, const Scalar& b) {
  return record(a.value + b.value, {a, b}, [da = a.meta, db = b.meta](double dy) {
    da->grad += dy;  // +=, for a value may be used twice
    db->grad += dy;
  });
}

Scalar operator*(const Scalar& a, const Scalar& b) {
  return record(a.value * b.value, {a, b}, [a, b](double dy) {  // saves its inputs: db needs a
    a.meta->grad += dy * b.value;
    b.meta->grad += dy * a.value;
  });
}

void backward(const Scalar& root) {
  std::vector<std::shared_ptr<Meta>> tape{root.meta};
  std::unordered_set<const Meta*> seen{root.meta.get()};
  for (size_t i = 0; i < tape.size(); ++i) {
    if (!tape[i]->node) continue;
    const auto inputs = tape[i]->node->inputs;
    for (const auto& input : inputs) {
      if (seen.insert(input.get()).second) tape.push_back(input);
    }
  }
  std::erase_if(tape, [](const auto& meta) { return !meta->node; });
  // Deeper nodes first: when a node runs, all that adds to its gradient has run.
  std::stable_sort(tape.begin(), tape.end(),
                   [](const auto& a, const auto& b) { return a->node->depth > b->node->depth; });
  root.meta->grad = 1;
  for (const auto& meta : tape) meta->node->backward(meta->grad);
}

int main() {
  Scalar w{0.5}, b{0.0};  // fits y = 3 x - 1
  for (int step = 0; step < 200; ++step) {
    w.meta->grad = b.meta->grad = 0;
    Scalar loss{0};
    for (const double x : {-1.0, 0.0, 1.0, 2.0}) {
      const Scalar error = w * Scalar{x} + b + Scalar{-(3 * x - 1)};
      loss = loss + error * error;
    }
    backward(loss);
    w.value -= 0.05 * w.meta->grad;
    b.value -= 0.05 * b.meta->grad;
    if (step < 4) std::printf("step %3d  loss %9.6f  w %.4f  b %.4f\n", step, loss.value, w.value, b.value);
  }
  const bool found = std::abs(w.value - 3) < 1e-4 && std::abs(b.value + 1) < 1e-4;
  std::printf("w = %.4f, b = %.4f: %s\n", w.value, b.value, found ? "y = 3 x - 1 found" : "not found");
  return found ? 0 : 1;
}
