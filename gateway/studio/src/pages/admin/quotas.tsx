// Limits: of keys, at a glance, and how many adapters each owner may store.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { keys } from "../../api/queries";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Badge, Bar, Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { bytes, count } from "../../ui/text";

type Quota = Schemas["AdapterQuota"];

const GIB = 1024 ** 3;

export function Limits() {
  return (
    <div className="stack-l">
      <KeyLimits />
      <Quotas />
    </div>
  );
}

function KeyLimits() {
  const { data, error } = useQuery(keys);
  const limited = data?.filter(
    ({ revoked_at, limits }) =>
      !revoked_at && limits && (limits.requests_per_minute != null || limits.tokens_per_day != null),
  );
  return (
    <section className="stack-s" aria-labelledby="key-limits">
      <h2 id="key-limits">Keys with limits</h2>
      <p className="quiet">
        A request beyond its key’s limit is refused before it does any work, and told when to come back. Set
        limits under{" "}
        <Link to="/admin" search={{ tab: "keys" }}>
          API keys
        </Link>
        .
      </p>
      <ErrorNote error={error} />
      {!limited && !error && <Waiting lines={2} />}
      {limited && (
        <TableCard label="Keys with limits">
          {limited.length === 0 ? (
            <Empty title="No key has a limit">Every key may be used without end.</Empty>
          ) : (
            <table className="table">
              <TableHead
                columns={["Subject", "Key", { number: "Requests a minute" }, { number: "Tokens a day" }]}
              />
              <tbody>
                {limited.map(({ id, subject, limits }) => (
                  <tr key={id}>
                    <td>{subject}</td>
                    <td className="mono">{id}</td>
                    <td className="number">{some(limits?.requests_per_minute)}</td>
                    <td className="number">{some(limits?.tokens_per_day)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </TableCard>
      )}
    </section>
  );
}

function some(limit: number | null | undefined) {
  return limit === null || limit === undefined ? <span className="quiet">no limit</span> : count(limit);
}

function Quotas() {
  const { data, error } = useQuery({
    queryKey: ["adapter-quotas"],
    queryFn: async () => body(await api.GET("/v1/adapter_quotas")),
  });
  const [setting, setSetting] = useState<Quota | "new" | null>(null);
  return (
    <section className="stack-s" aria-labelledby="quotas">
      <div className="row row-wrap">
        <h2 id="quotas">Adapters that owners may store</h2>
        <Button small className="push" disabled={!data} onClick={() => setSetting("new")}>
          Set a quota
        </Button>
      </div>
      <ErrorNote error={error} />
      {!data && !error && <Waiting lines={3} />}
      {data && (
        <>
          <p className="quiet">
            Everyone may store {count(data.default.max_generations)} adapters and{" "}
            {bytes(data.default.max_bytes)} in all, unless another quota is set here.
          </p>
          <TableCard label="Quotas">
            {data.data.length === 0 ? (
              <Empty title="Nobody stores an adapter yet">Owners are listed here once they do.</Empty>
            ) : (
              <table className="table">
                <TableHead columns={["Owner", "Adapters", "Size", "Quota", { hidden: "Actions" }]} />
                <tbody>
                  {data.data.map((quota) => (
                    <Row key={quota.owner} quota={quota} onChange={() => setSetting(quota)} />
                  ))}
                </tbody>
              </table>
            )}
          </TableCard>
          {setting && (
            <Setting
              quota={setting === "new" ? null : setting}
              defaults={data.default}
              onClose={() => setSetting(null)}
            />
          )}
        </>
      )}
    </section>
  );
}

function Row({ quota, onChange }: { quota: Quota; onChange: () => void }) {
  const { owner, generations, limits, own } = quota;
  return (
    <tr>
      <td>{owner}</td>
      <td>
        <span className="numbers">
          {count(generations)} of {count(limits.max_generations)}
        </span>
        <Bar value={generations} max={limits.max_generations} label={`Adapters of ${owner}`} />
      </td>
      <td>
        <span className="numbers">
          {bytes(quota.bytes)} of {bytes(limits.max_bytes)}
        </span>
        <Bar value={quota.bytes} max={limits.max_bytes} label={`Bytes of ${owner}`} />
      </td>
      <td>{own ? <Badge tone="warn">set here</Badge> : <span className="quiet">default</span>}</td>
      <td className="number">
        <Button small aria-label={`Change the quota of ${owner}`} onClick={onChange}>
          Change…
        </Button>
      </td>
    </tr>
  );
}

function Setting({
  quota,
  defaults,
  onClose,
}: {
  quota: Quota | null;
  defaults: Schemas["QuotaLimits"];
  onClose: () => void;
}) {
  const client = useQueryClient();
  const [owner, setOwner] = useState(quota?.owner ?? "");
  const given = quota?.limits ?? defaults;
  const [most, setMost] = useState(String(given.max_generations));
  const [gib, setGib] = useState(String(given.max_bytes / GIB));
  const set = useMutation({
    mutationFn: async (limits: Schemas["QuotaLimits"] | null) => {
      const params = { params: { path: { owner: owner.trim() } } };
      if (limits) await api.PUT("/v1/adapter_quotas/{owner}", { ...params, body: limits });
      else await api.DELETE("/v1/adapter_quotas/{owner}", params);
    },
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["adapter-quotas"] });
      onClose();
    },
  });
  const valid = owner.trim() !== "" && most.trim() !== "" && gib.trim() !== "" && Number(gib) >= 0;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    set.mutate({ max_generations: Math.floor(Number(most)), max_bytes: Math.round(Number(gib) * GIB) });
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title={quota ? `The quota of ${quota.owner}` : "Set a quota"}
      description="What is stored already stays; what goes beyond is refused."
    >
      <form className="stack" onSubmit={submit}>
        {!quota && (
          <TextField
            label="Owner"
            placeholder="my-trainer"
            hint="The subject of an API key, or of a token."
            value={owner}
            onChange={(event) => setOwner(event.target.value)}
          />
        )}
        <TextField
          label="Most adapters"
          type="number"
          min={0}
          step={1}
          value={most}
          onChange={(event) => setMost(event.target.value)}
        />
        <TextField
          label="Most GiB in all"
          type="number"
          min={0}
          step="any"
          value={gib}
          onChange={(event) => setGib(event.target.value)}
        />
        <ErrorNote error={set.error} />
        <div className="dialog-actions">
          {quota?.own && (
            <Button disabled={set.isPending} onClick={() => set.mutate(null)}>
              Use the default
            </Button>
          )}
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" disabled={!valid || set.isPending}>
            Set it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
