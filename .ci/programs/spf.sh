#!/usr/bin/env bash
# Compares SPF with the test suite of RFC 7208, and with pyspf for 10,000 random policies. Both come
# from Debian's package python3-spf, unpacked by `.ci/run`. Each run tries other policies unless
# NOBOUNCE_SEED is set.
#
# usage: .ci/programs/spf.sh [OPTION OF NEXTEST…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
programs=${CARGO_TARGET_DIR:-target}/programs
package=$programs/python3-spf/usr
suite=$(mktemp)
trap 'rm "$suite"' EXIT

zcat "$package/share/doc/python3-spf/rfc7208-tests.yml.gz" | /usr/bin/python3 -c '
import json, sys, yaml
json.dump(list(yaml.safe_load_all(sys.stdin.buffer)), sys.stdout, default=str)
' >"$suite"

NOBOUNCE_SPF_SUITE=$suite NOBOUNCE_PYSPF=$(realpath "$package/lib/python3/dist-packages") \
    cargo nextest run --locked --all-features --run-ignored only --no-capture --test spf "$@"
