# What the scripts here share: versions, messages, bounded waits. Sourced, never run.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=kind/versions.env
source "${VERSIONS:-$root/kind/versions.env}"
cluster=${CLUSTER:-healthrisk}
context=${KUBE_CONTEXT:-kind-$cluster}
kube() { kubectl --context "$context" "$@"; }
say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
# The one rule for every image, ours and others': under REGISTRY its name is what follows the host in its own.
named() {
  local name=$1
  if [ -n "${REGISTRY:-}" ]; then
    # What stands before the first slash is a host if it has a dot or a port.
    [[ $name =~ ^([^/]*[.:][^/]*|localhost)/(.+)$ ]] && name=${BASH_REMATCH[2]}
    name=$REGISTRY/$name
  fi
  printf '%s\n' "$name"
}
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Repeat a command until it succeeds: attempt SECONDS WHAT COMMAND...; says what it waits for, and why not yet.
attempt() {
  local seconds=$1 what=$2 until output=
  shift 2
  until=$((SECONDS + seconds))
  until output=$("$@" 2>&1); do
    if [ $SECONDS -ge $until ]; then
      printf '%s\n' "$output" >&2
      die "$what: not within $seconds s"
    fi
    say "waiting for $what (at most $((until - SECONDS)) s more): ${output##*$'\n'}"
    sleep 5
  done
}

# Wait until everything in a namespace runs: ready NAMESPACE SECONDS [SELECTOR]. Time counts while no image is pulled:
# several GB come over a slow line, so that PULL_SECONDS (3600) bound the whole.
ready() {
  local namespace=$1 seconds=$2 until=$((SECONDS + $2)) last=$((SECONDS + ${PULL_SECONDS:-3600})) missing='' images=''
  while missing=$(unready "$namespace" "${3:-}") && [ -n "$missing" ]; do
    images=$(pulling "$namespace")
    if [ -n "$images" ]; then until=$((SECONDS + seconds < last ? SECONDS + seconds : last)); fi
    if [ $SECONDS -ge "$until" ]; then
      explain "$namespace" >&2
      die "namespace $namespace: not ready within $seconds s: $missing"
    fi
    say "waiting in $namespace for $missing${images:+; pulling $images} (at most $((until - SECONDS)) s more)"
    sleep 5
  done
}

# Print the images that a namespace's nodes pull right now, on one line: what was said last of each is that it began.
pulling() {
  kube --namespace "$1" get events --sort-by .lastTimestamp --no-headers \
    --output custom-columns=REASON:.reason,MESSAGE:.message 2>/dev/null \
    | awk -F '"' '/^(Pulling|Pulled|Failed|BackOff) .*image "/ { split($1, word, " "); said[$2] = word[1] }
        END { for (image in said) if (said[image] == "Pulling") { printf "%s%s", sep, image; sep = ", " } }'
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
