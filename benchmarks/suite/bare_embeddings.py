"""What anybody would write to serve a sentence model once: python bare_embeddings.py MODEL SOCKET

SOCKET is the number of a listening socket: the call waits there while this starts.
"""

import json
import socket
import sys

import torch
from transformers import AutoModel, AutoTokenizer


def main(folder: str, listening: socket.socket) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    connection, _ = listening.accept()
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    made = tokenizer([json.loads(body)["input"]], return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**made).last_hidden_state
    mask = made["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    answer = json.dumps({"data": [{"embedding": vectors[0].tolist()}]}).encode()
    connection.sendall(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n" % len(answer) + answer
    )
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
