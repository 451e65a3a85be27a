# What the scripts here share: versions, messages, bounded waits. Sourced, never run.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=kind/versions.env
source "$root/kind/versions.env"
cluster=${CLUSTER:-healthrisk}
context=${KUBE_CONTEXT:-kind-$cluster}
kube() { kubectl --context "$context" "$@"; }
say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Repeat a command until it succeeds: attempt SECONDS WHAT COMMAND...; says what it waits for, and at last why not.
attempt() {
  local seconds=$1 what=$2 until output=
  shift 2
  until=$((SECONDS + seconds))
  until output=$("$@" 2>&1); do
    if [ $SECONDS -ge $until ]; then
      printf '%s\n' "$output" >&2
      die "$what: not within $seconds s"
    fi
    say "waiting for $what (at most $((until - SECONDS)) s more)"
    sleep 5
  done
}

# Wait until everything in a namespace runs: ready NAMESPACE SECONDS [SELECTOR]
ready() {
  local namespace=$1 until=$((SECONDS + $2)) missing=
  while missing=$(unready "$namespace" "${3:-}") && [ -n "$missing" ]; do
    if [ $SECONDS -ge $until ]; then
      explain "$namespace" >&2
      die "namespace $namespace: not ready within $2 s: $missing"
    fi
    say "waiting in $namespace for $missing (at most $((until - SECONDS)) s more)"
    sleep 5
  done
}

# Print the deployments and stateful sets of a namespace that lack a replica, on one line.
unready() {
  kube --namespace "$1" get deployments,statefulsets --no-headers --selector "${2:-}" \
    --output custom-columns=NAME:.metadata.name,WANTED:.spec.replicas,READY:.status.readyReplicas \
    | awk '$2 != $3 && $2 > 0 { printf "%s%s", sep, $1; sep = ", " }'
}

# Say why pods of a namespace are not ready, and what they logged last.
explain() {
  local pod
  kube --namespace "$1" get pods
  kube --namespace "$1" get events --field-selector type=Warning --sort-by .lastTimestamp --no-headers | tail -n 10
  while read -r pod; do
    echo "--- last lines of $pod"
    kube --namespace "$1" logs "$pod" --all-containers --tail=5 --prefix || true
  done < <(kube --namespace "$1" get pods --no-headers | awk '{ split($2, of, "/"); if (of[1] != of[2] && $3 != "Completed") print $1 }')
}
