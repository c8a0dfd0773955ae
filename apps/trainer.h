// The training run: data, network, loss, optimizer, schedule, validation, checkpoints and logs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/model_file.h"
#include "apps/run_log.h"
#include "apps/segmentation_scores.h"
#include "apps/terminal.h"
#include "data/loader.h"
#include "data/split.h"
#include "engine/optimizer.h"
#include "engine/scheduler.h"
#include "nets/network.h"

namespace vg::apps {

/// Everything that decides the result of a run. The same options give the same weights, bit for bit.
struct TrainOptions {
  std::filesystem::path data;    ///< a data set in BraTS layout
  std::filesystem::path output;  ///< run folder: checkpoints, logs, split
  std::filesystem::path init;    ///< weights to start from; decides the architecture
  std::filesystem::path split_file;
  int year = 2020;  ///< BraTS edition: file names and labels
  std::vector<std::string> channels = data::default_channels();
  std::string preprocessing = "brats";
  Architecture architecture;

  int64_t epochs = 50;
  int64_t max_steps = 0;  ///< 0: no limit
  int64_t batch_size = 1;
  int64_t accumulate = 1;  ///< batches for each optimizer step
  bool shuffle = true;
  uint64_t seed = 0;

  std::string loss = "dice_ce";  ///< dice, cross_entropy or dice_ce
  double dice_smooth = 1e-5;
  std::string optimizer = "adam";  ///< adam, adamw or sgd
  double learning_rate = 1e-3;
  double weight_decay = 0;
  double momentum = 0.9;          ///< of sgd
  double clip_norm = 0;           ///< 0: no clipping
  std::string schedule = "poly";  ///< constant, step, poly, cosine or plateau, by epochs
  int64_t schedule_step = 10;
  double schedule_gamma = 0.9;  ///< factor of step and plateau, power of poly
  int64_t warmup_epochs = 0;    ///< of cosine
  int64_t patience = 10;        ///< of plateau

  int64_t checkpoint_every = 100;  ///< steps; at the end of each epoch in any case
  double cache_gigabytes = 4;      ///< preprocessed samples kept in memory
  Device device = Device::cpu;
  bool resume = false;
};

class Trainer {
 public:
  /// Prepares the run: everything that can fail for a reason outside of training fails here. Throws
  /// std::exception with one line.
  Trainer(TrainOptions options, Terminal& terminal);
  ~Trainer();

  /// Trains to the end, or until a signal. Returns the signal, or 0. Throws std::runtime_error if the loss is
  /// no longer finite (the last checkpoint is kept).
  int run();

 private:
  struct Validation {
    double loss = 0;
    std::vector<SubjectScores> subjects;
  };

  void open_data();
  void make_model();
  void resume();
  void save_checkpoint();
  void save_best() const;
  [[nodiscard]] ModelFile model_file() const;

  /// The batches of the current epoch, from state_.batch on. Returns the signal that stopped it, or 0.
  int train_epoch();
  /// Forward and backward of one batch; returns its loss. The gradient is weighted by 1 / accumulate.
  double accumulate_gradients(const data::Batch& batch);
  void optimizer_step(double loss, double step_seconds);
  void end_epoch();
  [[nodiscard]] Validation validate() const;
  /// Validates and keeps the weights if they are the best so far.
  Validation score();
  [[nodiscard]] bool finished() const;
  [[nodiscard]] int64_t batches_per_epoch() const;

  TrainOptions options_;
  Terminal& terminal_;
  const data::BratsEdition& edition_;
  data::Preprocessing preprocessing_;
  data::SubjectList subjects_;
  data::Split split_;
  std::unique_ptr<data::Loader> train_loader_, validation_loader_;

  Rng rng_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  TrainingState state_;
  std::unique_ptr<RunLog> log_;
  std::optional<Pace> pace_;
  Pace epoch_clock_{0};
};

/// The batch's images as [N, D, H, W, C] and labels as uint8 [N, D, H, W, 1], on the device. Throws
/// data::DataError if samples of one batch differ in size, naming them.
struct BatchTensors {
  Tensor images, labels;
};
BatchTensors batch_tensors(const std::vector<std::shared_ptr<const data::Sample>>& samples, Device device);

}  // namespace vg::apps
