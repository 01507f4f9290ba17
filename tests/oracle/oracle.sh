#!/bin/sh
# Asks Argo CD's own comparison (gitops-engine) and Kubernetes' own types, and records what they say:
#   oracle.sh verdicts   engine/src/diff/testdata/verdicts.jsonl, from corpus.jsonl beside it
#   oracle.sh patches    engine/src/testdata/patches.jsonl, what kubectl apply sends for the same corpus
#   oracle.sh types      engine/src/schema/builtin.txt
#   oracle.sh chance N SEED   N cases changed by chance, into a directory for the golden test: prints how to run it
#   oracle.sh fill       reads lines {"target": ...}, prints the objects with their defaults (to write new cases)
# Needs Go and the module proxy; a few minutes of CPU the first time. Not part of CI: the recorded files are.
set -eu
cd "$(dirname "$0")"
version=v3.6.1
module=github.com/argoproj/argo-cd/gitops-engine/v3
if [ ! -d .gitops-engine ]; then
    # The module asks for a newer Go than its code needs, so the go command only downloads it and will not unpack it.
    zip=$(go mod download -json "$module@$version" 2>/dev/null | sed -n 's/.*"Zip": "\(.*\)".*/\1/p')
    unzip -qo "$zip" -d .unpacked
    mv ".unpacked/$module@$version" .gitops-engine
    rm -r .unpacked
    chmod -R u+w .gitops-engine
    sed -i 's/^go 1\..*/go 1.26.0/' .gitops-engine/go.mod
fi
go build -trimpath -o .oracle .
engine=../../engine/src
case "${1:-}" in
verdicts) ./.oracle diff <$engine/diff/testdata/corpus.jsonl >$engine/diff/testdata/verdicts.jsonl ;;
patches) ./.oracle apply <$engine/diff/testdata/corpus.jsonl >$engine/testdata/patches.jsonl ;;
types)
    specs=$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/api/openapi-spec/v3
    ./.oracle types "$specs" >$engine/schema/builtin.txt
    ;;
chance)
    directory=$(mktemp -d)
    ./.oracle mutate "${2:-1000}" "${3:-1}" <$engine/diff/testdata/corpus.jsonl >"$directory/corpus.jsonl"
    ./.oracle diff <"$directory/corpus.jsonl" >"$directory/verdicts.jsonl" 2>/dev/null
    echo "TAKO_ORACLE=$directory cargo test -p tako-engine our_verdicts"
    ;;
fill) ./.oracle fill ;;
*) sed -n '2,8p' "$0" >&2 && exit 2 ;;
esac
