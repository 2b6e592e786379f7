"""What callers send: one validator an endpoint, from bytes to a request that an engine takes."""
