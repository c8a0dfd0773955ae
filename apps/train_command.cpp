#include <fstream>
#include <memory>

#include "apps/cli_support.h"
#include "apps/run_lock.h"
#include "apps/run_report.h"
#include "apps/trainer.h"
#include "engine/atomic_file.h"

namespace vg::apps {

namespace {

// The run of the seed: what its notebook does, without its mistakes.
void apply_seed_preset(TrainOptions& o) {
  o.preprocessing = "seed";
  o.channels = data::default_channels();
  o.architecture = Architecture{};
  o.epochs = 28;
  o.batch_size = 8;
  o.loss = "dice";
  o.dice_smooth = 1;
  o.optimizer = "adam";
  o.learning_rate = 2e-2;
  o.schedule = "step";
  o.schedule_step = 10;
  o.schedule_gamma = 0.9;
  o.augmentation = "seed";
}

struct TrainCommand {
  TrainOptions options;
  DeviceOptions device;
  std::string preset = "default", config, channels, network_channels, precision = "auto", cache;
  bool no_shuffle = false, no_augment = false, quiet = false;
  bool evaluate = false, no_evaluate = false, no_cuda_graph = false;
  CLI::App* app = nullptr;

  void add_run_options() {
    app->add_option("--config", config, "TOML file with options by their long names; the command line wins")
        ->configurable(false);
    app->add_option("--preset", preset,
                    "seed: the seed's run (28 epochs, batch 8, Adam 2e-2, Dice); default: z-scores, smaller "
                    "rate and batch, Dice and cross-entropy")
        ->check(CLI::IsMember({"default", "seed"}))
        ->capture_default_str();
    app->add_option("--data", options.data, "data set in BraTS layout: a folder for each subject");
    app->add_option("--output", options.output, "run folder for checkpoints and logs");
    app->add_option("--year", options.year, "BraTS edition of the data: file names and labels")
        ->capture_default_str();
    app->add_option("--channels", channels,
                    "modalities in the order of the input channels, e.g. t1,t2,t1ce,flair");
    app->add_option("--preprocess", options.preprocessing,
                    "brats, seed, none, or steps such as \"to_canonical rescale(0,1) shape_multiple(16)\"");
    app->add_option("--split-file", options.split_file,
                    "JSON {\"train\": [ids], \"validation\": [ids]}; default: the first 80% train");
    app->add_option("--cache-gb", options.cache_gigabytes, "preprocessed subjects kept in memory")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--cache", cache,
                    "folder that keeps preprocessed subjects on the disk (about 20 MB each), for the next "
                    "epochs and runs; \"none\" keeps none; default: `cache` in the run folder");
    app->add_option("--seed", options.seed, "same seed, same weights, bit for bit");
    app->add_flag("--no-shuffle", no_shuffle, "visit the subjects in sorted order");
    app->add_option(
           "--augment", options.augmentation,
           "random transforms of training samples: none, seed, standard, or e.g. \"random_flip(axes=0) "
           "random_noise(p=0.2)\"; `voxgrad transform --list` shows all")
        ->capture_default_str();
    app->add_flag("--no-augment", no_augment, "train on unchanged volumes, whatever the preset says");
    app->add_flag("--seed-compat", options.seed_compat,
                  "repeat the seed's mistakes, to compare with it: labels renumbered in each subject, "
                  "validation on augmented scans, no shuffling, motion about the world's origin, elastic "
                  "deformation with one border free");
    app->add_flag("--evaluate", evaluate,
                  "at the end predict the validation subjects with the best weights, score them and draw "
                  "figures; with --preset seed this is done anyway");
    app->add_flag("--no-evaluate", no_evaluate, "do not, whatever the preset says");
    app->add_flag("--resume", options.resume,
                  "go on from the run folder's last checkpoint, with the options of the run")
        ->configurable(false);
    app->add_flag("-q,--quiet", quiet, "print nothing but errors and warnings")->configurable(false);
    add_device_options(*app, device);
    add_precision_option(*app, precision);
    app->add_flag("--no-cuda-graph", no_cuda_graph, "launch every kernel of every step from the host");
  }

  void add_training_options() {
    app->add_option("--init", options.init, "weights to start from (safetensors; MONAI's names are enough)");
    app->add_option("--network", options.architecture.name, "attention_unet or unet")
        ->check(CLI::IsMember({"attention_unet", "unet"}));
    app->add_option("--network-channels", network_channels, "channels of the levels, e.g. 16,32,64,128,256");
    app->add_option("--dropout", options.architecture.dropout, "probability")->check(CLI::Range(0.0, 0.99));
    app->add_option("--epochs", options.epochs, "visits of the whole training set")
        ->check(CLI::PositiveNumber);
    app->add_option("--max-steps", options.max_steps, "stop after so many optimizer steps; 0: no limit")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--batch-size", options.batch_size, "subjects in a batch")->check(CLI::PositiveNumber);
    app->add_option("--accumulate", options.accumulate, "batches for each optimizer step")
        ->check(CLI::PositiveNumber);
    app->add_flag("--recompute", options.recompute,
                  "compute activations again in backward instead of keeping them: a third less memory "
                  "for about a third more time, and the same weights bit for bit");
    app->add_option("--loss", options.loss, "what is minimised; dice_ce: the sum of Dice and cross-entropy")
        ->check(CLI::IsMember({"dice", "cross_entropy", "dice_ce"}));
    app->add_option("--dice-smooth", options.dice_smooth, "smoothing of Dice, above and below")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--optimizer", options.optimizer, "as in PyTorch")
        ->check(CLI::IsMember({"adam", "adamw", "sgd"}));
    app->add_option("--learning-rate", options.learning_rate, "base rate, before the schedule")
        ->check(CLI::PositiveNumber);
    app->add_option("--weight-decay", options.weight_decay, "decoupled with adamw")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--momentum", options.momentum, "of sgd (Nesterov)")->check(CLI::Range(0.0, 0.9999));
    app->add_option("--clip-norm", options.clip_norm, "largest norm of the gradient; 0: no clipping")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--schedule", options.schedule, "of the learning rate, by epochs")
        ->check(CLI::IsMember({"constant", "step", "poly", "cosine", "plateau"}));
    app->add_option("--schedule-step", options.schedule_step, "epochs between the steps of `step`")
        ->check(CLI::PositiveNumber);
    app->add_option("--schedule-gamma", options.schedule_gamma,
                    "factor of `step` and `plateau`, power of `poly`")
        ->check(CLI::PositiveNumber);
    app->add_option("--warmup-epochs", options.warmup_epochs, "of `cosine`")->check(CLI::NonNegativeNumber);
    app->add_option("--patience", options.patience, "epochs of `plateau`")->check(CLI::NonNegativeNumber);
    app->add_option("--checkpoint-every", options.checkpoint_every, "steps; after each epoch in any case")
        ->check(CLI::NonNegativeNumber);
  }

  // Options given in files and on the command line override the preset, so the preset must come first: its
  // values are set before the options' own are read again.
  void complete_options() {
    if (options.resume) {
      if (options.output.empty()) throw std::runtime_error("--resume: name the run folder with --output");
      apply_options_file(*app, options.output / "options.toml");
    }
    if (!config.empty()) apply_options_file(*app, config);
    if (preset == "seed") apply_seed_preset(options);
    for (CLI::Option* option : app->get_options()) {
      if (option->count() > 0 && option->get_configurable()) option->run_callback();
    }
    if (!channels.empty()) options.channels = split_commas(channels);
    if (!network_channels.empty()) {
      options.architecture.channels.clear();
      for (const std::string& part : split_commas(network_channels))
        options.architecture.channels.push_back(std::stoll(part));
      options.architecture.strides.assign(options.architecture.channels.size() - 1, 2);
    }
    options.shuffle = !no_shuffle && !options.seed_compat;
    if (options.seed_compat && options.augmentation == "seed") options.augmentation = "seed_compat";
    evaluate = (evaluate || preset == "seed") && !no_evaluate;
    if (no_augment) options.augmentation = "none";
    if (options.data.empty())
      throw std::runtime_error("--data: name the data set, e.g. --data BraTS2020_TrainingData");
    if (options.output.empty())
      throw std::runtime_error("--output: name a run folder, e.g. --output runs/first");
    if (cache != "none")
      options.cache = cache.empty() ? options.output / "cache" : std::filesystem::path(cache);
    data::check_channels(options.channels, data::brats_edition(options.year));
    check(options.architecture);
  }

  // The options given, for --resume; paths absolute, since the next call may come from another folder.
  void save_options() const {
    std::string text;
    for (const CLI::Option* option : app->get_options()) {
      if (option->count() == 0 || !option->get_configurable() || option->get_lnames().empty()) continue;
      const std::string& name = option->get_lnames().front();
      std::string value = option->get_expected_max() == 0 ? "true" : option->as<std::string>();
      if (name == "data" || name == "init" || name == "split-file" || (name == "cache" && value != "none"))
        value = std::filesystem::absolute(value).string();
      text += name + " = " + (option->get_expected_max() == 0 ? value : "'" + value + "'") + "\n";
    }
    write_file_atomically(options.output / "options.toml", text);
  }

  int run() {
    complete_options();
    Terminal terminal(quiet);
    options.device = choose_device(device, [&](const std::string& line) { terminal.say(line); });
    options.precision = choose_precision(precision, options.device);
    options.cuda_graph = !no_cuda_graph;
    const std::filesystem::path last = options.output / "last.safetensors";
    if (options.resume && !std::filesystem::exists(last)) {
      throw std::runtime_error(last.string() +
                               ": not found, so there is nothing to resume; train without --resume");
    }
    std::error_code error;
    std::filesystem::create_directories(options.output, error);
    const RunLock lock(options.output);
    if (!options.resume && std::filesystem::exists(last)) {
      throw std::runtime_error(options.output.string() +
                               ": holds a run; go on with --resume, or choose another --output");
    }
    if (!options.resume) save_options();
    Trainer trainer(options, terminal);
    const int signal = trainer.run();
    if (signal == 0 && evaluate) {
      write_run_report(options.output, trainer.validation_subjects(), data::brats_edition(options.year),
                       options.device, options.precision, terminal);
    }
    terminal.say("results: " + options.output.string() +
                 "/best.safetensors, last.safetensors, log.jsonl, epochs.csv, curves.png, split.json" +
                 (signal == 0 && evaluate ? ", evaluation.json, predictions, figures" : ""));
    return signal == 0 ? 0 : 128 + signal;
  }
};

}  // namespace

void register_train(CLI::App& app, int& exit_code) {
  const auto command = std::make_shared<TrainCommand>();
  command->app = app.add_subcommand("train", "train a network on a data set in BraTS layout");
  command->add_run_options();
  command->add_training_options();
  command->app->footer(
      "Examples:\n"
      "  voxgrad train --preset seed --data BraTS2020_TrainingData --output runs/seed\n"
      "  voxgrad train --data data --output runs/a --epochs 40 --batch-size 1 --device cpu\n"
      "  voxgrad train --output runs/a --resume\n"
      "The run folder gets best.safetensors (weights with the best mean Dice of the regions; loads in "
      "MONAI), last.safetensors (whole\n"
      "state, for --resume), log.jsonl (a line for each step, with the transforms that augmentation drew, as "
      "text for\n"
      "'voxgrad transform'), epochs.csv, curves.png, split.json and options.toml; with --evaluate also "
      "predictions,\n"
      "evaluation.json and figures of the best, median and worst validation subject.");
  command->app->callback([command, &exit_code] { exit_code = command->run(); });
}

}  // namespace vg::apps
