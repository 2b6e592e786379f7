"""The paths of inference calls, for the gateway that routes and the authorizer that checks."""

INFERENCE = r"(?:/m/[^/]+)?(?:/v1)?/(chat/completions|completions|embeddings)"
