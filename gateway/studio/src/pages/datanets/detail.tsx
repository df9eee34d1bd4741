// One datanet: browse it, search inside, add to it, and decide who may retrieve from it.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ChevronRight, MessageSquareText } from "lucide-react";
import { useState } from "react";
import { api, type Schemas } from "../../api/client";
import { datanet as datanetOf } from "../../api/queries";
import { useCaller } from "../../api/roles";
import type { Tab } from "../../router";
import { Button, ButtonLink } from "../../ui/button";
import { Confirm } from "../../ui/dialog";
import { ErrorNote, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { Tabs } from "../../ui/tabs";
import { date, Hash, plural } from "../../ui/text";
import { Access } from "./access";
import { Browse } from "./browse";
import { Contribute } from "./contribute";
import { Contributors } from "./contributors";
import { Offers } from "./offers";
import { AccessBadge } from "./request-card";
import { Search } from "./search";
import { Snapshots } from "./snapshots";
import { Terms } from "./terms";
import "./datanets.css";

export function DatanetPage() {
  const { name } = useParams({ from: "/datanets/$name" });
  const { tab: chosen } = useSearch({ from: "/datanets/$name" });
  const navigate = useNavigate({ from: "/datanets/$name" });
  const caller = useCaller();
  const { data, error } = useQuery(datanetOf(name));
  // Who came to ask stays where the answer is, also when it opens the other tabs.
  const [came, setCame] = useState<{ name: string; tab: Tab }>();
  if (data && came?.name !== name) setCame({ name, tab: data.access === "on_request" ? "terms" : "browse" });
  const tab = chosen ?? came?.tab ?? "browse";
  if (!data) {
    return <Page title={name}>{error ? <ErrorNote error={error} /> : <Waiting lines={4} />}</Page>;
  }
  // Owners and administrators govern, as the gateway has it.
  const governs =
    caller?.roles.includes("admin") || (caller?.may("stewards") && caller.subject === data.owner);
  const readable = data.access !== "on_request";
  const tabs: [Tab, string][] = [
    ...(caller?.may("applications") && readable
      ? ([
          ["browse", "Browse"],
          ["search", "Search"],
        ] as [Tab, string][])
      : []),
    ["terms", "Terms"],
    ...(caller?.may("applications")
      ? ([["add", governs ? "Add data" : "Contribute"]] as [Tab, string][])
      : []),
    ...(governs ? ([["access", "Access"]] as [Tab, string][]) : []),
    ["about", "About"],
  ];
  const shown = tabs.some(([one]) => one === tab) ? tab : (tabs[0]?.[0] ?? "about");
  return (
    <Page
      title={data.title || data.name}
      lead={
        <>
          <span className="mono">{data.name}</span> · {plural(data.snapshot.size, "datapoint")} ·{" "}
          {data.licence || "no licence named"} · owned by {data.owner}
        </>
      }
      above={<Crumbs />}
      actions={
        caller?.may("applications") &&
        readable &&
        data.snapshot.size > 0 && (
          <ButtonLink to="/chat" search={{ datanet: data.name }}>
            <MessageSquareText size={16} aria-hidden />
            Ask it
          </ButtonLink>
        )
      }
    >
      <Tabs value={shown} tabs={tabs} onChange={(next) => navigate({ search: { tab: next }, replace: true })}>
        {shown === "browse" && (
          <Browse datanet={data} mayAdd={caller?.may("contributors") ?? false} governs={Boolean(governs)} />
        )}
        {shown === "search" && <Search datanet={data} />}
        {shown === "terms" && <Terms datanet={data} governs={Boolean(governs)} />}
        {shown === "add" && (
          <div className="stack">
            <Contribute datanet={data} governs={Boolean(governs)} />
            <Offers name={data.name} governs={Boolean(governs)} />
          </div>
        )}
        {shown === "access" && <Access datanet={data} />}
        {shown === "about" && <About datanet={data} governs={Boolean(governs)} />}
      </Tabs>
    </Page>
  );
}

function Crumbs() {
  return (
    <nav aria-label="Where you are" className="crumbs">
      <Link to="/datanets">Datanets</Link>
      <ChevronRight size={14} aria-hidden />
    </nav>
  );
}

function About({ datanet, governs }: { datanet: Schemas["Datanet"]; governs: boolean }) {
  const caller = useCaller();
  const readable = datanet.access !== "on_request";
  const navigate = useNavigate();
  const client = useQueryClient();
  const [deleting, setDeleting] = useState(false);
  const remove = async () => {
    await api.DELETE("/v1/datanets/{name}", { params: { path: { name: datanet.name } } });
    client.removeQueries({ queryKey: ["datanets", datanet.name] });
    await client.invalidateQueries({ queryKey: ["datanets"], exact: true });
    navigate({ to: "/datanets" });
  };
  return (
    <div className="stack">
      <div className="card card-pad">
        <dl className="facts">
          <dt>Holds</dt>
          <dd>{datanet.description || <span className="quiet">not described</span>}</dd>
          <dt>Licence</dt>
          <dd>{datanet.licence || <span className="quiet">none named</span>}</dd>
          <dt>Access</dt>
          <dd>
            <AccessBadge access={datanet.access} />{" "}
            {datanet.visibility === "public"
              ? "open to everyone with a key"
              : "for its owner and who holds a grant"}
          </dd>
          <dt>Created</dt>
          <dd>
            {date(datanet.created_at)} by {datanet.owner}
          </dd>
          <dt>Snapshot</dt>
          <dd>
            {plural(datanet.snapshot.size, "datapoint")} under the root{" "}
            <Hash value={datanet.snapshot.root} label="root of the snapshot" digits={20} />
          </dd>
          <dt>Version</dt>
          <dd className="numbers">{datanet.snapshot.lance_version}</dd>
        </dl>
      </div>
      {readable && caller?.may("applications") && <Contributors datanet={datanet} />}
      {readable && <Snapshots name={datanet.name} />}
      {governs && (
        <div className="card card-pad row row-wrap">
          <div>
            <h3>Delete this datanet</h3>
            <p className="quiet">
              Its datapoints and grants go. Records of answers stay, and proofs that were fetched stay valid.
            </p>
          </div>
          <Button look="danger" className="push" onClick={() => setDeleting(true)}>
            Delete
          </Button>
        </div>
      )}
      <Confirm
        open={deleting}
        onClose={() => setDeleting(false)}
        title={`Delete ${datanet.name}?`}
        action="Delete for ever"
        onConfirm={remove}
      >
        {plural(datanet.snapshot.size, "datapoint")} will be gone, and new proofs of answers that drew on them
        can no longer be made. This cannot be undone.
      </Confirm>
    </div>
  );
}
