#include "bench/report.h"

#include <algorithm>
#include <cstdio>
#include <sstream>
#include <stdexcept>

#include "bench/machine.h"
#include "engine/atomic_file.h"

namespace vg::bench {

namespace {

const char* const csv_head =
    "benchmark,name,shape,direction,implementation,ms_median,ms_fastest,ms_slowest,gflops,gb_per_s,"
    "percent_of_peak,bound_by,speed_ratio,error\n";

double rate(double amount, double seconds) {
  return seconds > 0 ? 1e-9 * amount / seconds : 0;
}

}  // namespace

Report::Report(std::string benchmark, const Options& options)
    : benchmark_(std::move(benchmark)), options_(options) {
  if (options_.once) return;
  std::printf("voxgrad-bench %s\n", benchmark_.c_str());
  for (const auto& [name, value] : describe_machine(options_)) {
    std::printf("  %s: %s\n", name.c_str(), value.c_str());
    machine_[name] = value;
  }
  peaks_ = measure_peaks(options_);
  std::printf("  measured now: %s peak %.0f GFLOP/s, copy peak %.1f GB/s\n", options_.dtype.c_str(),
              peaks_.gflops, peaks_.copy_gbs);
  std::printf("  %d runs after %d, median and (slowest - fastest) / median\n\n", options_.runs,
              options_.warmup);
  print_head();
}

void Report::print_head() const {
  std::printf("%-15s %-34s %-8s %-22s %9s %7s %8s %7s %7s %-7s %7s %8s\n", "row", "shape", "pass", "by", "ms",
              "spread", "GFLOP/s", "GB/s", "of peak", "bound", "speed", "error");
}

Deviation Report::check(const Race& race, const Contestant& contestant) const {
  contestant.run(0);
  Context::get().synchronize(options_.where());
  if (!options_.check || !contestant.check) return {};
  const Deviation deviation = contestant.check();
  if (deviation.error <= deviation.bound) return deviation;  // false for NaN
  std::ostringstream message;
  message << race.name << ' ' << race.direction << ", " << contestant.name << ": wrong result: deviates by "
          << deviation.error << " of the values' root mean square from sums in double, allowed is "
          << deviation.bound;
  throw std::runtime_error(message.str());
}

Timing Report::time(const Race& race, const Contestant& contestant) const {
  const auto body = [&](int i) { contestant.run(i % race.sets); };
  if (options_.cpu_time) return measure_cpu_time(body, options_.warmup, options_.runs);
  return measure_on(options_.where(), body, options_.warmup, options_.runs);
}

void Report::race(const Race& race) {
  raced_ = true;
  if (options_.once) {
    race.contestants.front().run(0);
    Context::get().synchronize(options_.where());
    std::printf("%-15s %-34s %-8s done\n", race.name.c_str(), race.shape.c_str(), race.direction.c_str());
    return;
  }
  std::vector<Row> rows;
  for (const Contestant& contestant : race.contestants)
    rows.push_back({&race, &contestant, {}, check(race, contestant), 0});
  peaks_.gflops = compute_peak_gflops(options_);
  compute_peaks_.push_back(peaks_.gflops);
  for (Row& row : rows) row.timing = time(race, *row.contestant);
  double fastest_opponent = 0;
  for (size_t i = 1; i < rows.size(); ++i) {
    const double median = rows[i].timing.median;
    fastest_opponent = i == 1 ? median : std::min(fastest_opponent, median);
    rows[i].ratio = rows[0].timing.median / median;
  }
  rows[0].ratio = fastest_opponent / rows[0].timing.median;
  for (const Row& row : rows) print(row);
  std::fflush(stdout);
}

void Report::print(const Row& row) {
  const Race& race = *row.race;
  const double seconds = row.timing.median, gflops = rate(race.flop, seconds),
               gbs = rate(race.bytes, seconds);
  // Whichever of arithmetic and memory takes longer at its peak is the bound.
  const double compute = gflops / peaks_.gflops, memory = gbs / peaks_.copy_gbs;
  const double percent = 100 * std::max(compute, memory);
  const char* const bound = compute > memory ? "compute" : "memory";
  const double spread = 100 * (row.timing.slowest - row.timing.fastest) / seconds;
  const std::string& by = row.contestant->name;
  char ratio[32] = "-";
  if (race.contestants.size() > 1) std::snprintf(ratio, sizeof ratio, "%.2fx", row.ratio);
  char error[32] = "-";
  if (row.deviation.bound > 0) std::snprintf(error, sizeof error, "%.1e", row.deviation.error);
  std::printf("%-15s %-34s %-8s %-22s %9.3f %6.1f%% %8.0f %7.1f %6.1f%% %-7s %7s %8s\n", race.name.c_str(),
              race.shape.c_str(), race.direction.c_str(), by.c_str(), 1e3 * seconds, spread, gflops, gbs,
              percent, bound, ratio, error);
  std::ostringstream line;
  line << benchmark_ << ',' << race.name << ",\"" << race.shape << "\"," << race.direction << ',' << by << ','
       << 1e3 * seconds << ',' << 1e3 * row.timing.fastest << ',' << 1e3 * row.timing.slowest << ',' << gflops
       << ',' << gbs << ',' << percent << ',' << bound << ',' << row.ratio << ',' << row.deviation.error
       << '\n';
  csv_ += line.str();
  rows_.push_back({{"name", race.name},
                   {"shape", race.shape},
                   {"direction", race.direction},
                   {"implementation", by},
                   {"seconds_median", seconds},
                   {"seconds_min", row.timing.fastest},
                   {"seconds_max", row.timing.slowest},
                   {"gflop", 1e-9 * race.flop},
                   {"bytes", race.bytes},
                   {"gflops", gflops},
                   {"gb_per_s", gbs},
                   {"peak_gflops", peaks_.gflops},
                   {"percent_of_peak", percent},
                   {"bound_by", bound},
                   {"speed_ratio", row.ratio},
                   {"error", row.deviation.error}});
}

void Report::note(const std::string& text) {
  std::printf("  %s\n", text.c_str());
}

void Report::finish() {
  if (!raced_) throw std::runtime_error("nothing to run: no row fits --layer, --filter and --direction");
  if (options_.once) return;
  const auto [low, high] = std::minmax_element(compute_peaks_.begin(), compute_peaks_.end());
  std::printf("\n%s peak before each race: %.0f to %.0f GFLOP/s\n", options_.dtype.c_str(), *low, *high);
  std::printf("speed: of voxgrad relative to its fastest opponent, of an opponent relative to voxgrad\n");
  if (!options_.csv.empty()) write_file_atomically(options_.csv, csv_head + csv_);
  if (options_.json.empty()) return;
  const nlohmann::ordered_json result = {{"benchmark", benchmark_},
                                         {"machine", machine_},
                                         {"device", options_.device},
                                         {"dtype", options_.dtype},
                                         {"opponent", options_.opponent},
                                         {"runs", options_.runs},
                                         {"warmup", options_.warmup},
                                         {"copy_peak_gb_per_s", peaks_.copy_gbs},
                                         {"peak_gflops_lowest", *low},
                                         {"peak_gflops_highest", *high},
                                         {"rows", rows_}};
  write_file_atomically(options_.json, result.dump(2) + "\n");
}

}  // namespace vg::bench
