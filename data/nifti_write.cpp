// Writing NIfTI files: header from a template or from the geometry, voxels converted, gzip, in one atomic
// step.
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "data/geometry.h"
#include "data/nifti_header.h"
#include "engine/atomic_file.h"

namespace vg::data {
namespace {

namespace fs = std::filesystem;

/// Fastest compression: voxels of a scan shrink by about as much as at the highest level, in a fraction of
/// the time.
constexpr int compression_level = Z_BEST_SPEED;

/// Bytes to an AtomicFile, through gzip where asked for.
class ByteSink {
 public:
  ByteSink(const fs::path& file, bool compress) : file_(file) {
    if (!compress) return;
    auto state = std::make_unique<z_stream>();
    if (deflateInit2(state.get(), compression_level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::bad_alloc();
    deflate_.reset(state.release());
  }
  void write(const void* data, size_t bytes) {
    if (!deflate_) return file_.write(data, bytes);
    deflate_->next_in = static_cast<Bytef*>(const_cast<void*>(data));  // zlib does not write to it
    deflate_->avail_in = static_cast<uInt>(bytes);
    drain(Z_NO_FLUSH);
  }
  void commit() {
    if (deflate_) drain(Z_FINISH);
    file_.commit();
  }

 private:
  struct EndDeflate {
    void operator()(z_stream* stream) const {
      deflateEnd(stream);
      delete stream;
    }
  };
  void drain(int flush) {
    do {
      deflate_->next_out = output_.data();
      deflate_->avail_out = static_cast<uInt>(output_.size());
      deflate(deflate_.get(), flush);
      file_.write(output_.data(), output_.size() - deflate_->avail_out);
    } while (deflate_->avail_out == 0);
  }

  AtomicFile file_;
  std::unique_ptr<z_stream, EndDeflate> deflate_;
  std::vector<unsigned char> output_ = std::vector<unsigned char>(size_t{1} << 18);
};

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

template <class Header>
void set_magic(Header& header) {
  header = Header{};
  header.sizeof_hdr = static_cast<int32_t>(sizeof(Header));
  if constexpr (sizeof(Header) == sizeof(nifti_1_header)) {
    header.regular = 'r';
    std::memcpy(header.magic, "n+1\0", 4);
  } else {
    std::memcpy(header.magic, "n+2\0\r\n\032\n", 8);
  }
}

/// A header that places the image by its affine: as sform, and as qform too unless the axes are sheared (a
/// quaternion cannot express that).
template <class Header>
Header header_of(const Geometry& geometry) {
  using Real = std::remove_reference_t<decltype(Header{}.quatern_b)>;
  Header header;
  set_magic(header);
  header.xyzt_units = NIFTI_UNITS_MM | NIFTI_UNITS_SEC;
  header.sform_code = NIFTI_XFORM_SCANNER_ANAT;
  nifti_dmat44 matrix{};
  matrix.m[3][3] = 1;
  for (size_t row = 0; row < 3; ++row) {
    auto& srow = row == 0 ? header.srow_x : row == 1 ? header.srow_y : header.srow_z;
    for (size_t column = 0; column < 4; ++column) {
      matrix.m[row][column] = geometry.affine[row][column];
      srow[column] = static_cast<Real>(geometry.affine[row][column]);
    }
  }
  double b, c, d, x, y, z, di, dj, dk, qfac;
  nifti_dmat44_to_quatern(matrix, &b, &c, &d, &x, &y, &z, &di, &dj, &dk, &qfac);
  header.quatern_b = static_cast<Real>(b);
  header.quatern_c = static_cast<Real>(c);
  header.quatern_d = static_cast<Real>(d);
  header.qoffset_x = static_cast<Real>(x);
  header.qoffset_y = static_cast<Real>(y);
  header.qoffset_z = static_cast<Real>(z);
  header.pixdim[0] = static_cast<Real>(qfac);
  const std::array<double, 3> spacing = geometry.spacing();
  for (size_t axis = 0; axis < 3; ++axis) header.pixdim[axis + 1] = static_cast<Real>(spacing[axis]);
  header.qform_code = shear_degrees(geometry.affine) < 0.01 ? NIFTI_XFORM_SCANNER_ANAT : NIFTI_XFORM_UNKNOWN;
  return header;
}

/// The fields that describe the voxels, which no template decides.
template <class Header>
void describe_voxels(Header& header, const Geometry& geometry, int datatype) {
  using Extent = std::remove_reference_t<decltype(header.dim[0])>;
  header.dim[0] = 3;
  for (size_t axis = 0; axis < 7; ++axis)
    header.dim[axis + 1] = axis < 3 ? static_cast<Extent>(geometry.extent[axis]) : Extent{1};
  int bytes = 0, swap_size = 0;
  nifti_datatype_sizes(datatype, &bytes, &swap_size);
  header.datatype = static_cast<int16_t>(datatype);
  header.bitpix = static_cast<int16_t>(8 * bytes);
  header.vox_offset = sizeof(Header) + 4;  // the four zeros of "no extension"
  header.scl_slope = 1;
  header.scl_inter = 0;
  header.cal_min = header.cal_max = 0;
}

RawHeader make_header(const Geometry& geometry, int datatype, const NiftiTemplate* like) {
  RawHeader raw;
  if (like != nullptr) {
    raw = like->raw;
  } else if (*std::max_element(geometry.extent.begin(), geometry.extent.end()) <=
             std::numeric_limits<int16_t>::max()) {
    raw = header_of<nifti_1_header>(geometry);
  } else {
    raw = header_of<nifti_2_header>(geometry);
  }
  std::visit([&](auto& header) { describe_voxels(header, geometry, datatype); }, raw);
  return raw;
}

template <class T>
void check_arguments(const fs::path& file, const Volume<T>& volume, const NiftiTemplate* like) {
  const Geometry& geometry = volume.geometry;
  const auto& e = geometry.extent;
  if (*std::min_element(e.begin(), e.end()) < 1 ||
      static_cast<int64_t>(volume.voxels.size()) != geometry.voxels())
    throw std::invalid_argument(join_text("write ", file.string(), ": found ", volume.voxels.size(),
                                          " voxels, expected extents ", e[0], "x", e[1], "x", e[2]));
  if (!is_invertible(geometry.affine))
    throw std::invalid_argument(
        join_text("write ", file.string(), ": found a singular affine, expected one that can be inverted"));
  if (like != nullptr && !(grid_distance(geometry, like->geometry) < 0.01))
    throw std::invalid_argument(join_text(
        "write ", file.string(),
        ": found a grid that is not the template's; map the volume back to the original geometry first"));
  const std::string name = file.filename().string();
  if (!ends_with(name, ".nii") && !ends_with(name, ".nii.gz"))
    throw_bad_file(file, "file name", name, "a name that ends in .nii or .nii.gz", "choose another name");
}

/// `next(begin, count, out)` fills `count` voxels of type T.
template <class T, class Next>
void write_file(const fs::path& file, const Geometry& geometry, int datatype, const NiftiTemplate* like,
                const Next& next) {
  constexpr int64_t voxels_at_once = (int64_t{1} << 20) / static_cast<int64_t>(sizeof(T));
  const RawHeader raw = make_header(geometry, datatype, like);
  const int64_t voxels = geometry.voxels();
  std::vector<T> buffer(static_cast<size_t>(std::min(voxels, voxels_at_once)));
  try {
    ByteSink sink(file, ends_with(file.filename().string(), ".gz"));
    std::visit([&](const auto& header) { sink.write(&header, sizeof(header)); }, raw);
    const char no_extension[4] = {};
    sink.write(no_extension, sizeof(no_extension));
    for (int64_t begin = 0; begin < voxels; begin += voxels_at_once) {
      const int64_t count = std::min(voxels_at_once, voxels - begin);
      next(begin, count, buffer.data());
      sink.write(buffer.data(), static_cast<size_t>(count) * sizeof(T));
    }
    sink.commit();
  } catch (const DataError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw DataError(error.what());
  }
}

template <class T>
void write_rounded(const fs::path& file, const Image& image, int datatype, const NiftiTemplate* like) {
  write_file<T>(file, image.geometry, datatype, like, [&](int64_t begin, int64_t count, T* out) {
    for (int64_t i = 0; i < count; ++i) {
      const float value = image.voxels[static_cast<size_t>(begin + i)];
      const float rounded = std::nearbyint(value);
      if (!(rounded >= std::numeric_limits<T>::min() && rounded <= std::numeric_limits<T>::max()))
        throw_bad_file(file, "voxels", join_text(value),
                       join_text("values from ", int{std::numeric_limits<T>::min()}, " to ",
                                 int{std::numeric_limits<T>::max()}),
                       "write float32");
      out[i] = static_cast<T>(rounded);
    }
  });
}

}  // namespace

void write_image(const fs::path& file, const Image& image, VoxelType type,
                 const std::shared_ptr<const NiftiTemplate>& like) {
  check_arguments(file, image, like.get());
  switch (type) {
    case VoxelType::uint8:
      return write_rounded<uint8_t>(file, image, DT_UINT8, like.get());
    case VoxelType::int16:
      return write_rounded<int16_t>(file, image, DT_INT16, like.get());
    case VoxelType::float32:
      return write_file<float>(file, image.geometry, DT_FLOAT, like.get(),
                               [&](int64_t begin, int64_t count, float* out) {
                                 std::copy_n(image.voxels.begin() + begin, count, out);
                               });
  }
}

void write_label_map(const fs::path& file, const LabelMap& labels,
                     const std::shared_ptr<const NiftiTemplate>& like) {
  check_arguments(file, labels, like.get());
  write_file<uint8_t>(file, labels.geometry, DT_UINT8, like.get(),
                      [&](int64_t begin, int64_t count, uint8_t* out) {
                        std::copy_n(labels.voxels.begin() + begin, count, out);
                      });
}

}  // namespace vg::data
