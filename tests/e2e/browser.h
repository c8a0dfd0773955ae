// A real browser without a screen, driven through its DevTools pipe: pages are opened from the disk as they
// are, and get true mouse, touch and key events.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace vg::test {

/// Debian's chromium with one tab.
class Browser {
 public:
  enum class Graphics : uint8_t { webgl, none };

  explicit Browser(Graphics graphics = Graphics::webgl);
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  /// Opens a file in a window of this size and waits until it has loaded.
  void open(const std::filesystem::path& page, int width = 1000, int height = 700);
  /// The value of a JavaScript expression; promises are waited for.
  nlohmann::json evaluate(const std::string& expression);
  /// Two more frames are drawn.
  void wait_for_frame();
  /// Everything that the page has said on the console, errors that nobody caught, and the browser's own
  /// complaints about it.
  [[nodiscard]] const std::vector<std::string>& console() const { return console_; }

  void drag_mouse(double from_x, double from_y, double to_x, double to_y);
  /// Fingers on the screen; none lifts them all.
  struct Finger {
    double x, y;
  };
  void touch(const char* type, const std::vector<Finger>& fingers);
  /// A key by its name, e.g. "ArrowUp".
  void press_key(const std::string& key);
  void turn_wheel(double x, double y, double delta);
  /// PNG of the window.
  std::string screenshot();

 private:
  nlohmann::json call(const std::string& method, const nlohmann::json& parameters = nlohmann::json::object());
  nlohmann::json receive();
  void note_event(const nlohmann::json& event);

  TemporaryFolder profile_;
  pid_t process_ = -1;
  int to_ = -1, from_ = -1, last_id_ = 0;
  bool loaded_ = false;
  std::string session_, received_;
  std::vector<std::string> console_;
};

}  // namespace vg::test
