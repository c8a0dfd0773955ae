// Runs the voxgrad binary as a user would.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace vg::test {

struct CommandResult {
  int exit_code = -1;  ///< 128 + signal if killed
  std::string out, error;
};

inline std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// A started command.
class Command {
 public:
  /// With a `largest_file` (bytes) every write beyond it fails, as on a full disk.
  Command(std::vector<std::string> arguments, const std::filesystem::path& scratch,
          rlim_t largest_file = RLIM_INFINITY)
      : out_(scratch / "stdout.txt"), error_(scratch / "stderr.txt") {
    arguments.insert(arguments.begin(), VG_BINARY);
    process_ = fork();
    if (process_ == 0) {
      const struct rlimit limit { largest_file, largest_file };
      setrlimit(RLIMIT_FSIZE, &limit);
      signal(SIGXFSZ, SIG_IGN);  // the write fails instead
      dup2(open(out_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDOUT_FILENO);
      dup2(open(error_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0644), STDERR_FILENO);
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  void kill(int signal) const { ::kill(process_, signal); }
  CommandResult wait() const {
    int status = 0;
    waitpid(process_, &status, 0);
    return {WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status), read_text(out_),
            read_text(error_)};
  }

 private:
  pid_t process_;
  std::filesystem::path out_, error_;
};

inline CommandResult run(const std::vector<std::string>& arguments, const TemporaryFolder& folder) {
  return Command(arguments, folder.path()).wait();
}

/// Fails unless the command ended with this code and one line on standard error that has every part.
inline void expect_one_line(const CommandResult& result, int exit_code,
                            const std::vector<std::string>& parts) {
  EXPECT_EQ(result.exit_code, exit_code) << result.error;
  EXPECT_EQ(std::count(result.error.begin(), result.error.end(), '\n'), 1) << result.error;
  for (const std::string& part : parts)
    EXPECT_NE(result.error.find(part), std::string::npos) << part << " in: " << result.error;
}

}  // namespace vg::test
