#!/usr/bin/env bash
# Builds the real programs that the dev cluster and the tests run, from pinned Go modules,
# into $TAKO_TOOLS (default ~/.cache/takobune/tools/<set>). Builds only what is missing.
# Usage: install.sh [--path | --render-path | --only PROGRAM]
# --path and --render-path print the directories (of the cluster's programs, and of those that render) and build nothing.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

KUBE=v1.37.2 ETCD=v3.6.16 NATS_SERVER=v2.15.2 NATS_CLI=v0.5.1 KWOK=v0.8.0
cache="${XDG_CACHE_HOME:-$HOME/.cache}/takobune"
bin="${TAKO_TOOLS:-$cache/tools/kube-$KUBE,etcd-$ETCD,nats-$NATS_SERVER,cli-$NATS_CLI,kwok-$KWOK}"
HELM=v4.3.1 HELM3=v3.22.0 KUSTOMIZE=v5.8.2 JSONNET=v0.22.0 REGISTRY=v3.1.2
render="$bin/render-helm-$HELM,$HELM3,kustomize-$KUSTOMIZE,jsonnet-$JSONNET,registry-$REGISTRY"
if [[ "${1:-}" == "--path" ]]; then echo "$bin"; exit 0; fi
if [[ "${1:-}" == "--render-path" ]]; then echo "$render"; exit 0; fi

only="" && [[ "${1:-}" == "--only" ]] && only="$2"
wanted() { [[ -z "$only" || "$only" == "$1" ]] && [[ ! -x "$bin/$1" ]]; }

mkdir -p "$bin" "$render"
exec 9>"$bin/.lock"
flock 9   # two installers at once would build everything twice
command -v go >/dev/null || { echo "error: Go 1.26 is needed to build the dev cluster; install it from https://go.dev/dl and run this again" >&2; exit 1; }
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false

# build NAME DIR PACKAGE LDFLAGS: into a temporary name first, so a broken build leaves no half program
build() {
  local name=$1 dir=$2 package=$3 ldflags=$4 start=$SECONDS
  wanted "$name" || return 0
  echo "tools: building $name ..."
  (cd "$dir" && go build -trimpath -ldflags "-s -w $ldflags" -o "$bin/.$name" "$package")
  mv "$bin/.$name" "$bin/$name"
  echo "tools: $name built in $((SECONDS - start)) s"
}
# fetch NAME PACKAGE@VERSION LDFLAGS: for modules without replace lines
fetch() {
  local name=$1 package=$2 ldflags=$3 start=$SECONDS
  wanted "$name" || return 0
  echo "tools: building $name ..."
  mkdir -p "$bin/.gobin"
  GOBIN="$bin/.gobin" go install -trimpath -ldflags "-s -w $ldflags" "$package"
  mv "$bin/.gobin/$name" "$bin/$name"
  echo "tools: $name built in $((SECONDS - start)) s"
}
# tool NAME PACKAGE@VERSION BINARY: one that renders, or serves what is rendered
tool() {
  local name=$1 package=$2 binary=$3 start=$SECONDS
  [[ -z "$only" || "$only" == "$name" ]] && [[ ! -x "$render/$name" ]] || return 0
  echo "tools: building $name ..."
  mkdir -p "$render/.gobin"
  GOBIN="$render/.gobin" go install -trimpath -ldflags "-s -w" "$package"
  mv "$render/.gobin/$binary" "$render/$name"
  echo "tools: $name built in $((SECONDS - start)) s"
}
version="-X k8s.io/component-base/version.gitVersion=$KUBE -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"

fetch nats-server "github.com/nats-io/nats-server/v2@$NATS_SERVER" ""
build etcd "$here/etcd" go.etcd.io/etcd/server/v3 ""
for program in kube-apiserver kubectl kube-controller-manager kube-scheduler; do
  build "$program" "$here/kube" "k8s.io/kubernetes/cmd/$program" "$version"
done
fetch kwok "sigs.k8s.io/kwok/cmd/kwok@$KWOK" ""
tool helm "helm.sh/helm/v4/cmd/helm@$HELM" helm
tool helm3 "helm.sh/helm/v3/cmd/helm@$HELM3" helm
tool kustomize "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE" kustomize
tool jsonnet "github.com/google/go-jsonnet/cmd/jsonnet@$JSONNET" jsonnet
tool registry "github.com/distribution/distribution/v3/cmd/registry@$REGISTRY" registry
fetch nats "github.com/nats-io/natscli/nats@$NATS_CLI" ""
echo "tools: ready in $bin"
