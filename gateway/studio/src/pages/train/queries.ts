// What the training pages ask for.
import { queryOptions } from "@tanstack/react-query";
import { ApiError, api, body, request } from "../../api/client";
import { paged } from "../../api/pages";
import type { Evaluation, Job, JobEvent, Preview, Validation } from "./shapes";

/** Runs, newest first; the last hundred are enough for a page. */
export const trainings = queryOptions({
  queryKey: ["trainings"],
  queryFn: async () =>
    body(await api.GET("/v1/fine_tuning/jobs", { params: { query: { limit: 100, stream: false } } })).data,
});

export const training = (id: string) =>
  queryOptions({
    queryKey: ["trainings", id],
    queryFn: async () =>
      (await (await request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}`)).json()) as Job,
  });

async function result<T>(id: string, name: string): Promise<T | null> {
  try {
    return (await (await request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}/${name}`)).json()) as T;
  } catch (error) {
    // Without held-out rows there is none.
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export const evaluation = (id: string) =>
  queryOptions({
    queryKey: ["trainings", id, "evaluation"],
    queryFn: () => result<Evaluation>(id, "evaluation"),
  });

/** Evaluations on demand, newest first. */
export const evaluations = queryOptions({
  queryKey: ["evaluations"],
  queryFn: async () =>
    body(await api.GET("/v1/evaluations", { params: { query: { limit: 100, stream: false } } })).data,
});

export const evaluationResult = (id: string) =>
  queryOptions({
    queryKey: ["evaluations", id, "result"],
    queryFn: async () =>
      (await (await request(`/v1/evaluations/${encodeURIComponent(id)}/result`)).json()) as Evaluation,
  });

export const validation = (id: string) =>
  queryOptions({
    queryKey: ["trainings", id, "validation"],
    queryFn: () => result<Validation>(id, "validation"),
  });

/** All events of a run, oldest first. */
export const history = (id: string) =>
  queryOptions({
    queryKey: ["trainings", id, "events"],
    queryFn: async () => {
      const all: JobEvent[] = [];
      let more = true;
      while (more) {
        const after = all.at(-1)?.id;
        const query = new URLSearchParams({ limit: "1000", ...(after ? { after } : {}) });
        const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}/events?${query}`;
        const page = (await (await request(path)).json()) as { data: JobEvent[]; has_more: boolean };
        all.push(...page.data);
        more = page.has_more && page.data.length > 0;
      }
      return all.reverse();
    },
  });

export const files = paged(["files"], async (part) =>
  body(await api.GET("/v1/files", { params: { query: { limit: 100, ...part } } })),
);

export async function preview(wanted: object): Promise<Preview> {
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  };
  return (await (await request("/v1/fine_tuning/preview", init)).json()) as Preview;
}

export async function start(wanted: object): Promise<Job> {
  const init = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  };
  return (await (await request("/v1/fine_tuning/jobs", init)).json()) as Job;
}

export async function move(id: string, to: "pause" | "resume" | "cancel"): Promise<Job> {
  const path = `/v1/fine_tuning/jobs/${encodeURIComponent(id)}/${to}`;
  return (await (await request(path, { method: "POST" })).json()) as Job;
}

/** Deletes a run that has ended. */
export async function forget(id: string): Promise<void> {
  await request(`/v1/fine_tuning/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
}
