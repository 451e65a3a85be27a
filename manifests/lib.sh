# What the scripts of this folder share: upstream's parts, and the one rule for the name of an image. Sourced, never run.
# shellcheck shell=bash
# shellcheck source=kind/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../kind/lib.sh"
upstream=(cert-manager metrics-server gateway kserve pipelines-crds pipelines)
github=https://github.com
# shellcheck disable=SC2034 # for those who source this
read -r -a kustomize <<<"${KUSTOMIZE:-kubectl kustomize}"

# Print where upstream publishes a part: a file of a release, or a folder of a repository.
published() {
  case $1 in
    cert-manager) echo "$github/cert-manager/cert-manager/releases/download/$CERT_MANAGER_VERSION/cert-manager.yaml" ;;
    metrics-server) echo "$github/kubernetes-sigs/metrics-server/releases/download/$METRICS_SERVER_VERSION/components.yaml" ;;
    gateway) echo "$github/envoyproxy/gateway/releases/download/$ENVOY_GATEWAY_VERSION/install.yaml" ;;
    # It holds the custom resources of kserve-crds.yaml, too.
    kserve) echo "$github/kserve/kserve/releases/download/$KSERVE_VERSION/kserve.yaml" ;;
    pipelines-crds) echo "$github/kubeflow/pipelines//manifests/kustomize/cluster-scoped-resources?ref=$KFP_VERSION&timeout=180s" ;;
    pipelines) echo "$github/kubeflow/pipelines//manifests/kustomize/env/platform-agnostic?ref=$KFP_VERSION&timeout=180s" ;;
    *) die "part $1: expected one of ${upstream[*]}" ;;
  esac
}

# Print every image that YAML on standard input names with a tag or a digest, one a line. KServe, Kubeflow Pipelines and
# Argo name images of the pods that they make in JSON, in variables and in arguments, too.
images_in() {
  local name='[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)?/[a-z0-9./_-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]+)'
  # A colon without a blank stands in prose: `registry/image:tag`.
  { grep -oE "[iI]mage(: +|\" ?: ?)\"?[a-z0-9][^\" ,]+|[ \"=]$name\"?\$" || true; } | sed -E 's/"$//; s/.*[" =]//' \
    | { grep -E ':[A-Za-z0-9]' || true; } | sort -u
}
