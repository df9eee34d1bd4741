// Adapters, by the base they belong to.
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Upload as UploadIcon } from "lucide-react";
import { useState } from "react";
import type { Schemas } from "../../api/client";
import { adapters, models } from "../../api/queries";
import { useCaller } from "../../api/roles";
import { Button } from "../../ui/button";
import { Badge, Empty, ErrorNote, Waiting } from "../../ui/feedback";
import { Page } from "../../ui/page";
import { TableCard } from "../../ui/scroll";
import { Ago, Hash } from "../../ui/text";
import { Unnamed } from "./unnamed";
import { UploadDialog } from "./upload";
import "./adapters.css";
import { TableHead } from "../../ui/table";

export function Adapters() {
  const caller = useCaller();
  const known = useQuery(models);
  const bases = (known.data ?? []).filter((model) => model.kind === "chat");
  const [uploading, setUploading] = useState(false);
  const upload = caller?.may("trainers") && bases.length > 0 && (
    <Button look="primary" onClick={() => setUploading(true)}>
      <UploadIcon size={16} aria-hidden />
      Upload an adapter
    </Button>
  );
  return (
    <Page
      title="Adapters"
      lead="Small trained additions to a base model. A name means one generation at a time, and can be rolled back."
      actions={upload}
    >
      <ErrorNote error={known.error} />
      {!known.data && !known.error && <Waiting lines={4} />}
      <div className="stack-l">
        {bases.map((base) => (
          <OfBase key={base.id} base={base} mayUpload={caller?.may("trainers") ?? false} />
        ))}
        {known.data && bases.length === 0 && (
          <div className="card">
            <Empty title="No base model yet">
              Adapters need one. Fetch it on the gateway’s machine with “cairn pull”.
            </Empty>
          </div>
        )}
      </div>
      {bases.length > 0 && (
        <UploadDialog
          open={uploading}
          onClose={() => setUploading(false)}
          bases={bases.map((base) => base.id)}
        />
      )}
    </Page>
  );
}

const SHARED = { private: "its owner", granted: "those granted", public: "everyone" } as const;

function OfBase({ base, mayUpload }: { base: Schemas["Model"]; mayUpload: boolean }) {
  const { data, error } = useQuery(adapters(base.id));
  return (
    <section className="stack-s" aria-label={base.id}>
      <h2>{base.id}</h2>
      <ErrorNote error={error} />
      {!data && !error && <Waiting />}
      {data && (
        <TableCard label="Adapters">
          {data.length === 0 ? (
            <Empty title="No adapters on this base">
              {mayUpload
                ? "Upload one as PEFT saves it; it is checked against the base tensor by tensor."
                : "Those that are shared with you appear here."}
            </Empty>
          ) : (
            <table className="table">
              <TableHead columns={["Name", "Generation", "On trial", "Shared with", "Owner", "Changed"]} />
              <tbody>
                {data.map((alias) => (
                  <tr key={alias.name}>
                    <td>
                      <Link
                        to="/adapters/$base/$name"
                        params={{ base: alias.base, name: alias.name }}
                        className="table-link"
                      >
                        {alias.name}
                      </Link>
                    </td>
                    <td>
                      <Hash value={alias.generation} label="generation" />
                    </td>
                    <td className="numbers">
                      {alias.canary ? `${alias.canary.percent}%` : <span className="quiet">none</span>}
                    </td>
                    <td>
                      <Badge>{SHARED[alias.visibility]}</Badge>
                    </td>
                    <td>{alias.owner}</td>
                    <td className="quiet">
                      <Ago at={alias.updated_at} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </TableCard>
      )}
      {mayUpload && <Unnamed base={base.id} />}
    </section>
  );
}
