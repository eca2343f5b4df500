#!/usr/bin/env bash
# Makes one gated run in a CI job; called by action.yml. INPUT_* variables hold the inputs, LOADGEN the command.
set -euo pipefail

arguments=(run "$INPUT_SCENARIO" --results "$INPUT_RESULTS")
[ -z "$INPUT_TARGET" ] || arguments+=(--target "$INPUT_TARGET")
[ "$INPUT_ALLOW_REMOTE" != true ] || arguments+=(--allow-remote)
[ -z "$INPUT_AUTH" ] || arguments+=(--auth "$INPUT_AUTH")
while IFS= read -r line; do
    [ -z "$line" ] || arguments+=(--set "$line")
done <<<"$INPUT_SET"

before=$(find "$INPUT_RESULTS" -mindepth 2 -maxdepth 2 -name manifest.json 2>/dev/null | sort || true)
code=0
"$LOADGEN" "${arguments[@]}" || code=$?
after=$(find "$INPUT_RESULTS" -mindepth 2 -maxdepth 2 -name manifest.json 2>/dev/null | sort || true)
folder=$(comm -13 <(echo "$before") <(echo "$after") | tail -n 1 | xargs -r dirname)

{
    echo "exit-code=$code"
    echo "folder=$folder"
} >>"${GITHUB_OUTPUT:-/dev/null}"
if [ -n "$folder" ] && [ -f "$folder/summary.md" ]; then
    cat "$folder/summary.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
if [ "$code" = 3 ] && [ "$INPUT_INCONCLUSIVE" = pass ]; then
    echo "inconclusive (exit code 3), which passes by the input 'inconclusive'" >&2
    exit 0
fi
exit "$code"
