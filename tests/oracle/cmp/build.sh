#!/usr/bin/env bash
# Builds Argo CD's own side of the plugin protocol (main.go) from the Go proxy: build.sh <program>. Takes many minutes and is no part
# of `make test`. Argo CD 3.6 asks for Go 1.27: its modules are unpacked here and said in 1.26 (older.py).
set -eu
program=$(realpath -m "$1"); cd "$(dirname "$0")"
version=v3.6.1
work=${TMPDIR:-/tmp}/takobune-cmp; rm -rf "$work"; mkdir -p "$work"
cp main.go older.py "$work/"; cd "$work"
for module in github.com/argoproj/argo-cd/v3 github.com/argoproj/argo-cd/gitops-engine/v3; do
  zip=$(go mod download -json "$module@$version" 2>/dev/null | sed -n 's/.*"Zip": "\(.*\)".*/\1/p') || true
  python3 -m zipfile -e "$zip" zip
done
mv "zip/github.com/argoproj/argo-cd/v3@$version" argo-cd
mv "zip/github.com/argoproj/argo-cd/gitops-engine/v3@$version" gitops-engine
sed -i 's/^go 1\.27.*/go 1.26.0/' argo-cd/go.mod gitops-engine/go.mod
python3 older.py argo-cd
{
  printf 'module takobune.dev/oracle/cmp\n\ngo 1.26.0\n\nrequire github.com/argoproj/argo-cd/v3 %s\n\n' "$version"
  printf 'replace github.com/argoproj/argo-cd/v3 => ./argo-cd\n\nreplace github.com/argoproj/argo-cd/gitops-engine/v3 => ./gitops-engine\n\n'
  sed -n '/^replace (/,/^)/p' argo-cd/go.mod
} > go.mod
nice go build -mod=mod -p 1 -o "$program" .
