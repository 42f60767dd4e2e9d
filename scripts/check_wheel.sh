#!/bin/sh
# Installs a wheel into an environment of its own, outside of the checkout, and runs what people run first.
set -eu
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
requirements=$(cd "$(dirname "$0")/.." && pwd)/requirements/run.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME="$scratch" IMAGEWORKS_HOST=wheel GIT_CONFIG_GLOBAL=/dev/null
unset IMAGEWORKS_REGISTRY_DIR XDG_CONFIG_HOME XDG_STATE_HOME XDG_CACHE_HOME PYTHONPATH
"${PYTHON:-python3}" -m venv "$scratch/venv"
pip() { "$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip --require-hashes -r "$requirements"
pip --no-deps --no-index "$wheel"
cd "$scratch"
PATH="$scratch/venv/bin:$PATH"
imageworks-models --version
imageworks-models init "$scratch/registry"
imageworks-models validate -C "$scratch/registry"
imageworks-models list -C "$scratch/registry"
imageworks-models schema manifest > manifest.schema.json
imageworks-download --help > /dev/null
imageworks-loader --help > /dev/null
imageworks-model-registry --help > /dev/null
python -W error -c '
import imageworks
registry = imageworks.Registry.open("registry")
assert registry.plan().changes == (), registry.plan()
assert "site-packages" in imageworks.__file__, imageworks.__file__
'
echo "the wheel works"
