#!/usr/bin/env bash
# Fetches, for a machine that cannot, the packages that a Python with torch, torchvision, timm, numba and OpenCV lacks for
# vidrestore; benchmarks/gpu.sh installs them there (WHEELS=FOLDER).
#
#     benchmarks/gpu_wheels.sh FOLDER [PACKAGE...]
#
# In the versions that the Python in use has here (PYTHON, else python3), for CPython 3.12 on x86-64 Linux (ABI=3.12). Nothing
# that they need comes along: name it. SMALL=1 packs the wheels again with LZMA, which takes a quarter off them and a minute.
set -euo pipefail

folder=${1:?usage: benchmarks/gpu_wheels.sh FOLDER [PACKAGE...]}
shift
[ $# -gt 0 ] || set -- av pydantic pydantic-core annotated-types typing-inspection segmentation-models-pytorch filelock tomli-w
python=${PYTHON:-python3}
abi=${ABI:-3.12}

mkdir -p "$folder"
wanted=()
for package in "$@"; do
    version=$("$python" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$package") || {
        echo "gpu_wheels: $package is not installed for $python, so there is no version to fetch" >&2
        exit 1
    }
    wanted+=("$package==$version")
done
platforms=()
for glibc in 28 27 24 17; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$abi" --implementation cp \
    "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$folder" "${wanted[@]}"

if [ "${SMALL:-0}" = 1 ]; then
    "$python" - "$folder" <<'END'
import sys
import zipfile
from pathlib import Path

for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    small = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(small, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            entry.compress_type = zipfile.ZIP_LZMA
            target.writestr(entry, content)
    small.replace(wheel)
END
fi
du -ch "$folder"/*.whl
