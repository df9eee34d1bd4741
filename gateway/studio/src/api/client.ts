// The gateway's public API, typed by its own description. Everything the studio shows comes through here.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";
import { credential, refused, session } from "./session";

export type Schemas = components["schemas"];

/** What the gateway answered instead of success. Its message says what was wrong and how to mend it. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  readonly code: string | null;

  constructor(status: number, message: string, code: string | null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const middleware: Middleware = {
  onRequest({ request }) {
    sign(request.headers);
    return request;
  },
  async onResponse({ request, response }) {
    if (response.ok) return;
    heed(response, request.headers);
    throw await refusal(response);
  },
  onError() {
    throw unreachable();
  },
};

export const api = createClient<paths>({ baseUrl: window.location.origin });
api.use(middleware);

/** A request that the typed client cannot express: streams, uploads and files. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  sign(headers);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (response.ok) return response;
  heed(response, headers);
  throw await refusal(response);
}

/** Says who asks. The browser adds the session's cookie by itself, which counts only beside the second header. */
function sign(headers: Headers): void {
  const secret = credential();
  if (secret && !headers.has("authorization")) headers.set("authorization", `Bearer ${secret}`);
  headers.set("x-cairn-studio", "1");
}

/** Signs out where the gateway no longer takes what was sent, unless that is another than the tab has by now. */
function heed(response: Response, sent: Headers): void {
  if (response.status !== 401) return;
  const secret = credential();
  const given = sent.get("authorization");
  if (secret ? given === `Bearer ${secret}` : given === null && session() === "cookie") refused();
}

/** Files as a form. The gateway takes names of ASCII letters, digits, `.`, `_` and `-`; other characters become `-`. */
export function upload(files: { name: string; content: Blob }[]): FormData {
  const form = new FormData();
  for (const { name, content } of files) {
    const harmless = name.replace(/[^A-Za-z0-9._-]/g, "-").replace(/^\.+/, "");
    form.append("file", content, harmless.slice(-120) || "upload");
  }
  return form;
}

/** The body of an answer whose success the middleware has checked. */
export function body<T>(result: { data?: T }): T {
  if (result.data === undefined) throw new ApiError(0, "the gateway's answer was empty", null);
  return result.data;
}

async function refusal(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as Schemas["ErrorEnvelope"];
    return new ApiError(response.status, error.message, error.code ?? null);
  } catch {
    return new ApiError(response.status, text || `the gateway answered ${response.status}`, null);
  }
}

function unreachable(): ApiError {
  return new ApiError(0, "The gateway cannot be reached. Is it running, and is the network up?", null);
}
