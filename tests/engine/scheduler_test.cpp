#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace vg::test {
namespace {

using Json = nlohmann::json;

std::unique_ptr<Schedule> schedule_of(const Json& c) {
  const std::string kind = c.at("kind");
  const double lr = c.at("lr");
  if (kind == "step") return make_step_schedule(c.at("step_size"), c.at("gamma"));
  if (kind == "polynomial") return make_polynomial_schedule(c.at("total"), c.at("power"));
  if (kind == "warmup_cosine") {
    return make_cosine_schedule(c.at("warmup"), c.at("total"), c.at("start_factor"),
                                c.at("end_lr").get<double>() / lr);
  }
  return make_plateau_schedule({.maximise = c.at("mode") == "max",
                                .factor = c.at("factor"),
                                .patience = c.at("patience"),
                                .threshold = c.at("threshold"),
                                .relative_threshold = c.at("threshold_mode") == "rel",
                                .cooldown = c.at("cooldown"),
                                .min_factor = c.at("min_lr").get<double>() / lr});
}

TEST(Schedule, EqualsPyTorchAndMonai) {
  std::ifstream file(VG_GOLDEN_DIR "/schedules.json");
  const Json cases = Json::parse(file);
  ASSERT_GE(cases.size(), 10u);
  for (const Json& c : cases) {
    const auto schedule = schedule_of(c);
    const auto rates = c.at("rates").get<std::vector<double>>();
    for (size_t epoch = 0; epoch < rates.size(); ++epoch) {
      const double rate = c.at("lr").get<double>() * schedule->factor(static_cast<int64_t>(epoch));
      EXPECT_LE(std::abs(rate - rates[epoch]), 1e-9 * c.at("lr").get<double>())
          << c.dump() << " epoch " << epoch;
      if (c.contains("metrics")) schedule->observe(c.at("metrics").at(epoch));
    }
  }
}

TEST(Schedule, PlateauResumesFromItsState) {
  const PlateauOptions options{.factor = 0.5, .patience = 1, .cooldown = 1};
  const auto whole = make_plateau_schedule(options), first = make_plateau_schedule(options),
             second = make_plateau_schedule(options);
  const std::vector<double> metrics = {1, 1, 1, 1, 0.5, 0.6, 0.6, 0.6, 0.6};
  for (size_t i = 0; i < metrics.size(); ++i) {
    whole->observe(metrics[i]);
    if (i == 3) second->load_state(first->state());
    (i < 3 ? first : second)->observe(metrics[i]);
  }
  EXPECT_LT(whole->factor(0), 1);
  EXPECT_EQ(whole->state(), second->state());
  EXPECT_THROW(make_constant_schedule()->load_state({1}), std::invalid_argument);
}

TEST(Schedule, RefusesImpossibleOptions) {
  EXPECT_THROW(make_step_schedule(0, 0.9), std::invalid_argument);
  EXPECT_THROW(make_polynomial_schedule(0), std::invalid_argument);
  EXPECT_THROW(make_cosine_schedule(5, 5), std::invalid_argument);
}

}  // namespace
}  // namespace vg::test
