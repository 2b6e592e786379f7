"""What the gateway that routes and those behind it who check must agree on."""

DELEGATING_HEADER = "x-dormouse-delegating"
"""Comes with the questions about calls that the control plane makes for users, and with no other:
the gateway writes it into its own question, where no caller's headers of that name get to."""

INFERENCE = r"(?:/m/[^/]+)?(?:/v1)?/(chat/completions|completions|embeddings)"
"""The paths of inference calls."""

ADDRESS_HEADER = "x-envoy-external-address"
"""The caller's address. Envoy writes it itself, over whatever a caller sends."""

_QUOTED = r'"([ !#-[\]-~\t]|\\.)*"'
RESPOND_ASYNC = rf"(?i)(([!#-+\--~ \t]|{_QUOTED})*,)*[ \t]*respond-async[ \t]*([;,].*)?"
"""The headers `Prefer` of a call that nobody waits for (RFC 7240): the preference may stand among
others, and be written in any case. What stands in quotation marks is another one's value."""
