"""The openai Python SDK against a gateway: nothing is changed but the base URL, which comes from OPENAI_BASE_URL.

Run by e2e/sdk.rs. Every check is a function; the script prints their names and fails with the first that does not hold.
"""

import json
import os
import time

import openai

MODEL = os.environ["CAIRN_TEST_MODEL"]
EMBEDDING = os.environ["CAIRN_TEST_EMBEDDING"]
QUESTION = [{"role": "user", "content": "Name the days of the week in order."}]

client = openai.OpenAI(max_retries=0, timeout=120)


def chat():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=12, seed=1)
    assert answer.object == "chat.completion" and answer.model == MODEL, answer
    assert answer.choices[0].message.role == "assistant", answer
    assert answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer
    assert answer._request_id, "the SDK finds x-request-id"


def chat_with_parts_and_roles():
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello,"}, {"type": "text", "text": "who are you?"}]},
        {"role": "assistant", "content": "A model."},
        {"role": "user", "content": "Which?"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
    assert answer.choices[0].message.content is not None, answer


def chat_streams_with_usage():
    arguments = dict(model=MODEL, messages=QUESTION, temperature=0, max_tokens=12)
    whole = client.chat.completions.create(**arguments)
    stream = client.chat.completions.create(**arguments, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert [chunk.usage is not None for chunk in chunks].count(True) == 1 and chunks[-1].usage, chunks[-1]
    assert chunks[-1].usage == whole.usage, (chunks[-1].usage, whole.usage)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert reasons == [whole.choices[0].finish_reason], reasons


def chat_stream_helper():
    # The helper raises when an answer is cut off by its length, so this one ends by a stop string.
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, max_tokens=200, temperature=0, stop=["y"]
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content, final


def chat_logprobs():
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=3, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens, answer
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in content), content


def legacy_completions():
    prompt = "The capital of France is"
    answer = client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=4, echo=True)
    assert answer.object == "text_completion" and answer.choices[0].text.startswith(prompt), answer
    stream = client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=4, stream=True)
    text = "".join(chunk.choices[0].text for chunk in stream if chunk.choices)
    assert prompt + text == answer.choices[0].text, (text, answer)


def embeddings():
    # Without encoding_format the SDK asks for base64 and decodes it.
    packed = client.embeddings.create(model=EMBEDDING, input=["a tree", "a river"])
    plain = client.embeddings.create(model=EMBEDDING, input="a tree", encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [384, 384], packed.model
    assert [item.index for item in packed.data] == [0, 1], packed.model
    difference = max(abs(a - b) for a, b in zip(packed.data[0].embedding, plain.data[0].embedding))
    assert difference < 1e-5, difference
    assert abs(sum(value * value for value in plain.data[0].embedding) - 1) < 1e-4
    assert packed.usage.prompt_tokens > 0, packed.usage


def models():
    listed = {model.id for model in client.models.list()}
    assert {MODEL, EMBEDDING} <= listed, listed
    model = client.models.retrieve(MODEL)
    assert model.id == MODEL and model.object == "model" and model.created > 0 and model.owned_by, model


def errors_are_of_the_sdks_classes():
    def raised(expected, call):
        try:
            call()
        except expected as error:
            assert error.code and error.type, (error.code, error.type, error.body)
            assert str(error.message), error
            return error
        raise AssertionError(f"{expected.__name__} was not raised")

    create = client.chat.completions.create
    missing = raised(openai.NotFoundError, lambda: create(model="gpt-4", messages=QUESTION))
    assert missing.code == "model_not_found" and missing.param == "model", missing.body
    bad = raised(openai.BadRequestError, lambda: create(model=MODEL, messages=QUESTION, temperature=9))
    assert bad.param == "temperature", bad.body
    unsupported = raised(
        openai.BadRequestError, lambda: create(model=MODEL, messages=QUESTION, audio={"voice": "alloy", "format": "wav"})
    )
    assert unsupported.code == "unsupported_parameter" and unsupported.param == "audio", unsupported.body
    stranger = openai.OpenAI(api_key="cairn_wrong", max_retries=0)
    wrong = raised(openai.AuthenticationError, lambda: stranger.chat.completions.create(model=MODEL, messages=QUESTION))
    assert wrong.code == "invalid_api_key", wrong.body
    raised(openai.NotFoundError, lambda: create(model=MODEL, messages=QUESTION, extra_body={"datanets": ["jargon"]}))
    raised(openai.NotFoundError, lambda: client.models.retrieve("gpt-4"))


def tools_and_formats():
    parameters = {"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    asked = [{"role": "user", "content": "How is the weather in Oslo?"}]
    create = client.chat.completions.create
    answer = create(model=MODEL, messages=asked, tools=tools, tool_choice="required", max_tokens=60, temperature=0)
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Paris", "Oslo"), call
    assert answer.choices[0].finish_reason == "tool_calls", answer
    asked += [answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "Rain"}]
    assert create(model=MODEL, messages=asked, tools=tools, tool_choice="none", max_tokens=8).choices[0].message.content
    year = {"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "when", "schema": year, "strict": True}}
    answer = create(model=MODEL, messages=QUESTION, response_format=form, max_tokens=40, temperature=0)
    assert isinstance(json.loads(answer.choices[0].message.content)["year"], int), answer


def attribution():
    question = [{"role": "user", "content": "What is a B-tree?"}]
    extra = {"datanets": ["foldoc"], "retrieval": {"top_k": 2}}
    answer = client.chat.completions.create(model=MODEL, messages=question, max_tokens=8, temperature=0, extra_body=extra)
    found = answer.model_extra["attribution"]
    assert found["datapoints"][0]["metadata"]["headword"] == "B-tree", found["datapoints"]
    assert len(found["datapoints"]) == 2, found["datapoints"]
    assert answer.attribution["id"] == answer.id, found
    assert isinstance(answer.choices[0].message.annotations, list), answer
    stream = client.chat.completions.create(
        model=MODEL, messages=question, max_tokens=8, temperature=0, stream=True, extra_body=extra
    )
    carried = [chunk.model_extra["attribution"] for chunk in stream if "attribution" in (chunk.model_extra or {})]
    assert len(carried) == 1, carried
    assert carried[0]["datapoints"][0]["id"] == found["datapoints"][0]["id"], carried
    # What the answer drew on is proved by a file that the same client can fetch.
    bundle = client.get(f"/attributions/{answer.id}/proof", cast_to=object)
    assert bundle["record"]["id"] == answer.id, bundle


def examples(count):
    rows = []
    for i in range(count):
        question = {"role": "user", "content": f"What is number {i}?"}
        rows.append(json.dumps({"messages": [question, {"role": "assistant", "content": f"Stone {i}, laid on the cairn."}]}))
    return ("\n".join(rows) + "\n").encode()


def files():
    made = client.files.create(file=("examples.jsonl", examples(12)), purpose="fine-tune")
    assert (made.object, made.filename, made.purpose, made.status) == ("file", "examples.jsonl", "fine-tune", "processed"), made
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == examples(12)
    assert made.id in {file.id for file in client.files.list()}, "it is listed"
    other = client.files.create(file=("other.jsonl", examples(2)), purpose="fine-tune")
    first = client.files.list(limit=1, order="asc", purpose="fine-tune")
    assert first.has_next_page() and {made.id, other.id} <= {file.id for file in first}, "pages follow each other"
    for file in (made, other):
        assert client.files.delete(file.id).deleted
    try:
        client.files.retrieve(made.id)
    except openai.NotFoundError:
        return
    raise AssertionError("a deleted file is gone")


def waited(job, *states):
    for _ in range(1200):
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in states:
            return job
        assert job.status in ("queued", "running"), job
        time.sleep(0.25)
    raise AssertionError(f"{job.id} is {job.status}, not {states}")


def fine_tuning():
    jobs = client.fine_tuning.jobs
    file = client.files.create(file=("examples.jsonl", examples(24)), purpose="fine-tune")
    options = {"r": 4, "alpha": 8, "target_modules": ["q_proj"], "max_length": 64, "gradient_accumulation": 1, "packing": False}
    more = {"held_out": 0.2, "evaluation_samples": 1}

    def create(steps, suffix):
        made = {**options, "batch_size": 2, "max_steps": steps, "checkpoint_every": 1}
        method = {"type": "lora", "preset": "fast", "options": made}
        return jobs.create(
            model=MODEL,
            training_file=file.id,
            suffix=f"{suffix}-{os.getpid()}",
            seed=7,
            method=method,
            hyperparameters={"learning_rate_multiplier": 2.0},
            extra_body=more,
        )

    job = create(12, "sdk")
    assert (job.object, job.model, job.training_file, job.seed) == ("fine_tuning.job", MODEL, file.id, 7), job
    assert job.hyperparameters.learning_rate_multiplier == 2.0 and job.fine_tuned_model is None, job
    assert job.result_files == [] and job.method.type == "lora", job
    # Paused after the step in hand, and on from there.
    while not any(event.type == "metrics" for event in jobs.list_events(job.id)):
        time.sleep(0.1)
    jobs.pause(job.id)
    paused = waited(job, "paused", "succeeded")
    if paused.status == "paused":
        jobs.resume(job.id)
    # Another one waits behind it, and is cancelled there.
    second = create(4, "sdk-cancelled")
    assert jobs.cancel(second.id).status == "cancelled"
    assert [it.id for it in jobs.list(limit=1).data] == [second.id], "newest first"
    assert {job.id, second.id} <= {it.id for it in jobs.list(limit=1)}, "pages follow each other"
    done = waited(job, "succeeded")
    assert done.fine_tuned_model == f"{MODEL}:sdk-{os.getpid()}" and done.trained_tokens > 0 and done.finished_at, done

    events = list(jobs.list_events(job.id, limit=5))
    assert events[0].created_at >= events[-1].created_at and len({event.id for event in events}) == len(events), events
    assert {event.level for event in events} <= {"info", "warn", "error"}, events
    assert sum(event.type == "metrics" for event in events) >= 12, "all steps"
    page = jobs.checkpoints.list(job.id, limit=1)
    assert len(page.data) == 1 and page.has_more, page
    kept = list(page)
    assert [it.step_number for it in kept] == [12, 11], "those that are kept, newest first"
    assert kept[0].fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-12", kept
    assert kept[0].fine_tuning_job_id == job.id and kept[0].metrics.train_loss > 0, kept

    by_name = {client.files.retrieve(id).filename: id for id in done.result_files}
    assert set(by_name) == {"step_metrics.csv", "evaluation.json", "report.html"}, by_name
    lines = client.files.content(by_name["step_metrics.csv"]).text.splitlines()
    assert lines[0] == "step,train_loss,learning_rate,valid_loss" and len(lines) == 13, lines
    assert float(lines[1].split(",")[1]) > 0, lines
    metrics = json.loads(client.files.content(by_name["evaluation.json"]).text)["metrics"]
    assert metrics[0]["kind"] == "perplexity", metrics
    assert "<svg" in client.files.content(by_name["report.html"]).text
    assert set(done.result_files) <= {it.id for it in client.files.list(purpose="fine-tune-results")}
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=QUESTION, max_tokens=4)
    assert answer.model == done.fine_tuned_model and answer.choices[0].message.content is not None, answer
    client.files.delete(file.id)


def main():
    checks = [
        chat,
        chat_with_parts_and_roles,
        chat_streams_with_usage,
        chat_stream_helper,
        chat_logprobs,
        legacy_completions,
        embeddings,
        models,
        errors_are_of_the_sdks_classes,
        tools_and_formats,
        attribution,
        files,
        fine_tuning,
    ]
    for check in checks:
        check()
        print("held:", check.__name__)
    print("all held: openai", openai.__version__)


if __name__ == "__main__":
    main()
