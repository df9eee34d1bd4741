// Every datanet the caller may use, and a way to make one.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { catalogue } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { Segments, TextArea, TextField } from "../../ui/field";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Tabs } from "../../ui/tabs";
import { Ago, count } from "../../ui/text";
import { Inbox } from "./inbox";
import { Mine } from "./mine";
import { AccessBadge } from "./request-card";
import "./datanets.css";
import { TableHead } from "../../ui/table";

export function Datanets() {
  const caller = useCaller();
  const { tab = "all", create: asked } = useSearch({ from: "/datanets" });
  const navigate = useNavigate({ from: "/datanets" });
  const { data, error } = useQuery(catalogue);
  const [creating, setCreating] = useState(asked ?? false);
  const close = () => {
    setCreating(false);
    if (asked) navigate({ search: {}, replace: true });
  };
  const create = caller?.may("stewards") && (
    <Button look="primary" onClick={() => setCreating(true)}>
      <Plus size={16} aria-hidden />
      New datanet
    </Button>
  );
  return (
    <Page
      title="Datanets"
      lead="Collections of passages that answers may cite, each with its contributors, licence and readers."
      actions={create}
    >
      <Tabs value={tab} tabs={TABS} onChange={(next) => navigate({ search: { tab: next }, replace: true })}>
        {tab === "mine" ? (
          <Mine />
        ) : (
          <div className="stack-l">
            <ErrorNote error={error} />
            {data && <Inbox datanets={data} />}
            {!data && !error && <Waiting lines={4} />}
            {data && (
              <TableCard label="Datanets">
                {data.length === 0 ? (
                  <Empty title="No datanets yet" action={create}>
                    {caller?.may("stewards")
                      ? "Make one and add a file: its passages can be cited at once."
                      : "None of yours, and none whose terms are published. Ask a steward for a grant."}
                  </Empty>
                ) : (
                  <List datanets={data} />
                )}
              </TableCard>
            )}
          </div>
        )}
      </Tabs>
      {caller?.may("stewards") && <Create open={creating} onClose={close} />}
    </Page>
  );
}

const TABS = [
  ["all", "Datanets"],
  ["mine", "My access"],
] as const;

function List({ datanets: listed }: { datanets: Schemas["Datanet"][] }) {
  return (
    <table className="table">
      <TableHead columns={["Name", "Licence", { number: "Datapoints" }, "Access", "Owner", "Created"]} />
      <tbody>
        {listed.map((datanet) => (
          <tr key={datanet.name}>
            <td>
              <Link to="/datanets/$name" params={{ name: datanet.name }} className="table-link">
                {datanet.title || datanet.name}
              </Link>
              <div className="quiet small mono">{datanet.name}</div>
            </td>
            <td>{datanet.licence || <span className="quiet">none named</span>}</td>
            <td className="number">{count(datanet.snapshot.size)}</td>
            <td>
              <AccessBadge access={datanet.access} />
            </td>
            <td>{datanet.owner}</td>
            <td className="quiet">
              <Ago at={datanet.created_at} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;

function Create({ open, onClose }: { open: boolean; onClose: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [title, setTitle] = useState("");
  const [description, setDescription] = useState("");
  const [licence, setLicence] = useState("");
  const [visibility, setVisibility] = useState<Schemas["Visibility"]>("private");
  const wrong = name !== "" && !NAME.test(name);
  const create = useMutation({
    mutationFn: async (datanet: Schemas["NewDatanet"]) =>
      body(await api.POST("/v1/datanets", { body: datanet })),
    onSuccess: async (made) => {
      await client.invalidateQueries({ queryKey: ["datanets"] });
      await client.invalidateQueries({ queryKey: ["me"] });
      navigate({ to: "/datanets/$name", params: { name: made.name }, search: { tab: "add" } });
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate({ name, title, description, licence, visibility });
  };
  return (
    <Dialog
      open={open}
      onClose={onClose}
      title="New datanet"
      description="You will own it: you decide who may retrieve from it."
    >
      <form className="stack" onSubmit={submit}>
        <TextField
          label="Name"
          placeholder="handbook"
          required
          value={name}
          onChange={(event) => setName(event.target.value)}
          hint="Small letters, digits, - and _. It cannot be changed later."
          error={
            wrong ? "Begin with a small letter or digit; use only small letters, digits, - and _." : undefined
          }
        />
        <TextField
          label="Title"
          placeholder="Employee handbook"
          value={title}
          onChange={(event) => setTitle(event.target.value)}
        />
        <TextArea
          label="What it holds"
          value={description}
          onChange={(event) => setDescription(event.target.value)}
        />
        <TextField
          label="Licence"
          placeholder="CC-BY-4.0"
          value={licence}
          onChange={(event) => setLicence(event.target.value)}
          hint="For datapoints that name none of their own."
        />
        <div className="field">
          <span className="field-label">Who may retrieve without a grant</span>
          <Segments
            label="Who may retrieve without a grant"
            value={visibility}
            onChange={setVisibility}
            options={[
              ["private", "Nobody"],
              ["public", "Everyone with a key"],
            ]}
          />
        </div>
        <ErrorNote error={create.error} />
        <div className="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" disabled={!NAME.test(name) || create.isPending}>
            Create
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
