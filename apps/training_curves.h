// The course of a training run as a picture.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace vg::apps {

/// Columns of numbers with their names; what is no number (an empty field) is NaN.
struct NumberTable {
  std::vector<std::string> names;
  std::vector<std::vector<double>> columns;

  /// nullptr if there is no such column.
  [[nodiscard]] const std::vector<double>* find(const std::string& name) const;
};

/// Reads a CSV file with a heading, e.g. a run's epochs.csv. A last line without its end, as an interrupted
/// run may leave, is not read. Throws std::runtime_error for a file that cannot be read, a heading without
/// "epoch", no rows, or a row that does not fit the heading.
NumberTable read_epochs_csv(const std::filesystem::path& file);

/// Draws the losses (columns train_loss, validation_loss) and every Dice (columns dice_NAME; regions of BraTS
/// as solid lines, single classes dashed) over the epochs, and writes the PNG whole or not at all. Throws
/// std::runtime_error.
void write_training_curves(const std::filesystem::path& epochs_csv, const std::filesystem::path& png);

}  // namespace vg::apps
