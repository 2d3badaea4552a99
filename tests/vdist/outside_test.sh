#!/usr/bin/env bash
# outside_test.sh BUILD_FOLDER SOURCE_FOLDER: what `make install` puts below a prefix is enough for a project of somebody
# else, with CMake and with pkg-config, also after the prefix has moved; and libvdist.so shows the public API and no more.
set -euo pipefail
build=$(realpath "${1:?usage: outside_test.sh BUILD_FOLDER SOURCE_FOLDER}")
source=$(realpath "${2:?usage: outside_test.sh BUILD_FOLDER SOURCE_FOLDER}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

for component in vdist devel; do
  cmake --install "$build" --component "$component" --prefix "$folder/installed" >/dev/null
done
prefix="$folder/moved here"
mv "$folder/installed" "$prefix"
model="$prefix/share/vdist/examples/models/tiny-tales"

readelf -d "$prefix/lib/libvdist.so" | grep -q 'SONAME.*\[libvdist.so.0\]' || fail "the soname is not libvdist.so.0"
shown=$(nm -D --defined-only "$prefix/lib/libvdist.so" | awk '{ print $3 }' | grep -vE '^_Z(TI|TS)?NK?5vdist2v0|^VDIST_0' || true)
[ -z "$shown" ] || fail "libvdist.so shows more than the API: $(echo "$shown" | head -3)"
foreign=$(grep -hE '^ *# *include "' "$prefix"/include/vdist/*.hpp | grep -v '"vdist/' || true)
[ -z "$foreign" ] || fail "an installed header includes what is not installed: $foreign"

# The configuration of somebody else, with what they have.
cp -r "$source/tests/vdist/outside" "$folder/project"
mv "$folder/project/project.cmake" "$folder/project/CMakeLists.txt"
cmake -S "$folder/project" -B "$folder/built" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH="$prefix" >"$folder/log" 2>&1 \
  || fail "find_package: $(cat "$folder/log")"
cmake --build "$folder/built" >"$folder/log" 2>&1 || fail "the outside project does not build: $(tail -30 "$folder/log")"
story=$("$folder/built/outside" "$model") || fail "the outside program fails"
[ "${#story}" -gt 20 ] || fail "the outside program tells nothing: $story"
[ "$("$folder/built/outside" "$model" process)" = "$story" ] || fail "with processes it tells another story"
[ "$("$folder/built/outside_actors" "$model")" = "$story" ] || fail "among actors it tells another story"

export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
# shellcheck disable=SC2046 # flags are words
eval g++ -std=c++20 -O0 "'$folder/project/outside.cpp'" -o "'$folder/by_pkg_config'" $(pkg-config --cflags --libs vdist)
[ "$(LD_LIBRARY_PATH="$prefix/lib" "$folder/by_pkg_config" "$model")" = "$story" ] || fail "with pkg-config it tells another story"
[ "$(pkg-config --modversion vdist-actors)" = "$(pkg-config --modversion vdist)" ] || fail "versions differ"

# Every public header stands alone, for every compiler that is here.
for compiler in g++ clang++; do
  command -v "$compiler" >/dev/null || continue
  for header in expected request stream inspection engine; do
    printf '#include <vdist/%s.hpp>\n' "$header" \
      | "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I"$prefix/include" -x c++ - \
      || fail "$compiler refuses vdist/$header.hpp"
  done
done

if command -v man >/dev/null; then
  for page in "$prefix"/share/man/man?/*; do
    complaints=$(MANROFFSEQ='' LC_ALL=C.UTF-8 MANWIDTH=100 man -l --warnings "$page" 2>&1 >/dev/null || true)
    [ -z "$complaints" ] || fail "$page: $complaints"
  done
fi
for page in cluster.toml faults.toml; do
  [ -e "$prefix/share/man/man5/$page.5" ] || fail "$page(5) was not installed"
done
echo "outside: ok"
