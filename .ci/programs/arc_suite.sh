#!/usr/bin/env bash
# Runs ValiMail's test suite of ARC: `.ci/programs/arc_suite.sh FILE`, where FILE is `tests/arc-draft-validation-tests.yml`
# of the repository `arc_test_suite`. No package registry has it, so `.ci/run` runs the cases of
# tests/authentication/arc/cases.rs instead, which have the same names and expectations. Needs Python's yaml.
set -euo pipefail
suite=$(realpath "${1:?the suite}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
NOBOUNCE_ARC_SUITE=$(mktemp)
export NOBOUNCE_ARC_SUITE
trap 'rm "$NOBOUNCE_ARC_SUITE"' EXIT
python3 -c '
import json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))
' "$suite" >"$NOBOUNCE_ARC_SUITE"
cargo nextest run --locked --all-features --run-ignored only --no-capture --test authentication \
    -E 'test(/the_original_suite/)'
