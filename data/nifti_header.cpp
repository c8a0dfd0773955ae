#include "data/nifti_header.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "data/geometry.h"

namespace vg::data {
namespace {

constexpr size_t nifti1_bytes = sizeof(nifti_1_header), nifti2_bytes = sizeof(nifti_2_header);
static_assert(nifti1_bytes == 348 && nifti2_bytes == 540);

void warn_of(const Warn& warn, const std::filesystem::path& file, const std::string& text) {
  if (warn) warn(file.string() + ": " + text);
}

/// What a file that is not NIfTI seems to be.
std::string describe_content(std::string_view front) {
  const auto begins = [&](std::string_view magic) { return front.substr(0, magic.size()) == magic; };
  const size_t text_begin = front.find_first_not_of(" \t\r\n");
  if (text_begin != std::string_view::npos && front[text_begin] == '<') return "an HTML or XML page";
  if (begins("version https://git-lfs")) return "a git-LFS pointer";
  if (begins("PK\x03\x04")) return "a zip archive";
  if (begins("NRRD")) return "an NRRD file";
  if (begins("CDF") || begins("\x89HDF")) return "a MINC or HDF5 file";
  if (front.size() >= 132 && front.substr(128, 4) == "DICM") return "a DICOM file";
  std::ostringstream text;
  text << "the bytes" << std::hex;
  for (size_t i = 0; i < std::min<size_t>(front.size(), 4); ++i)
    text << (static_cast<unsigned char>(front[i]) < 16 ? " 0" : " ")
         << int{static_cast<unsigned char>(front[i])};
  return text.str();
}

[[noreturn]] void throw_not_nifti(const std::filesystem::path& file, std::string_view front) {
  const std::string content = describe_content(front);
  const char* mend = content == "a git-LFS pointer" ? "fetch the data with `git lfs pull`"
                     : content == "an HTML or XML page"
                         ? "the download needs a login or failed: download it again"
                         : "convert it to .nii or .nii.gz";
  throw_bad_file(file, "not NIfTI: first bytes", content, "a NIfTI-1 or NIfTI-2 header (348 or 540)", mend);
}

void check_magic(const std::filesystem::path& file, const nifti_1_header& header) {
  const std::string_view magic(header.magic, 4);
  if (magic == std::string_view("n+1\0", 4)) return;
  if (magic == std::string_view("ni1\0", 4))
    throw_bad_file(file, "magic", "ni1 (a .hdr/.img pair)", "n+1 (header and voxels in one file)",
                   "pairs are unsupported: convert it to .nii");
  throw_bad_file(file, "magic", "no NIfTI magic after a 348-byte header (ANALYZE 7.5, or damaged)", "n+1",
                 "ANALYZE is unsupported, as it does not tell left from right: convert it to .nii");
}

void check_magic(const std::filesystem::path& file, const nifti_2_header& header) {
  const std::string_view magic(header.magic, 8);
  if (magic == std::string_view("n+2\0\r\n\032\n", 8)) return;
  if (magic.substr(0, 4) == std::string_view("ni2\0", 4))
    throw_bad_file(file, "magic", "ni2 (a .hdr/.img pair)", "n+2 (header and voxels in one file)",
                   "pairs are unsupported: convert it to .nii");
  if (magic.substr(0, 4) == std::string_view("n+2\0", 4))
    throw_bad_file(file, "magic", "line ends changed after n+2", "n+2 0 CR LF SUB LF",
                   "the file was copied as text: copy it again as binary");
  throw_bad_file(file, "magic", "no NIfTI magic in a 540-byte header", "n+2", "convert it to .nii");
}

struct HeaderBytes {
  RawHeader raw;
  bool swapped;
};

HeaderBytes read_header_bytes(ByteSource& source, const std::filesystem::path& file) {
  char front[nifti2_bytes] = {};
  const size_t got = source.read_some(front, nifti1_bytes);
  int32_t size_found = 0;
  if (got >= 4) std::memcpy(&size_found, front, 4);
  int32_t size_swapped = size_found;
  nifti_swap_4bytes(1, &size_swapped);
  const bool swapped = size_swapped == 348 || size_swapped == 540;
  const int32_t size = swapped ? size_swapped : size_found;
  if (size != 348 && size != 540) throw_not_nifti(file, std::string_view(front, got));
  if (got < nifti1_bytes)
    throw_bad_file(file, "header", join_text("the end of the file after ", got, " bytes (truncated)"),
                   join_text(size, " bytes"), "copy or download the file again");
  if (size == 540) {
    source.read(front + nifti1_bytes, nifti2_bytes - nifti1_bytes, "header");
    nifti_2_header header;
    std::memcpy(&header, front, nifti2_bytes);
    check_magic(file, header);
    if (swapped) nifti_swap_as_nifti2(&header);
    return {header, swapped};
  }
  nifti_1_header header;
  std::memcpy(&header, front, nifti1_bytes);
  check_magic(file, header);
  if (swapped) nifti_swap_as_nifti1(&header);
  return {header, swapped};
}

template <class Header>
void check_extents(ParsedHeader& parsed, const Header& header, const std::filesystem::path& file) {
  const int64_t axes = header.dim[0];
  if (axes < 1 || axes > 7)
    throw_bad_file(file, "dim[0]", join_text(axes), "1 to 7 axes",
                   "the header is damaged: copy the file again");
  parsed.voxels = 1;
  for (int64_t axis = 1; axis <= axes; ++axis) {
    const int64_t extent = header.dim[axis];
    if (extent <= 0)
      throw_bad_file(file, join_text("dim[", axis, "]"), join_text(extent), "an extent of at least 1",
                     "the header is damaged: copy the file again");
    parsed.info.extents.push_back(extent);
    if (__builtin_mul_overflow(parsed.voxels, extent, &parsed.voxels))
      throw_bad_file(file, "dim", "extents whose product exceeds 64 bits", "an image that fits in a file",
                     "the header is damaged: copy the file again");
  }
}

std::string datatype_name(int datatype) {
  const std::string name = nifti_datatype_to_string(datatype), prefix = "NIFTI_TYPE_";
  return name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
}

template <class Header>
void check_datatype(ParsedHeader& parsed, const Header& header, const std::filesystem::path& file,
                    const Warn& warn) {
  constexpr int supported[] = {DT_UINT8,  DT_INT8,  DT_INT16,  DT_UINT16, DT_INT32,
                               DT_UINT32, DT_INT64, DT_UINT64, DT_FLOAT,  DT_DOUBLE};
  parsed.datatype = header.datatype;
  const std::string name = datatype_name(parsed.datatype);
  const std::string shown = join_text(parsed.datatype, " (", name, ")");
  if (std::find(std::begin(supported), std::end(supported), parsed.datatype) == std::end(supported))
    throw_bad_file(file, "datatype", shown, "an integer type or FLOAT32 or FLOAT64 (real, one value a voxel)",
                   "convert the voxels, e.g. to the magnitude of complex data");
  int swap_size = 0;
  nifti_datatype_sizes(parsed.datatype, &parsed.bytes_per_voxel, &swap_size);
  parsed.info.datatype = name;
  parsed.info.bits_per_voxel = 8 * parsed.bytes_per_voxel;
  if (header.bitpix != parsed.info.bits_per_voxel)
    warn_of(warn, file,
            join_text("bitpix: found ", header.bitpix, ", expected ", parsed.info.bits_per_voxel,
                      " for datatype ", shown, "; the datatype is trusted"));
}

template <class Header>
void set_scaling(NiftiInfo& info, const Header& header, const std::filesystem::path& file, const Warn& warn) {
  const double slope = header.scl_slope, intercept = header.scl_inter;
  if (slope == 0 || !std::isfinite(slope))
    return;  // the standard's "no scaling", and nibabel's reading of NaN
  info.slope = slope;
  info.intercept = intercept;
  if (!std::isfinite(intercept)) {
    warn_of(warn, file, join_text("scl_inter: found ", intercept, ", expected a number; taken as 0"));
    info.intercept = 0;
  }
}

/// Where the voxels begin; a value that cannot be right is replaced by the smallest that can.
template <class Header>
uint64_t checked_offset(const ByteSource& source, const Header& header, const std::filesystem::path& file,
                        const Warn& warn) {
  const uint64_t smallest = static_cast<uint64_t>(header.sizeof_hdr) + 4;  // the extension flag follows it
  const double offset = static_cast<double>(header.vox_offset);
  if (!(offset >= static_cast<double>(smallest))) {  // less, or NaN
    warn_of(
        warn, file,
        join_text("vox_offset: found ", offset, ", expected at least ", smallest, "; taken as ", smallest));
    return smallest;
  }
  if (offset > static_cast<double>(source.most_bytes()))
    throw_bad_file(file, "vox_offset", join_text(offset),
                   join_text("a place within the file of ", source.file_bytes(), " bytes"),
                   "the file is truncated or its header damaged: copy it again");
  if (offset != std::floor(offset))
    warn_of(warn, file, join_text("vox_offset: found ", offset, ", expected a whole number; rounded down"));
  return static_cast<uint64_t>(offset);
}

/// Walks the extensions, none of which is used, so that a damaged list is reported. The voxels are found
/// through vox_offset in any case. Leaves `source` at data_offset.
void skip_extensions(ByteSource& source, bool swapped, uint64_t data_offset,
                     const std::filesystem::path& file, const Warn& warn) {
  char flag[4];
  source.read(flag, 4, "extension flag");
  if (flag[0] != 0 && source.position() == data_offset)
    warn_of(warn, file, "extension flag: set, but the voxels follow at once; no extension is read");
  while (flag[0] != 0 && source.position() < data_offset) {
    const uint64_t room = data_offset - source.position();
    int32_t size_and_code[2] = {0, 0};
    if (room >= 8) source.read(size_and_code, 8, "extension");
    if (swapped) nifti_swap_4bytes(2, size_and_code);
    const int64_t size = size_and_code[0];
    if (room >= 8 && size == 0) break;  // unused room before vox_offset
    if (size < 8 || static_cast<uint64_t>(size) > room) {
      warn_of(warn, file,
              join_text("extension size: found ", size, ", expected 8 to ", room,
                        " bytes; this and further extensions are skipped"));
      break;
    }
    source.skip(static_cast<uint64_t>(size) - 8, "extension");
  }
  source.skip(data_offset - source.position(), "header extensions");
}

template <class Header>
void validate(ParsedHeader& parsed, ByteSource& source, const Header& header,
              const std::filesystem::path& file, const Warn& warn) {
  check_extents(parsed, header, file);
  check_datatype(parsed, header, file, warn);
  set_scaling(parsed.info, header, file, warn);
  parsed.data_offset = checked_offset(source, header, file, warn);
  uint64_t needed = static_cast<uint64_t>(parsed.voxels);
  if (__builtin_mul_overflow(needed, static_cast<uint64_t>(parsed.bytes_per_voxel), &needed) ||
      __builtin_add_overflow(needed, parsed.data_offset, &needed))
    throw_bad_file(file, "dim", "an image of more bytes than 64 bits can count",
                   "an image that fits in a file", "the header is damaged: copy the file again");
  if (needed > source.most_bytes())
    throw_bad_file(
        file, "dim and vox_offset",
        join_text(source.compressed() ? "a compressed file of " : "a file of ", source.file_bytes(), " bytes",
                  source.compressed() ? join_text(" (at most ", source.most_bytes(), " decompressed)")
                                      : std::string(),
                  " (truncated)"),
        join_text(needed, " bytes"), "copy or download the file again");
  source.set_needed(needed);
  const int units = XYZT_TO_SPACE(static_cast<int>(header.xyzt_units));
  if (units == NIFTI_UNITS_METER || units == NIFTI_UNITS_MICRON)
    warn_of(warn, file,
            join_text("xyzt_units: found ", nifti_units_string(units), ", expected mm; read as mm"));
  skip_extensions(source, parsed.info.byte_swapped, parsed.data_offset, file, warn);
}

}  // namespace

ParsedHeader parse_header(ByteSource& source, const std::filesystem::path& file, const Warn& warn) {
  HeaderBytes bytes = read_header_bytes(source, file);
  ParsedHeader parsed;
  parsed.raw = bytes.raw;
  parsed.info.version = std::holds_alternative<nifti_1_header>(bytes.raw) ? 1 : 2;
  parsed.info.byte_swapped = bytes.swapped;
  parsed.info.compressed = source.compressed();
  std::visit([&](const auto& header) { validate(parsed, source, header, file, warn); }, parsed.raw);
  set_geometry(parsed.info, parsed.raw, file, warn);
  return parsed;
}

}  // namespace vg::data
