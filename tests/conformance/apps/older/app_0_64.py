"""The same as `app_0.py`, without a class: those of the SDK before 0.72 are made otherwise."""

import os

import modal

app = modal.App("older")


@app.function(keep_warm=0, container_idle_timeout=5)
def double(x):
    print(f"doubling {x}")
    return 2 * x


@app.function()
def count(n):
    yield from range(n)


@app.function(secrets=[modal.Secret.from_name("older")])
def environment():
    return {"modal": modal.__version__, "secret": os.environ["WORD"], "local": modal.is_local()}


@app.function(serialized=True, name="shout")
def louder(word):
    return word.upper()


@app.function(schedule=modal.Period(days=1))
def tick():
    return f"ticked by {modal.__version__}"


@app.function()
@modal.web_endpoint()
def hello(name: str = "world"):
    return {"hello": name, "modal": modal.__version__}


@app.function(allow_concurrent_inputs=10)
@modal.asgi_app()
def asgi():
    async def answer(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
        await send({"type": "http.response.body", "body": b"plain"})

    return answer


@app.local_entrypoint()
def main(x: int = 3):
    print(f"answer {double.remote(x)}")
