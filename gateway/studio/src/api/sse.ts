// Server-sent events over fetch: EventSource cannot send an Authorization header.

/** The data of each event, as it comes. Ends with the stream. */
export async function* events(response: Response): AsyncGenerator<string> {
  const body = response.body;
  if (!body) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      pending += value;
      let end = pending.indexOf("\n\n");
      while (end >= 0) {
        const data = dataOf(pending.slice(0, end));
        pending = pending.slice(end + 2);
        if (data !== "") yield data;
        end = pending.indexOf("\n\n");
      }
    }
  } finally {
    // Also when the caller stops early: the gateway then stops its work.
    await reader.cancel().catch(() => undefined);
  }
}

function dataOf(event: string): string {
  const lines = event.split("\n").filter((line) => line.startsWith("data:"));
  return lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}
