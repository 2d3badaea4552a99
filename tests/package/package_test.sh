#!/usr/bin/env bash
# package_test.sh BUILD_FOLDER: the archive of `make package` runs where it is unpacked, with nothing but glibc from the
# system, and `make install` puts the same programs below a prefix.
set -euo pipefail
build=$(realpath "${1:?usage: package_test.sh BUILD_FOLDER}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

cpack --config "$build/CPackConfig.cmake" -B "$folder/made" >/dev/null
mkdir "$folder/some where else"
tar -xzf "$folder"/made/*.tar.gz -C "$folder/some where else"
root=$(echo "$folder/some where else"/vdist-*)

for program in run node worker vault ctl; do
  [ -x "$root/bin/vdist-$program" ] || fail "vdist-$program is not in the archive"
  while read -r library; do
    case "$library" in
    "$root"/bin/../lib/* | "$root"/lib/* | /lib*/ld-linux* | */libc.so.6 | */libm.so.6 | */libdl.so.2 | */libpthread.so.0 | */librt.so.1 | */libresolv.so.2) ;;
    *) fail "vdist-$program needs $library of this system" ;;
    esac
  done < <(env -u LD_LIBRARY_PATH ldd "$root/bin/vdist-$program" | sed -n 's/.*=> \(\/.*\) (0x.*/\1/p')
done

cd "$root/share/vdist"
story=$(env -i PATH=/usr/bin:/bin "$root/bin/vdist-run" config/demo.toml --seed 1 --max-tokens 20 --quiet)
[ -n "$story" ] || fail "the demo of the archive tells nothing"

cmake --install "$build" --component vdist --prefix "$folder/prefix" >/dev/null
[ -x "$folder/prefix/bin/vdist-run" ] || fail "vdist-run was not installed"
brought=$(ls "$folder/prefix/lib" 2>/dev/null | grep -v '^libvdist_cuda\.so$' || true)
[ -z "$brought" ] || fail "an installation brings no libraries but the CUDA backend: $brought"
cd "$folder/prefix/share/vdist"
installed=$(env -i PATH=/usr/bin:/bin "$folder/prefix/bin/vdist-run" config/demo.toml --seed 1 --max-tokens 20 --quiet)
[ "$installed" = "$story" ] || fail "the installed program tells another story"
echo "package: ok"
