#!/bin/sh
# Runs cfn-lint over the examples' templates, those that CloudFormation must accept; the
# template.bowline.yaml beside them are Bowline's alone. Further arguments go to cfn-lint.
#
# cfn-lint is installed once into a virtual environment under the user's cache directory.
# Exit code: 0 when it has nothing to say, else its own (or 1 when it could not be installed).
set -eu

version=1.58.0
examples=$(cd "$(dirname "$0")" && pwd)
venv="${XDG_CACHE_HOME:-$HOME/.cache}/bowline/cfn-lint-$version"

if [ ! -e "$venv/installed" ]; then
    echo "installing cfn-lint $version into $venv" >&2
    mkdir -p "$(dirname "$venv")"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "cfn-lint==$version"
    # Last, so that an installation that broke off is done again.
    touch "$venv/installed"
fi

exec "$venv/bin/cfn-lint" "$@" -- "$examples"/*/template.yaml
