// The training run: data, network, loss, optimizer, schedule, validation, checkpoints and logs.
#pragma once

#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/batch_tensors.h"
#include "apps/model_file.h"
#include "apps/run_log.h"
#include "apps/segmentation_scores.h"
#include "apps/terminal.h"
#include "apps/training_step.h"
#include "data/loader.h"
#include "data/sample_cache.h"
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
  std::string augmentation = "none";  ///< preset or transforms, see data/augmentation.h
  /// The seed's mistakes: labels renumbered in each subject, validation on augmented scans.
  bool seed_compat = false;
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
  std::filesystem::path cache;     ///< folder that keeps them on the disk; empty: none
  Device device = Device::cpu;
  DType precision = DType::float32;  ///< of activations
  bool cuda_graph = true;            ///< see TrainingStep
  bool recompute = false;            ///< see Network::set_recompute
  bool resume = false;
};

/// One line for a GPU that fails while a run of this folder is under way: the error, and how to go on.
std::string lost_gpu_message(const std::string& error, const std::filesystem::path& output, int64_t step);

class Trainer {
 public:
  /// Prepares the run: everything that can fail for a reason outside of training fails here. Throws
  /// std::exception with one line.
  Trainer(TrainOptions options, Terminal& terminal);
  ~Trainer();

  /// Trains to the end, or until a signal. Returns the signal, or 0. Throws std::runtime_error if the loss is
  /// no longer finite or the GPU fails (the last checkpoint is kept).
  int run();

  /// The subjects that validate, for a report of the run.
  [[nodiscard]] std::vector<data::SubjectFiles> validation_subjects() const;

 private:
  struct Validation {
    double loss = 0;            ///< the loss that is minimised
    double seed_dice_loss = 0;  ///< softmax, Dice over all classes with smoothing 1: the seed's loss
    std::vector<SubjectScores> subjects;
  };
  enum class Part : uint8_t { train, validation };

  int train();
  /// The next batch of a loader. Says what its samples' cache complains of.
  [[nodiscard]] std::optional<data::Batch> next_batch(data::Loader& loader);

  void open_data();
  void make_model();
  void resume();
  void save_checkpoint();
  void save_best() const;
  [[nodiscard]] ModelFile model_file() const;

  /// The batches of the current epoch, from state_.batch on. Returns the signal that stopped it, or 0.
  int train_epoch();
  /// What augmentation does to the samples of a batch in this epoch: a function of seed, epoch and sample
  /// alone, so that a resumed run draws the same.
  [[nodiscard]] std::vector<std::vector<data::AppliedTransform>> draw_transforms(const data::Batch& batch,
                                                                                 Part part) const;
  /// What a step's line in the log needs, but for the losses, which are still on their way.
  struct StepRecord {
    nlohmann::ordered_json entry, augmentation;
    std::vector<std::string> samples;
    int64_t batches = 0;
    std::string progress;
  };
  /// Says what memory a batch of such samples takes, and how large it could be. Throws std::runtime_error if
  /// it does not fit into the GPU.
  void report_memory(const Samples& samples);
  /// Adds a batch and what was drawn for it.
  void note_batch(StepRecord& record, const data::Batch& batch,
                  std::span<const std::vector<data::AppliedTransform>> transforms) const;
  /// Counts the step that was just launched and completes its record.
  void note_step(StepRecord record, double volumes_per_second);
  /// Takes the losses of all steps but the youngest `steps` and logs them. Throws std::runtime_error if one
  /// is not finite.
  void settle(size_t steps);
  void end_epoch();
  [[nodiscard]] Validation validate();
  /// Validates and keeps the weights if they are the best so far.
  Validation score();
  [[nodiscard]] bool finished() const;
  [[nodiscard]] int64_t batches_per_epoch() const;

  TrainOptions options_;
  Terminal& terminal_;
  const data::BratsEdition& edition_;
  data::Preprocessing preprocessing_;
  data::Augmentation augmentation_;
  data::SubjectList subjects_;
  data::Split split_;
  std::unique_ptr<data::SampleCache> cache_;  ///< null: none
  std::unique_ptr<data::Loader> train_loader_, validation_loader_;

  Rng rng_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  TrainingState state_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<TrainingStep> step_;
  bool memory_reported_ = false;
  std::deque<StepRecord> unsettled_;  ///< steps launched whose losses were not yet read
  std::optional<Pace> pace_;
  Pace epoch_clock_{0};
};

}  // namespace vg::apps
