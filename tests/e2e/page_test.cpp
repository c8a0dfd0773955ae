// The interactive page as people use it: opened from the disk in a browser, with mouse, fingers and keys.
#include "e2e/browser.h"
#include "e2e/subjects.h"
#include "support/picture_files.h"

namespace vg::test {
namespace {

namespace fs = std::filesystem;

const fs::path& page() {
  static const fs::path made = [] {
    const CommandResult result =
        run(render_arguments(subjects().folder / "page", {"--html"}), subjects().folder);
    if (result.exit_code != 0) throw std::runtime_error(result.error);
    return subjects().folder / "page/BraTS20_Training_001.html";
  }();
  return made;
}

class Page : public testing::Test {
 protected:
  // Opens a page and waits until it is drawn or has given up. Returns which.
  std::string open(Browser& browser, const fs::path& file) {
    browser.open(file);
    return browser.evaluate(R"(new Promise((done) => {
      const look = () => {
        const state = document.documentElement.dataset.state;
        if (state === "ready" || state === "failed") done(state); else setTimeout(look, 10);
      };
      look();
    }))");
  }
  static std::string attribute(Browser& browser, const std::string& name) {
    return browser.evaluate("document.documentElement.dataset." + name);
  }
  static nlohmann::json view(Browser& browser) { return nlohmann::json::parse(attribute(browser, "view")); }
  // Middle of an element in the window.
  static Browser::Finger middle_of(Browser& browser, const std::string& id) {
    const nlohmann::json box = browser.evaluate("(() => { const b = document.getElementById('" + id +
                                                "').getBoundingClientRect(); return [b.x + b.width / 2, b.y "
                                                "+ b.height / 2]; })()");
    return {box[0], box[1]};
  }
  static void click(Browser& browser, const std::string& id) {
    const Browser::Finger at = middle_of(browser, id);
    browser.drag_mouse(at.x, at.y, at.x, at.y);
  }
  // A number that changes with the slice that is drawn.
  static int64_t drawn(Browser& browser) {
    return browser.evaluate(R"((() => {
      const slice = document.getElementById("slice"), copy = document.createElement("canvas");
      copy.width = slice.width;
      copy.height = slice.height;
      const context = copy.getContext("2d");
      context.drawImage(slice, 0, 0);
      return context.getImageData(0, 0, copy.width, copy.height).data
        .reduce((sum, value, i) => (sum * 31 + value * (i % 7 + 1)) % 1000003, 0);
    })())");
  }

  const std::vector<std::string> silent;
  TemporaryFolder folder;
};

TEST_F(Page, OpensFromTheDiskWithoutAWordOnTheConsole) {
  Browser browser;
  EXPECT_EQ(open(browser, page()), "ready");
  browser.wait_for_frame();
  EXPECT_EQ(browser.console(), silent);
  EXPECT_EQ(attribute(browser, "webgl"), "working");
  EXPECT_EQ(browser.evaluate("document.querySelectorAll('#legend tr').length"), 6);
  EXPECT_EQ(browser.evaluate("performance.getEntriesByType('resource').filter((entry) => "
                             "!entry.name.startsWith('data:')).length"),
            0)
      << "it loads nothing";
  EXPECT_NE(read_text(page()).find("The MIT License"), std::string::npos) << "three.js asks for its notice";
}

TEST_F(Page, StackAndSliceAreDrawn) {
  Browser browser;
  ASSERT_EQ(open(browser, page()), "ready");
  browser.wait_for_frame();
  const DecodedPng picture = decode_png(browser.screenshot());
  ASSERT_EQ(picture.width, 1000);
  const int64_t top = 60, bottom = 450;
  for (const int64_t left : {30, 520}) {  // the stack, and the slice
    int64_t bright = 0, coloured = 0;
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t x = left; x < left + 450; ++x) {
        const Rgb rgb = picture.at(x, y);
        bright += rgb[0] > 60 || rgb[1] > 60;
        coloured += std::abs(rgb[0] - rgb[1]) > 40;
      }
    }
    EXPECT_GT(bright, 10000) << left;
    EXPECT_GT(coloured, 300) << left;
  }
}

TEST_F(Page, TheSliderFollowsMouseFingersAndKeys) {
  Browser browser;
  ASSERT_EQ(open(browser, page()), "ready");
  const int last = browser.evaluate("Number(document.getElementById('number').max)");
  const auto slice = [&] { return std::stoi(attribute(browser, "slice")); };
  const int64_t first = drawn(browser);
  const Browser::Finger middle = middle_of(browser, "number");
  browser.drag_mouse(middle.x, middle.y, middle.x + 2000, middle.y);
  EXPECT_EQ(slice(), last);
  EXPECT_NE(drawn(browser), first);
  browser.touch("touchStart", {middle});
  browser.touch("touchMove", {{middle.x - 2000, middle.y}});
  browser.touch("touchEnd", {});
  EXPECT_EQ(slice(), 0);
  click(browser, "next");
  click(browser, "next");
  EXPECT_EQ(slice(), 2);
  click(browser, "previous");
  EXPECT_EQ(slice(), 1);
  browser.press_key("ArrowUp");
  EXPECT_EQ(slice(), 2);
  browser.press_key("PageDown");
  EXPECT_EQ(slice(), 0);
  const Browser::Finger flat = middle_of(browser, "slice");
  browser.turn_wheel(flat.x, flat.y, -100);
  EXPECT_EQ(slice(), 1);
  EXPECT_EQ(browser.evaluate("document.getElementById('shown').textContent"),
            "1 of 0\xe2\x80\x93" + std::to_string(last));
  EXPECT_EQ(browser.console(), silent);
}

TEST_F(Page, LayersCanBeTakenAway) {
  Browser browser;
  ASSERT_EQ(open(browser, page()), "ready");
  const int64_t whole = drawn(browser);
  for (const char* layer : {"image", "prediction", "truth"}) {
    click(browser, layer);
    EXPECT_NE(drawn(browser), whole) << layer;
    click(browser, layer);
    EXPECT_EQ(drawn(browser), whole) << layer;
  }
  const std::string stack = browser.screenshot();
  click(browser, "beyond");
  EXPECT_NE(browser.screenshot(), stack);
  EXPECT_EQ(browser.console(), silent);
}

TEST_F(Page, DraggingTurnsAndTwoFingersZoom) {
  Browser browser;
  ASSERT_EQ(open(browser, page()), "ready");
  const Browser::Finger at = middle_of(browser, "scene");
  const nlohmann::json before = view(browser);
  browser.drag_mouse(at.x, at.y, at.x + 50, at.y + 20);
  const nlohmann::json turned = view(browser);
  EXPECT_LT(turned.at("azimuth"), before.at("azimuth"));
  EXPECT_GT(turned.at("elevation"), before.at("elevation"));
  EXPECT_EQ(turned.at("zoom"), 1);
  browser.touch("touchStart", {at});
  browser.touch("touchMove", {{at.x - 60, at.y}});
  EXPECT_GT(view(browser).at("azimuth"), turned.at("azimuth"));
  browser.touch("touchEnd", {});
  browser.touch("touchStart", {{at.x - 50, at.y}, {at.x + 50, at.y}});
  browser.touch("touchMove", {{at.x - 100, at.y}, {at.x + 100, at.y}});
  EXPECT_NEAR(view(browser).at("zoom").get<double>(), 2, 0.1);
  browser.touch("touchEnd", {});
  browser.turn_wheel(at.x, at.y, 300);
  EXPECT_LT(view(browser).at("zoom").get<double>(), 1.9);
  EXPECT_EQ(browser.console(), silent);
}

TEST_F(Page, WithoutWebGlTheSlicesStillWork) {
  Browser browser(Browser::Graphics::none);
  ASSERT_EQ(open(browser, page()), "ready");
  EXPECT_EQ(attribute(browser, "webgl"), "missing");
  EXPECT_EQ(browser.evaluate("document.getElementById('no-webgl').hidden"), false);
  const int64_t first = drawn(browser);
  const int before = std::stoi(attribute(browser, "slice"));
  click(browser, "next");
  EXPECT_EQ(std::stoi(attribute(browser, "slice")), before + 1);
  EXPECT_NE(drawn(browser), first);
  EXPECT_EQ(browser.console(), silent);
}

TEST_F(Page, PredictionAloneAndAnotherAxis) {
  const CommandResult result =
      run({"render", (subjects().predictions / "BraTS20_Training_002.nii.gz").string(), "--html", "--axis",
           "sagittal", "--output", (folder / "alone").string(), "-q"},
          folder);
  ASSERT_EQ(result.exit_code, 0) << result.error;
  Browser browser;
  EXPECT_EQ(open(browser, folder / "alone/BraTS20_Training_002.html"), "ready");
  EXPECT_EQ(browser.evaluate("document.getElementById('truth').disabled"), true);
  EXPECT_EQ(browser.evaluate("document.querySelector('.side.left').textContent"), "A");
  EXPECT_EQ(browser.console(), silent);
}

// That these tests would notice.
TEST_F(Page, ScriptsThatFailAreSeen) {
  const std::string html = read_text(page());
  const auto changed = [&](const std::string& at, const std::string& text) {
    std::string other = html;
    other.insert(other.rfind(at), text);
    std::ofstream(folder / "changed.html", std::ios::binary) << other;
    return folder / "changed.html";
  };
  Browser browser;
  EXPECT_EQ(open(browser, changed("</body>", "<script>throw new Error('deliberate');</script>")), "ready");
  ASSERT_EQ(browser.console().size(), 1u);
  EXPECT_NE(browser.console()[0].find("deliberate"), std::string::npos);
  EXPECT_EQ(open(browser, changed("const scene = makeScene", "undefinedFunction();")), "failed");
  browser.wait_for_frame();
  EXPECT_GE(browser.console().size(), 2u);
}

TEST_F(Page, DamagedDataIsSaid) {
  std::string html = read_text(page());
  const std::string packed = "\"prediction\":\"";
  html.replace(html.find(packed) + packed.size(), 8, "AAAAAAAA");
  std::ofstream(folder / "damaged.html", std::ios::binary) << html;
  Browser browser;
  EXPECT_EQ(open(browser, folder / "damaged.html"), "failed");
  EXPECT_NE(browser.evaluate("document.getElementById('id').textContent")
                .get<std::string>()
                .find("This page could not be shown"),
            std::string::npos);
}

}  // namespace
}  // namespace vg::test
