"""The shortest way to a first token by llama-cpp-python: bare_llama.py MODEL CONTEXT THREADS"""

import os
import sys

from llama_cpp import Llama


def main(path: str, context: int, threads: int) -> None:
    model = Llama(path, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
    made = model.create_completion("hello world", max_tokens=1, logit_bias={2: -100.0})
    os.write(1, f"{made['usage']['completion_tokens']}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
