// Administration: models, keys, roles, limits, usage, and how the gateway is doing.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { api, body, type Schemas } from "../../api/client";
import { models } from "../../api/queries";
import { useCaller } from "../../api/roles";
import type { AdminTab } from "../../router";
import { Button } from "../../ui/button";
import { Badge, Empty, ErrorNote, Spinner, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { Tabs } from "../../ui/tabs";
import { bytes, count, Hash } from "../../ui/text";
import { Health } from "./health";
import { Keys } from "./keys";
import { Limits } from "./quotas";
import { Roles } from "./roles";
import { Usage } from "./usage";
import "./admin.css";

export function Admin() {
  const caller = useCaller();
  const { tab } = useSearch({ from: "/admin" });
  const navigate = useNavigate({ from: "/admin" });
  const tabs: [AdminTab, string][] = [
    ...(caller?.may("administrators")
      ? ([
          ["models", "Models"],
          ["keys", "API keys"],
          ["roles", "Roles"],
          ["limits", "Limits"],
        ] as [AdminTab, string][])
      : []),
    ["health", "Health"],
    ["usage", "Usage"],
  ];
  const shown = tabs.some(([one]) => one === tab) ? (tab as AdminTab) : (tabs[0]?.[0] ?? "health");
  return (
    <Page title="Admin" lead="Models, keys, roles, limits and usage, and how the gateway is doing.">
      <Tabs value={shown} tabs={tabs} onChange={(next) => navigate({ search: { tab: next }, replace: true })}>
        {shown === "models" && <Models />}
        {shown === "keys" && <Keys />}
        {shown === "roles" && <Roles />}
        {shown === "limits" && <Limits />}
        {shown === "usage" && <Usage />}
        {shown === "health" && <Health />}
      </Tabs>
    </Page>
  );
}

function Models() {
  const { data, error } = useQuery({ ...models, refetchInterval: 5_000 });
  if (error) return <ErrorNote error={error} />;
  if (!data) return <Waiting lines={4} />;
  if (data.length === 0) {
    return (
      <div className="card">
        <Empty title="No models yet">Fetch one on the gateway’s machine with “cairn pull”.</Empty>
      </div>
    );
  }
  const loaded = data.filter((model) => model.status === "loaded");
  return (
    <div className="stack">
      <p className="quiet numbers">
        {count(loaded.length)} of {count(data.length)} loaded, with{" "}
        {bytes(loaded.reduce((sum, model) => sum + model.memory_bytes, 0))} of memory.
      </p>
      <ul className="models">
        {data.map((model) => (
          <ModelCard key={model.id} model={model} />
        ))}
      </ul>
    </div>
  );
}

const TONES: Record<string, "good" | "warn" | "bad" | "plain"> = {
  loaded: "good",
  loading: "warn",
  failed: "bad",
};

function ModelCard({ model }: { model: Schemas["Model"] }) {
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: async (how: "load" | "unload") => {
      const params = { params: { path: { model: model.id } } };
      return how === "load"
        ? body(await api.POST("/v1/models/{model}/load", params))
        : body(await api.POST("/v1/models/{model}/unload", params));
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["models"] }),
  });
  const on = model.status === "loaded";
  const busy = change.isPending || model.status === "loading";
  return (
    <li className="card card-pad stack">
      <div className="row row-wrap">
        <h2>{model.id}</h2>
        <Badge tone={TONES[model.status] ?? "plain"} dot>
          {model.status}
        </Badge>
        {model.kind === "chat" ? (
          <Button
            small
            className="push"
            disabled={busy}
            onClick={() => change.mutate(on ? "unload" : "load")}
          >
            {busy && <Spinner size={14} />}
            {busy ? (on ? "Unloading" : "Loading") : on ? "Unload" : "Load"}
          </Button>
        ) : (
          <span className="push quiet small">in use as long as the gateway runs</span>
        )}
      </div>
      <ErrorNote error={change.error ?? model.reason} />
      <dl className="facts">
        <dt>Memory</dt>
        <dd className="numbers">{bytes(model.memory_bytes)}</dd>
        <dt>Context</dt>
        <dd className="numbers">{count(model.context_length)} tokens</dd>
        <dt>From</dt>
        <dd className="mono">{model.owned_by}</dd>
        <dt>Weights</dt>
        <dd>
          <Hash value={model.weights} label="hash of the weights" digits={20} />
        </dd>
        {model.normalised && model.normalised.length > 0 && (
          <>
            <dt>Changed on the way</dt>
            <dd>{model.normalised.join("; ")}</dd>
          </>
        )}
      </dl>
    </li>
  );
}
