#include "apps/figures.h"

#include "apps/png_file.h"
#include "apps/slice_animation.h"
#include "apps/slice_figure.h"
#include "apps/slice_page.h"
#include "engine/atomic_file.h"

namespace vg::apps {

void write_figures(const FigureFiles& files, const std::filesystem::path& base, const FigureOptions& options,
                   const data::LabelSchema& schema, const data::Warn& warn) {
  const FigureSubject subject = load_figure_subject(files, options.axis, schema, warn);
  const int64_t slice = options.slice ? *options.slice : subject.slice_with_most_tumour();
  check_slice(subject, slice);
  const std::string name = base.string();
  if (options.png) write_png(name + ".png", draw_slice_figure(subject, slice));
  if (options.gif) write_file_atomically(name + ".gif", draw_slice_animation(subject, options.delay / 10));
  if (options.html) write_file_atomically(name + ".html", draw_slice_page(subject, slice));
}

}  // namespace vg::apps
