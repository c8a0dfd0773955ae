#include "apps/trainer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "apps/signals.h"
#include "apps/training_curves.h"
#include "engine/memory_plan.h"
#include "kernels/common/check.h"
#include "layers/dice.h"
#include "layers/dice_cross_entropy.h"
#include "layers/softmax.h"

namespace vg::apps {

namespace {

std::vector<std::string> as_ids(const std::vector<data::SubjectFiles>& subjects) {
  std::vector<std::string> ids;
  for (const data::SubjectFiles& subject : subjects) ids.push_back(subject.id);
  return ids;
}

std::unique_ptr<Schedule> make_schedule(const TrainOptions& o) {
  if (o.schedule == "constant") return make_constant_schedule();
  if (o.schedule == "step") return make_step_schedule(o.schedule_step, o.schedule_gamma);
  if (o.schedule == "poly") return make_polynomial_schedule(o.epochs, o.schedule_gamma);
  if (o.schedule == "cosine")
    return make_cosine_schedule(o.warmup_epochs, o.epochs, o.warmup_epochs > 0 ? 0.1 : 0);
  if (o.schedule == "plateau") {
    return make_plateau_schedule({.maximise = true, .factor = o.schedule_gamma, .patience = o.patience});
  }
  throw std::invalid_argument("--schedule " + o.schedule +
                              ": expected constant, step, poly, cosine or plateau");
}

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& o, const Network& network) {
  std::vector<ParameterGroup> groups = {{network.named_parameters(), o.learning_rate, o.weight_decay}};
  if (o.optimizer == "sgd")
    return make_sgd(std::move(groups), {.momentum = o.momentum, .nesterov = o.momentum > 0});
  if (o.optimizer == "adam" || o.optimizer == "adamw") {
    return make_adam(std::move(groups), {.decoupled_weight_decay = o.optimizer == "adamw"});
  }
  throw std::invalid_argument("--optimizer " + o.optimizer + ": expected adam, adamw or sgd");
}

Tensor loss_of(const TrainOptions& o, const Tensor& logits, const Tensor& labels) {
  DiceCrossEntropyParams params;
  params.dice.smooth_numerator = params.dice.smooth_denominator = static_cast<float>(o.dice_smooth);
  params.lambda_dice = o.loss == "cross_entropy" ? 0 : 1;
  params.lambda_ce = o.loss == "dice" ? 0 : 1;
  return dice_cross_entropy_loss(logits, labels, params);
}

/// The seed's Dice: smoothing 1 above and below, background included.
DiceParams seed_dice() {
  DiceParams params;
  params.smooth_numerator = params.smooth_denominator = 1;
  return params;
}

std::vector<int64_t> in_order(size_t count) {
  return data::epoch_order(static_cast<int64_t>(count), 0, 0, false);
}

}  // namespace

Trainer::Trainer(TrainOptions options, Terminal& terminal)
    : options_(std::move(options)),
      terminal_(terminal),
      edition_(data::brats_edition(options_.year)),
      preprocessing_(data::Preprocessing::parse(options_.preprocessing)),
      augmentation_(data::Augmentation::parse(options_.augmentation)),
      rng_(options_.seed) {
  make_model();  // first: what the network needs of its input's size is part of the preprocessing
  open_data();
  if (options_.resume) resume();
  log_ = std::make_unique<RunLog>(options_.output, state_.step, state_.epoch);
  if (!options_.resume) save_checkpoint();  // a run killed before its first checkpoint resumes from here
}

Trainer::~Trainer() = default;

std::string lost_gpu_message(const std::string& error, const std::filesystem::path& output, int64_t step) {
  return error + "; the GPU gave up after step " + std::to_string(step) +
         ", but the last checkpoint is kept: check the GPU (nvidia-smi, dmesg), then go on with train "
         "--resume --output " +
         output.string();
}

std::vector<data::SubjectFiles> Trainer::validation_subjects() const {
  std::vector<data::SubjectFiles> subjects;
  for (const std::string& id : split_.validation) subjects.push_back(subjects_.find(id));
  return subjects;
}

void Trainer::open_data() {
  const data::Warn warn = [this](const std::string& line) { terminal_.warn(line); };
  subjects_ =
      data::list_subjects(options_.data, {options_.year, options_.channels, data::Purpose::training}, warn);
  const std::vector<std::string> ids = as_ids(subjects_.subjects);
  split_ = options_.split_file.empty() ? data::split_by_order(ids)
                                       : data::read_split(options_.split_file, ids, warn);
  data::write_split(options_.output / "split.json", split_);

  if (!options_.cache.empty()) {
    cache_ = std::make_unique<data::SampleCache>(options_.cache, options_.channels, preprocessing_,
                                                 edition_.schema);
  }
  const auto loader = [&](const std::vector<std::string>& part, int64_t batch_size, double share) {
    const auto load = [this, part](int64_t index) {
      const data::SubjectFiles& files = subjects_.find(part[static_cast<size_t>(index)]);
      data::Sample sample = cache_ != nullptr ? cache_->load(files)
                                              : data::load_subject(files, options_.channels, preprocessing_,
                                                                   edition_.schema, data::Purpose::training);
      if (options_.seed_compat) data::renumber_sequentially(sample.labels);
      return sample;
    };
    data::LoaderOptions loader_options;
    loader_options.batch_size = batch_size;
    loader_options.cache_bytes = static_cast<size_t>(options_.cache_gigabytes * share * 1e9);
    return std::make_unique<data::Loader>(load, loader_options);
  };
  train_loader_ = loader(split_.train, options_.batch_size, 0.8);
  validation_loader_ = loader(split_.validation, 1, 0.2);
  terminal_.say(std::to_string(split_.train.size()) + " subjects train, " +
                std::to_string(split_.validation.size()) + " validate");
}

std::optional<data::Batch> Trainer::next_batch(data::Loader& loader) {
  std::optional<data::Batch> batch = loader.next();
  if (cache_ != nullptr) {
    for (const std::string& line : cache_->take_warnings()) terminal_.warn(line);
  }
  return batch;
}

void Trainer::make_model() {
  std::optional<ModelFile> init;
  if (!options_.init.empty()) {
    init = load_model_file(options_.init);
    options_.architecture = init->description.architecture;
  }
  Architecture& architecture = options_.architecture;
  const auto channels = static_cast<int64_t>(options_.channels.size());
  if (init && architecture.in_channels != channels) {
    throw std::runtime_error(options_.init.string() + ": the network takes " +
                             std::to_string(architecture.in_channels) + " channels, expected " +
                             std::to_string(channels) + " (--channels)");
  }
  if (init && architecture.out_channels != edition_.schema.classes()) {
    throw std::runtime_error(options_.init.string() + ": the network gives " +
                             std::to_string(architecture.out_channels) + " classes, expected " +
                             std::to_string(edition_.schema.classes()) + " of the label schema " +
                             edition_.schema.name);
  }
  architecture.in_channels = channels;
  architecture.out_channels = edition_.schema.classes();
  network_ = make_network(architecture, options_.device, rng_);
  network_->set_recompute(options_.recompute);
  preprocessing_ = preprocessing_.padded_to_multiple(network_->extent_multiple());
  if (init) {
    try {
      network_->load_state(init->weights);
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(options_.init.string() + ": " + error.what());
    }
  }
  optimizer_ = make_optimizer(options_, *network_);
  schedule_ = make_schedule(options_);
  step_ = std::make_unique<TrainingStep>(
      *network_, *optimizer_,
      [this](const Tensor& logits, const Tensor& labels) { return loss_of(options_, logits, labels); },
      options_.device,
      TrainingStep::Options{options_.precision, options_.accumulate, options_.clip_norm,
                            options_.cuda_graph});
  state_.random_draws = rng_.draws();
}

void Trainer::resume() {
  const std::filesystem::path file = options_.output / "last.safetensors";
  ModelFile model = load_model_file(file);
  if (!model.training) {
    throw std::runtime_error(file.string() +
                             ": holds weights, but no training state; use --init to start from weights");
  }
  if (model.description.preprocessing != preprocessing_.text() ||
      model.description.channels != options_.channels) {
    throw std::runtime_error(
        file.string() + ": was trained with other channels or preprocessing; resume with the same options");
  }
  try {
    network_->load_state(model.weights);
    optimizer_->load_state(model.optimizer);
    schedule_->load_state(model.training->schedule);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(file.string() + ": " + error.what() + "; resume with the options of the run");
  }
  state_ = *model.training;
  rng_ = Rng(options_.seed, state_.random_draws);
  terminal_.say("resuming after step " + std::to_string(state_.step));
}

ModelFile Trainer::model_file() const {
  return {{network_->architecture(), options_.channels, edition_.schema.name, preprocessing_.text()},
          network_->state(),
          {},
          {}};
}

void Trainer::save_checkpoint() {
  settle(0);  // no checkpoint holds a step whose loss was not finite
  state_.random_draws = rng_.draws();
  state_.schedule = schedule_->state();
  ModelFile model = model_file();
  model.training = state_;
  model.optimizer = optimizer_->state();
  save_model_file(options_.output / "last.safetensors", model);
}

void Trainer::save_best() const {
  save_model_file(options_.output / "best.safetensors", model_file());
}

int64_t Trainer::batches_per_epoch() const {
  const auto subjects = static_cast<int64_t>(split_.train.size());
  return (subjects + options_.batch_size - 1) / options_.batch_size;
}

bool Trainer::finished() const {
  return state_.epoch >= options_.epochs || (options_.max_steps > 0 && state_.step >= options_.max_steps);
}

int Trainer::train() {
  const StopSignals signals;
  const int64_t steps_per_epoch = (batches_per_epoch() + options_.accumulate - 1) / options_.accumulate;
  int64_t total = steps_per_epoch * options_.epochs;
  if (options_.max_steps > 0) total = std::min(total, options_.max_steps);
  pace_.emplace(std::max<int64_t>(0, total - state_.step));
  while (!finished()) {
    if (const int signal = train_epoch(); signal != 0) {
      save_checkpoint();
      terminal_.say("stopped after step " + std::to_string(state_.step) + "; go on with --resume");
      return signal;
    }
  }
  if (state_.batch > 0)
    score();  // stopped by max_steps within an epoch: validate once, so that there is a best checkpoint
  save_checkpoint();
  terminal_.end_status();
  return 0;
}

int Trainer::run() {
  try {
    return train();
  } catch (const kernels::CudaError& error) {
    throw std::runtime_error(lost_gpu_message(error.what(), options_.output, state_.step));
  }
}

int Trainer::train_epoch() {
  network_->train(true);
  optimizer_->set_rate_factor(schedule_->factor(state_.epoch));
  std::vector<int64_t> order = data::epoch_order(static_cast<int64_t>(split_.train.size()), options_.seed,
                                                 state_.epoch, options_.shuffle);
  order.erase(order.begin(), order.begin() + std::min(static_cast<int64_t>(order.size()),
                                                      state_.batch * options_.batch_size));
  train_loader_->start_epoch(std::move(order));

  epoch_clock_ = Pace(batches_per_epoch());
  double step_start = 0;
  StepRecord record;
  while (!finished()) {
    const std::optional<data::Batch> batch = next_batch(*train_loader_);
    if (!batch) break;
    if (!memory_reported_) report_memory(batch->samples);
    const auto transforms = draw_transforms(*batch, Part::train);
    note_batch(record, *batch, transforms);
    ++state_.batch;
    step_->run(batch->samples, transforms, state_.batch >= batches_per_epoch());
    if (!step_->updated()) continue;

    const double now = epoch_clock_.seconds();
    const double volumes = static_cast<double>(record.samples.size()) / (now - step_start);
    note_step(std::exchange(record, {}), volumes);
    // A GPU is given the next step before the loss of this one is read.
    settle(options_.device == Device::cuda ? 1 : 0);
    step_start = now;
    if (options_.checkpoint_every > 0 && state_.step % options_.checkpoint_every == 0) save_checkpoint();
    if (StopSignals::received() != 0) return StopSignals::received();
  }
  settle(0);
  if (state_.batch >= batches_per_epoch()) end_epoch();
  return 0;
}

std::vector<std::vector<data::AppliedTransform>> Trainer::draw_transforms(const data::Batch& batch,
                                                                          Part part) const {
  if (augmentation_.empty()) return {};
  // A stream of random numbers for each visit of a sample, apart from those of the network (below 2^62).
  const uint64_t visit =
      (part == Part::train ? uint64_t{2} : uint64_t{3}) << 62 | static_cast<uint64_t>(state_.epoch) << 32;
  std::vector<std::vector<data::AppliedTransform>> transforms;
  for (const int64_t index : batch.indices) {
    data::Draws draws(options_.seed, visit | static_cast<uint64_t>(index));
    transforms.push_back(augmentation_.draw(static_cast<int64_t>(options_.channels.size()), draws));
  }
  return transforms;
}

void Trainer::report_memory(const Samples& samples) {
  memory_reported_ = true;
  // The plan must not change what dropout draws later.
  const Rng before = rng_;
  Shape one = batch_shape(samples), two = one;
  const int64_t size = one[0];
  const size_t planned = step_->planned_bytes(one),
               in_all = options_.device == Device::cpu ? step_->planned_resident_bytes(one) : 0;
  one[0] = 1;
  two[0] = 2;
  const size_t of_one = step_->planned_bytes(one), of_another = step_->planned_bytes(two) - of_one;
  rng_ = before;
  const size_t available = available_memory(options_.device);
  const auto largest =
      available < of_one ? int64_t{0} : static_cast<int64_t>((available - of_one) / of_another) + 1;
  char text[240];
  std::snprintf(text, sizeof text,
                "batches of %lld take %.2f GB%s; %.1f GB are available: up to --batch-size %lld fits%s",
                static_cast<long long>(size), static_cast<double>(in_all > 0 ? in_all : planned) / 1e9,
                in_all > 0 ? " in all" : " beside weights and scratch", static_cast<double>(available) / 1e9,
                static_cast<long long>(largest),
                planned > available && !options_.recompute ? "; --recompute makes batches take less" : "");
  if (available == 0 || planned <= available) return terminal_.say(text);
  if (options_.device == Device::cuda) throw std::runtime_error(text);
  terminal_.warn(text);
}

void Trainer::note_batch(StepRecord& record, const data::Batch& batch,
                         std::span<const std::vector<data::AppliedTransform>> transforms) const {
  ++record.batches;
  for (size_t n = 0; n < batch.samples.size(); ++n) {
    record.samples.push_back(batch.samples[n]->id);
    if (transforms.empty()) continue;
    const std::vector<std::string> texts =
        data::transforms_as_text(transforms[n], static_cast<int64_t>(options_.channels.size()));
    nlohmann::ordered_json entry = nlohmann::ordered_json::object();
    for (size_t image = 0; image < options_.channels.size(); ++image) {
      if (!texts[image].empty()) entry[options_.channels[image]] = texts[image];
    }
    if (!texts.back().empty()) entry["labels"] = texts.back();
    record.augmentation[record.samples.back()] = entry;
  }
}

void Trainer::note_step(StepRecord record, double volumes_per_second) {
  ++state_.step;
  pace_->advance();
  const double wait = 100 * train_loader_->wait_seconds() / std::max(1e-9, epoch_clock_.seconds());
  record.entry = {{"step", state_.step},
                  {"epoch", state_.epoch + 1},
                  {"loss", 0.0},
                  {"lr", optimizer_->learning_rate()},
                  {"volumes_per_second", volumes_per_second},
                  {"data_wait_percent", wait}};
  char text[160];
  std::snprintf(text, sizeof text, "  lr %.2e  %.2f volumes/s  data wait %.1f%%", optimizer_->learning_rate(),
                volumes_per_second, wait);
  record.progress = text;
  unsettled_.push_back(std::move(record));
}

void Trainer::settle(size_t steps) {
  while (unsettled_.size() > steps) {
    StepRecord record = std::move(unsettled_.front());
    unsettled_.pop_front();
    double sum = 0;
    for (int64_t i = 0; i < record.batches; ++i) sum += step_->losses().pop();
    if (!std::isfinite(sum)) {
      std::string ids;
      for (const std::string& id : record.samples) ids += (ids.empty() ? "" : ", ") + id;
      throw std::runtime_error(
          "the loss is " + std::to_string(sum) + " at step " + record.entry["step"].dump() + " (" + ids +
          "); the last checkpoint is kept: resume with a lower --learning-rate or with --clip-norm");
    }
    state_.epoch_loss_sum += sum;
    const double loss = sum / static_cast<double>(record.batches);
    record.entry["loss"] = loss;
    if (options_.clip_norm > 0) record.entry["gradient_norm"] = step_->norms().pop();
    if (!record.augmentation.empty()) record.entry["augmentation"] = std::move(record.augmentation);
    log_->step(record.entry);
    char text[96];
    std::snprintf(text, sizeof text, "epoch %lld  step %s  loss %.4f",
                  static_cast<long long>(state_.epoch + 1), pace_->text().c_str(), loss);
    terminal_.status(text + record.progress);
  }
}

void Trainer::end_epoch() {
  const double train_loss = state_.epoch_loss_sum / static_cast<double>(batches_per_epoch());
  const double rate = optimizer_->learning_rate();
  const double seconds = epoch_clock_.seconds(),
               wait = 100 * train_loader_->wait_seconds() / std::max(1e-9, seconds);
  const Validation validation = score();
  const std::vector<MeanScore> means = mean_scores(validation.subjects, EmptyPolicy::one);
  schedule_->observe(mean_region_dice(means, edition_.schema));

  nlohmann::ordered_json row = {
      {"epoch", state_.epoch + 1},          {"step", state_.step}, {"train_loss", train_loss},
      {"validation_loss", validation.loss}, {"lr", rate},          {"seconds", seconds}};
  for (const MeanScore& mean : means) row["dice_" + mean.name] = mean.dice;
  row["weighted_dice"] = mean_weighted_dice(validation.subjects);
  row["seed_dice_loss"] = validation.seed_dice_loss;
  log_->epoch(row);
  write_training_curves(options_.output / "epochs.csv", options_.output / "curves.png");
  char text[160];
  std::snprintf(text, sizeof text, "epoch %lld/%lld  train loss %.4f  validation loss %.4f ",
                static_cast<long long>(state_.epoch + 1), static_cast<long long>(options_.epochs), train_loss,
                validation.loss);
  std::string line = text;
  for (const data::Region& region : edition_.schema.regions) {
    const auto it =
        std::find_if(means.begin(), means.end(), [&](const MeanScore& m) { return m.name == region.name; });
    std::snprintf(text, sizeof text, " %s %.3f", region.name.c_str(), it->dice);
    line += text;
  }
  std::snprintf(text, sizeof text, "  (%s, data wait %.1f%%)", format_duration(seconds).c_str(), wait);
  terminal_.say(line + text);

  ++state_.epoch;
  state_.batch = 0;
  state_.epoch_loss_sum = 0;
  save_checkpoint();
}

Trainer::Validation Trainer::score() {
  Validation validation = validate();
  const double score = mean_region_dice(mean_scores(validation.subjects, EmptyPolicy::one), edition_.schema);
  if (score > state_.best_score) {
    state_.best_score = score;
    save_best();
  }
  return validation;
}

Trainer::Validation Trainer::validate() {
  const NoGradGuard no_grad;
  network_->train(false);
  Validation validation;
  const double share = 1 / static_cast<double>(split_.validation.size());
  validation_loader_->start_epoch(in_order(split_.validation.size()));
  while (const std::optional<data::Batch> batch = next_batch(*validation_loader_)) {
    const auto transforms = options_.seed_compat ? draw_transforms(*batch, Part::validation)
                                                 : std::vector<std::vector<data::AppliedTransform>>();
    const BatchTensors tensors =
        batch_tensors(batch->samples, step_->uploader(), transforms, options_.precision);
    const Tensor logits = (*network_)(tensors.images);
    validation.loss += loss_of(options_, logits, tensors.labels).item() * share;
    validation.seed_dice_loss += dice_loss(logits, tensors.labels, seed_dice()).item() * share;
    const Tensor classes = argmax(logits);
    ConfusionMatrix matrix(edition_.schema.classes());
    matrix.add(tensors.labels.values<uint8_t>(), classes.values<uint8_t>());
    validation.subjects.push_back(subject_scores(batch->samples.front()->id, matrix, edition_.schema));
  }
  network_->train(true);
  return validation;
}

}  // namespace vg::apps
