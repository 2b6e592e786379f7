"""What the gateway that routes and those behind it who check must agree on."""

INFERENCE = r"(?:/m/[^/]+)?(?:/v1)?/(chat/completions|completions|embeddings)"
"""The paths of inference calls."""

ADDRESS_HEADER = "x-envoy-external-address"
"""The caller's address. Envoy writes it itself, over whatever a caller sends."""
