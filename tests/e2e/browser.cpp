#include "e2e/browser.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <thread>

namespace vg::test {

namespace {

using nlohmann::json;

constexpr int kTimeout = 60000;  // milliseconds without an answer

std::string decode_base64(const std::string& text) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    const size_t digit = digits.find(c);
    if (digit == std::string::npos) break;
    word = word << 6 | static_cast<uint32_t>(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes += static_cast<char>(word >> bits & 255U);
    }
  }
  return bytes;
}

}  // namespace

Browser::Browser(Graphics graphics) {
  std::array<int, 2> commands{}, answers{};
  if (pipe2(commands.data(), O_CLOEXEC) != 0 || pipe2(answers.data(), O_CLOEXEC) != 0)
    throw std::runtime_error("browser: no pipe");
  const std::string profile = "--user-data-dir=" + profile_.path().string();
  process_ = fork();
  if (process_ == 0) {
    // DevTools' pipe is on descriptors 3 and 4. First out of their way, then there.
    const int in = fcntl(commands[0], F_DUPFD, 10), out = fcntl(answers[1], F_DUPFD, 10);
    dup2(in, 3);
    dup2(out, 4);
    close(in);
    close(out);
    const int null = ::open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execlp("chromium", "chromium", "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run",
           "--enable-unsafe-swiftshader",
           graphics == Graphics::webgl ? "--use-angle=swiftshader" : "--disable-3d-apis", profile.c_str(),
           "about:blank", nullptr);
    _exit(127);
  }
  close(commands[0]);
  close(answers[1]);
  to_ = commands[1];
  from_ = answers[0];
  const json target = call("Target.createTarget", {{"url", "about:blank"}});
  session_ =
      call("Target.attachToTarget", {{"targetId", target.at("targetId")}, {"flatten", true}}).at("sessionId");
  for (const char* domain : {"Page.enable", "Runtime.enable", "Log.enable"}) call(domain);
}

Browser::~Browser() {
  // Chromium ends with its pipe, tidily; it is killed only if it does not.
  close(to_);
  close(from_);
  for (int wait = 0; wait < 500; ++wait) {
    if (waitpid(process_, nullptr, WNOHANG) != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

json Browser::receive() {
  while (true) {
    if (const size_t end = received_.find('\0'); end != std::string::npos) {
      json message = json::parse(received_.substr(0, end));
      received_.erase(0, end + 1);
      return message;
    }
    struct pollfd ready {
      from_, POLLIN, 0
    };
    if (poll(&ready, 1, kTimeout) <= 0) throw std::runtime_error("browser: no answer");
    std::array<char, 65536> piece{};
    const ssize_t count = read(from_, piece.data(), piece.size());
    if (count <= 0)
      throw std::runtime_error(
          "browser: chromium has ended; is the package chromium installed (./test does it)?");
    received_.append(piece.data(), static_cast<size_t>(count));
  }
}

void Browser::note_event(const json& event) {
  const std::string method = event.value("method", "");
  const json& parameters = event.contains("params") ? event.at("params") : json::object();
  if (method == "Page.loadEventFired") loaded_ = true;
  if (method == "Runtime.consoleAPICalled") console_.push_back(parameters.at("args").dump());
  if (method == "Runtime.exceptionThrown") console_.push_back(parameters.at("exceptionDetails").dump());
  if (method == "Log.entryAdded") console_.push_back(parameters.at("entry").dump());
}

json Browser::call(const std::string& method, const json& parameters) {
  json message = {{"id", ++last_id_}, {"method", method}, {"params", parameters}};
  if (!session_.empty()) message["sessionId"] = session_;
  const std::string text = message.dump() + '\0';
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t count = write(to_, text.data() + sent, text.size() - sent);
    if (count <= 0) throw std::runtime_error("browser: chromium does not listen");
    sent += static_cast<size_t>(count);
  }
  while (true) {
    const json answer = receive();
    if (!answer.contains("id")) {
      note_event(answer);
    } else if (answer.at("id") == last_id_) {
      if (answer.contains("error")) throw std::runtime_error(method + ": " + answer.at("error").dump());
      return answer.at("result");
    }
  }
}

void Browser::open(const std::filesystem::path& page, int width, int height) {
  call("Emulation.setDeviceMetricsOverride",
       {{"width", width}, {"height", height}, {"deviceScaleFactor", 1}, {"mobile", false}});
  loaded_ = false;
  call("Page.navigate", {{"url", "file://" + page.string()}});
  while (!loaded_) note_event(receive());
}

json Browser::evaluate(const std::string& expression) {
  const json result =
      call("Runtime.evaluate", {{"expression", expression}, {"awaitPromise", true}, {"returnByValue", true}});
  if (result.contains("exceptionDetails"))
    throw std::runtime_error(expression + ": " + result.at("exceptionDetails").dump());
  return result.at("result").value("value", json());
}

void Browser::wait_for_frame() {
  evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
}

void Browser::drag_mouse(double from_x, double from_y, double to_x, double to_y) {
  const auto send = [&](const char* type, double x, double y, int buttons) {
    call("Input.dispatchMouseEvent",
         {{"type", type}, {"x", x}, {"y", y}, {"button", "left"}, {"buttons", buttons}, {"clickCount", 1}});
  };
  send("mousePressed", from_x, from_y, 1);
  send("mouseMoved", to_x, to_y, 1);
  send("mouseReleased", to_x, to_y, 0);
  wait_for_frame();
}

void Browser::touch(const char* type, const std::vector<Finger>& fingers) {
  json points = json::array();
  for (size_t i = 0; i < fingers.size(); ++i)
    points.push_back({{"x", fingers[i].x}, {"y", fingers[i].y}, {"id", i}});
  call("Input.dispatchTouchEvent", {{"type", type}, {"touchPoints", points}});
  wait_for_frame();
}

void Browser::press_key(const std::string& key) {
  for (const char* type : {"rawKeyDown", "keyUp"})
    call("Input.dispatchKeyEvent", {{"type", type}, {"key", key}, {"code", key}});
  wait_for_frame();
}

void Browser::turn_wheel(double x, double y, double delta) {
  call("Input.dispatchMouseEvent",
       {{"type", "mouseWheel"}, {"x", x}, {"y", y}, {"deltaX", 0}, {"deltaY", delta}});
  wait_for_frame();
}

std::string Browser::screenshot() {
  return decode_base64(call("Page.captureScreenshot", {{"format", "png"}}).at("data").get<std::string>());
}

}  // namespace vg::test
