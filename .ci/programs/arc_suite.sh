#!/usr/bin/env bash
# Runs ValiMail's test suite of ARC, which `.ci/run` downloads with the source of libmail-dkim-perl. That is an
# edition with 170 cases. The newest edition has 171: `tests/arc-draft-validation-tests.yml` of the repository
# `arc_test_suite`. Needs Debian's python3-yaml.
#
# usage: .ci/programs/arc_suite.sh [FILE]
set -euo pipefail
suite=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/programs/arc_test_suite/arc-draft-validation-tests.yml}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
NOBOUNCE_ARC_SUITE=$(mktemp)
export NOBOUNCE_ARC_SUITE
trap 'rm "$NOBOUNCE_ARC_SUITE"' EXIT
/usr/bin/python3 -c '
import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))
' "$suite" >"$NOBOUNCE_ARC_SUITE"
cargo nextest run --locked --all-features --run-ignored only --no-capture --test authentication \
    -E 'test(/the_original_suite/)'
