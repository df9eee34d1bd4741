// Stored generations that no name means: uploaded or trained, and not published, or left behind.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../../api/client";
import { generations } from "../../api/queries";
import { Button } from "../../ui/button";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNote } from "../../ui/feedback";
import { TextField } from "../../ui/field";
import { TableCard } from "../../ui/scroll";
import { TableHead } from "../../ui/table";
import { Ago, bytes, Hash } from "../../ui/text";
import { ReportButton, TrainedBriefly } from "./generation";

type Generation = Schemas["GenerationInfo"];

export function Unnamed({ base }: { base: string }) {
  const client = useQueryClient();
  const { data, error } = useQuery(generations(base));
  const [naming, setNaming] = useState<Generation | null>(null);
  const [deleting, setDeleting] = useState<Generation | null>(null);
  const unnamed = data?.filter(({ aliases }) => aliases.length === 0) ?? [];
  if (error) return <ErrorNote error={error} />;
  if (unnamed.length === 0) return null;
  const refresh = () => client.invalidateQueries({ queryKey: ["adapters"] });
  return (
    <div className="stack-s unnamed">
      <h3>Kept without a name</h3>
      <p className="quiet small">Yours, and in no use: a request can only name what has a name.</p>
      <TableCard label="Generations without a name">
        <table className="table">
          <TableHead
            columns={["Generation", "Trained on", "Stored", { number: "Size" }, { hidden: "Actions" }]}
          />
          <tbody>
            {unnamed.map((one) => (
              <tr key={one.generation}>
                <td>
                  <Hash value={one.generation} label="generation" />
                </td>
                <td>
                  <TrainedBriefly training={one.training} />
                </td>
                <td className="quiet">
                  <Ago at={one.created_at} />
                </td>
                <td className="number nowrap">{bytes(one.bytes)}</td>
                <td>
                  <span className="row row-end">
                    <ReportButton generation={one} />
                    <Button
                      small
                      aria-label={`Publish ${one.generation.slice(0, 8)}`}
                      onClick={() => setNaming(one)}
                    >
                      Publish…
                    </Button>
                    <Button
                      small
                      look="quiet"
                      aria-label={`Delete ${one.generation.slice(0, 8)}`}
                      onClick={() => setDeleting(one)}
                    >
                      Delete…
                    </Button>
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </TableCard>
      {naming && <Publish generation={naming} onClose={() => setNaming(null)} onDone={refresh} />}
      <Confirm
        open={deleting !== null}
        onClose={() => setDeleting(null)}
        title="Delete this generation?"
        action="Delete for ever"
        onConfirm={async () => {
          const path = { base, generation: deleting?.generation ?? "" };
          await api.DELETE("/v1/adapters/{base}/generations/{generation}", { params: { path } });
          await refresh();
        }}
      >
        Its weights go. What names it in the log, and the proofs of its answers, stay.
      </Confirm>
    </div>
  );
}

function Publish({
  generation: { base, generation },
  onClose,
  onDone,
}: {
  generation: Generation;
  onClose: () => void;
  onDone: () => Promise<unknown>;
}) {
  const [name, setName] = useState("");
  const publish = useMutation({
    mutationFn: async () =>
      body(
        await api.PUT("/v1/adapters/{base}/{name}", {
          params: { path: { base, name: name.trim() } },
          body: { generation },
        }),
      ),
    onSuccess: async () => {
      await onDone();
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    publish.mutate();
  };
  return (
    <Dialog open onClose={onClose} title="Publish under a name">
      <form className="stack" onSubmit={submit}>
        <TextField
          label="Name"
          placeholder="support"
          hint="Requests name it as base:name. A name of yours that is in use already means this one from then on, and can be rolled back."
          value={name}
          onChange={(event) => setName(event.target.value)}
        />
        <ErrorNote error={publish.error} />
        <div className="dialog-actions">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" disabled={!name.trim() || publish.isPending}>
            Publish
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
