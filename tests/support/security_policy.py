"""What a SecurityPolicy with tokens and roles is to Envoy, as Envoy Gateway 1.8 renders it.

Its own golden files show the shape: internal/xds/translator/testdata/out/xds-ir/authorization-jwt-claim.*.yaml.
"""

from typing import Any

Document = dict[str, Any]
_TYPES = "type.googleapis.com/envoy."
_HTTP = f"{_TYPES}extensions.filters.http"
_JWT, _RBAC = "envoy.filters.http.jwt_authn", "envoy.filters.http.rbac"
_ACTIONS = {"Allow": "ALLOW", "Deny": "DENY"}


def filters(policies: list[Document], issuer: str) -> list[Document]:
    """Return the filters of a listener with these policies; `issuer` is the cluster that the keys come from."""
    providers: Document = {}
    requirements: Document = {}
    for policy in policies:
        name = policy["metadata"]["name"]
        (provider,) = policy["spec"]["jwt"]["providers"]
        providers[name] = _provider(provider, issuer)
        requirements[name] = {"provider_name": name}
    authentication = {"@type": f"{_HTTP}.jwt_authn.v3.JwtAuthentication"}
    return [
        {"name": _JWT, "typed_config": {**authentication, "providers": providers, "requirement_map": requirements}},
        {"name": _RBAC, "typed_config": {"@type": f"{_HTTP}.rbac.v3.RBAC"}},
    ]


def protected(route: Document, policy: Document) -> Document:
    """Return a route of Envoy's with a policy."""
    requirement = {"@type": f"{_HTTP}.jwt_authn.v3.PerRouteConfig", "requirement_name": policy["metadata"]["name"]}
    rules = {"@type": f"{_HTTP}.rbac.v3.RBACPerRoute", "rbac": {"matcher": _matcher(policy["spec"]["authorization"])}}
    return {**route, "typed_per_filter_config": {_JWT: requirement, _RBAC: rules}}


def _provider(provider: Document, issuer: str) -> Document:
    return {
        "issuer": provider["issuer"],
        "audiences": provider["audiences"],
        "forward": True,
        "from_headers": [
            {"name": one["name"], "value_prefix": one["valuePrefix"]} for one in provider["extractFrom"]["headers"]
        ],
        "payload_in_metadata": provider["name"],
        "claim_to_headers": [
            {"claim_name": one["claim"], "header_name": one["header"]} for one in provider["claimToHeaders"]
        ],
        "remote_jwks": {
            "async_fetch": {},
            "cache_duration": "300s",
            "http_uri": {"uri": provider["remoteJWKS"]["uri"], "cluster": issuer, "timeout": "60s"},
        },
    }


def _matcher(authorization: Document) -> Document:
    matchers = [
        {
            "predicate": _all([*_operation(rule), *map(_claim(rule), rule["principal"]["jwt"]["claims"])]),
            "on_match": _act(rule["action"], rule["name"]),
        }
        for rule in authorization["rules"]
    ]
    return {"matcher_list": {"matchers": matchers}, "on_no_match": _act(authorization["defaultAction"], "default")}


def _act(action: str, name: str) -> Document:
    kind = {"@type": f"{_TYPES}config.rbac.v3.Action", "name": _ACTIONS[action], "action": _ACTIONS[action]}
    return {"action": {"name": name, "typed_config": kind}}


def _operation(rule: Document) -> list[Document]:
    methods = rule.get("operation", {}).get("methods", [])
    kind = {"@type": f"{_TYPES}type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": ":method"}
    read = {"name": "http_header", "typed_config": kind}
    made = [{"single_predicate": {"input": read, "value_match": {"exact": method}}} for method in methods]
    return [_any(made)] if made else []


def _claim(rule: Document) -> Any:
    provider = rule["principal"]["jwt"]["provider"]

    def predicate(claim: Document) -> Document:
        # A dot in a claim's name leads into an object, as in Keycloak's realm_access.roles.
        path = [{"key": key} for key in (provider, *claim["name"].split("."))]
        source = {"@type": f"{_TYPES}extensions.matching.common_inputs.network.v3.DynamicMetadataInput", "filter": _JWT}
        read = {"name": "claim", "typed_config": {**source, "path": path}}
        return _any(
            [{"single_predicate": {"input": read, "custom_match": _value(claim, one)}} for one in claim["values"]]
        )

    return predicate


def _value(claim: Document, value: str) -> Document:
    said: Document = {"string_match": {"exact": value}}
    if claim["valueType"] == "StringArray":
        said = {"list_match": {"one_of": said}}
    kind = {"@type": f"{_TYPES}extensions.matching.input_matchers.metadata.v3.Metadata", "value": said}
    return {"name": "claim_matcher", "typed_config": kind}


def _all(predicates: list[Document]) -> Document:
    return predicates[0] if len(predicates) == 1 else {"and_matcher": {"predicate": predicates}}


def _any(predicates: list[Document]) -> Document:
    return predicates[0] if len(predicates) == 1 else {"or_matcher": {"predicate": predicates}}
