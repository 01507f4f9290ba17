#!/usr/bin/env bash
# Builds Argo CD's own side of the plugin protocol (main.go) from the Go proxy: build.sh <program>. Takes many minutes and is no part
# of `make test`. Argo CD 3.6 asks for Go 1.27 but builds with 1.26: its module is copied with that one line changed.
set -eu
program=$(realpath -m "$1"); cd "$(dirname "$0")"
version=v3.6.1
work=${TMPDIR:-/tmp}/takobune-cmp; rm -rf "$work"; mkdir -p "$work"
zip=$(cd "$work" && go mod download -json "github.com/argoproj/argo-cd/v3@$version" | sed -n 's/.*"Zip": "\(.*\)".*/\1/p') || true
python3 -m zipfile -e "$zip" "$work/zip"   # the go command itself refuses to unpack it
mv "$work/zip/github.com/argoproj/argo-cd/v3@$version" "$work/argo-cd"
sed -i 's/^go 1\.27.*/go 1.26.0/' "$work/argo-cd/go.mod"
cp main.go "$work/"; cd "$work"
{
  printf 'module takobune.dev/oracle/cmp\n\ngo 1.26.0\n\nrequire (\n\tgithub.com/argoproj/argo-cd/v3 %s\n\tgithub.com/argoproj/argo-cd/gitops-engine/v3 %s\n)\n\n' "$version" "$version"
  printf 'replace github.com/argoproj/argo-cd/v3 => ./argo-cd\n\n'
  sed -n '/^replace (/,/^)/p' argo-cd/go.mod
} > go.mod
nice go build -mod=mod -p 1 -o "$program" .
