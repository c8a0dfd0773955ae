# Sourced by ./demo and ./test: installs what is missing, chooses the preset, builds.

# install_packages [FILE...]: installs what is missing of the packages in packages.txt and the files, with apt, as root or with sudo.
install_packages() {
  local missing=() package
  while read -r package; do
    case "$package" in '' | '#'*) continue ;; esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(cat cmake/packages.txt "$@")
  [ ${#missing[@]} -eq 0 ] && return
  echo "Installing: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Packages are missing, and neither root nor sudo is there to install them: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# With nvcc the CUDA code is built too. Sets `preset` unless it is set.
choose_preset() {
  [ -n "${preset:-}" ] && return
  if command -v nvcc >/dev/null; then
    preset=cuda
    echo "nvcc found: building for CPU and CUDA"
  else
    preset=cpu
    echo "no nvcc: building for the CPU only"
  fi
}

# build [TARGET...]
build() {
  cmake --preset "$preset" >"build-$preset.log" 2>&1 || { cat "build-$preset.log" >&2; exit 1; }
  rm -f "build-$preset.log"
  cmake --build --preset "$preset" ${1:+--target "$@"}
}
