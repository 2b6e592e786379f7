"""How threads of maths libraries behave. To be imported before any of them."""

import os

# They would start threads when they are imported; a predictor sets its own number later.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Who waits for the others sleeps: where a predictor shares its cores, threads that spin in place of
# that keep away those that they wait for, and a call takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
