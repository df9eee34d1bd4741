// What the pages ask for, each under one key, so that pages share answers and refresh together.
import { QueryClient, queryOptions } from "@tanstack/react-query";
import { ApiError, api, body, request, type Schemas } from "./client";
import { type Part, paged, whole } from "./pages";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      retry: (count, error) =>
        count < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500),
    },
  },
});

export const me = queryOptions({
  queryKey: ["me"],
  queryFn: async () => body(await api.GET("/v1/me")),
  staleTime: 60_000,
});

/** Base models; the list has the adapters on them too, which have a query of their own. */
export const models = queryOptions({
  queryKey: ["models"],
  queryFn: async () => body(await api.GET("/v1/models")).data.filter((model) => model.kind !== "adapter"),
});

export const datanets = queryOptions({
  queryKey: ["datanets"],
  queryFn: async () => body(await api.GET("/v1/datanets")).data,
});

/** Those of others as well that have published terms: one may ask for them. */
export const catalogue = queryOptions({
  queryKey: ["datanets", "", "catalogue"],
  queryFn: async () => body(await api.GET("/v1/datanets", { params: { query: { on_request: true } } })).data,
});

/** A datanet's terms, every version, newest first; none were published: an empty list. */
export const termsOf = (name: string) =>
  queryOptions({
    queryKey: ["datanets", name, "terms"],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/terms/versions", { params: { path: { name } } })).data,
  });

/** Requests for a datanet that concern the caller: all of them for its owner. */
export const requestsFor = (name: string) => ({
  ...paged(["requests", name], async (query) =>
    body(await api.GET("/v1/datanets/{name}/requests", { params: { path: { name }, query } })),
  ),
  refetchInterval: 15_000,
});

/** What waits for the caller's word, of whichever datanet. */
export const inbox = {
  ...paged(["requests", "", "inbox"], async (query) =>
    body(await api.GET("/v1/access_requests/inbox", { params: { query } })),
  ),
  refetchInterval: 30_000,
};

/** The caller's own requests over all datanets, newest first. */
export const myRequests = {
  ...paged(["requests", "", "mine"], async (query) =>
    body(await api.GET("/v1/access_requests", { params: { query } })),
  ),
  refetchInterval: 15_000,
};

/** The caller's own grants, also those that have ended. */
export const myGrants = queryOptions({
  queryKey: ["requests", "", "grants"],
  queryFn: async () => body(await api.GET("/v1/grants")).data,
});

/** What the caller has offered, to whichever datanet. */
export const myContributions = paged(["contributions", "", "mine"], async (query) =>
  body(await api.GET("/v1/contributions", { params: { query } })),
);

/** Who decides for the caller meanwhile. */
export const absence = queryOptions({
  queryKey: ["absence"],
  queryFn: async () => body(await api.GET("/v1/absence")),
});

export const accessStatistics = (name: string) =>
  queryOptions({
    queryKey: ["requests", name, "statistics"],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/requests/statistics", { params: { path: { name } } })),
  });

const offered = (name: string) => async (query: Part) =>
  body(await api.GET("/v1/datanets/{name}/contributions", { params: { path: { name }, query } }));

/** Contributions to a datanet: to its owner all, to others their own. */
export const contributionsTo = (name: string) => paged(["contributions", name], offered(name));

/** Those of them that wait for the owner's word. */
export const undecidedFor = (name: string) =>
  queryOptions({
    queryKey: ["contributions", name, "undecided"],
    queryFn: async () => (await whole(offered(name))).filter(({ state }) => state === "waiting"),
    refetchInterval: 15_000,
  });

export const snapshotsOf = (name: string) =>
  queryOptions({
    queryKey: ["datanets", name, "snapshots"],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/snapshots", { params: { path: { name } } })).data,
  });

export const datanet = (name: string) =>
  queryOptions({
    queryKey: ["datanets", name],
    queryFn: async () => body(await api.GET("/v1/datanets/{name}", { params: { path: { name } } })),
  });

export const datapoint = (name: string, id: string) =>
  queryOptions({
    queryKey: ["datanets", name, "datapoints", id],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/datapoints/{id}", { params: { path: { name, id } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const grants = (name: string) =>
  queryOptions({
    queryKey: ["datanets", name, "grants"],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/grants", { params: { path: { name } } })).data,
  });

/** Adapters that were trained on a datanet: what a withdrawal concerns. */
export const trainedOn = (name: string) =>
  queryOptions({
    queryKey: ["datanets", name, "trainings"],
    queryFn: async () =>
      body(await api.GET("/v1/datanets/{name}/trainings", { params: { path: { name } } })).data,
  });

export const jobs = paged(["jobs"], async (query) => body(await api.GET("/v1/jobs", { params: { query } })));

/** Every alias on a base, following pages to the end. */
export const adapters = (base: string) =>
  queryOptions({
    queryKey: ["adapters", base],
    queryFn: async () => {
      const all: Schemas["AdapterAlias"][] = [];
      let after: string | null | undefined;
      do {
        const query = { base, limit: 200, ...(after ? { after } : {}) };
        const page = body(await api.GET("/v1/adapters", { params: { query } }));
        all.push(...page.data);
        after = page.next;
      } while (after);
      return all;
    },
  });

export const adapterHistory = (base: string, name: string) =>
  queryOptions({
    queryKey: ["adapters", base, name, "history"],
    queryFn: async () =>
      body(await api.GET("/v1/adapters/{base}/{name}/history", { params: { path: { base, name } } })),
  });

/** Every stored generation on a base, of the caller or of an owner, following pages to the end. */
export const generations = (base: string, owner?: string) =>
  queryOptions({
    queryKey: ["adapters", base, "", "generations", owner ?? ""],
    queryFn: async () => {
      const all: Schemas["GenerationInfo"][] = [];
      let after: string | null | undefined;
      do {
        const query = { base, limit: 200, ...(owner ? { owner } : {}), ...(after ? { after } : {}) };
        const page = body(await api.GET("/v1/adapter_generations", { params: { query } }));
        all.push(...page.data);
        after = page.next;
      } while (after);
      return all;
    },
  });

export const attribution = (id: string) =>
  queryOptions({
    queryKey: ["attributions", id],
    queryFn: async () => body(await api.GET("/v1/attributions/{id}", { params: { path: { id } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });

/**
 * The proof of an answer, as the file that can be kept. Witnesses and anchors are added to it in time, and how much each
 * passage mattered once that is measured.
 */
export const proofOf = (id: string, measured: boolean) =>
  queryOptions({
    queryKey: ["attributions", id, "proof", measured],
    queryFn: async () =>
      new Uint8Array(await (await request(`/v1/attributions/${encodeURIComponent(id)}/proof`)).arrayBuffer()),
    staleTime: 60_000,
    // Verified on the page meanwhile: a file that changes under it would begin that anew.
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
  });

/** How much each passage of an answer mattered; `null` where it was not measured. Followed until it is. */
export const influence = (id: string) =>
  queryOptions({
    queryKey: ["attributions", id, "influence"],
    queryFn: async () => {
      try {
        return body(await api.GET("/v1/attributions/{id}/influence", { params: { path: { id } } }));
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return null;
        throw error;
      }
    },
    refetchInterval: ({ state }) =>
      state.data?.status === "waiting" || state.data?.status === "measuring" ? 1500 : false,
  });

export const keys = queryOptions({
  queryKey: ["keys"],
  queryFn: async () => body(await api.GET("/v1/keys")).data,
});

export const logKey = queryOptions({
  queryKey: ["log", "key"],
  queryFn: async () => body(await api.GET("/v1/log/key")),
  staleTime: Number.POSITIVE_INFINITY,
});

/** The size and root of the log, from its signed checkpoint. */
export interface Checkpoint {
  origin: string;
  size: number;
  root: string;
  note: string;
}

export const checkpoint = queryOptions({
  queryKey: ["log", "checkpoint"],
  queryFn: async (): Promise<Checkpoint> => {
    const note = await (await request("/v1/log/checkpoint")).text();
    const [origin = "", size = "0", root = ""] = note.split("\n");
    return { origin, size: Number(size), root, note };
  },
});

export const metrics = queryOptions({
  queryKey: ["metrics"],
  queryFn: async () => (await request("/metrics")).text(),
});

export const health = queryOptions({
  queryKey: ["health"],
  queryFn: async () => {
    const response = await fetch("/readyz");
    return { ready: response.ok, text: await response.text() };
  },
});
