// Uploading an adapter: it is checked against the base before anything is kept, and the report says what fits.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { request, type Schemas, upload } from "../../api/client";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { Drop } from "../../ui/drop";
import { ErrorNote, Spinner } from "../../ui/feedback";
import { SelectField, TextField } from "../../ui/field";
import { bytes } from "../../ui/text";
import { CompatibilityReport, type Report } from "./report";

type Uploaded = Schemas["UploadedAdapter"];

async function send(file: File, base: string, more: Record<string, string>): Promise<Uploaded> {
  const form = upload([{ name: file.name, content: file }]);
  const query = new URLSearchParams({ base, ...more });
  return (await (await request(`/v1/adapters?${query}`, { method: "POST", body: form })).json()) as Uploaded;
}

export function UploadDialog({
  open,
  onClose,
  bases,
}: {
  open: boolean;
  onClose: () => void;
  bases: string[];
}) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [base, setBase] = useState(bases[0] ?? "");
  const [file, setFile] = useState<File | null>(null);
  const [alias, setAlias] = useState("");
  const check = useMutation({
    mutationFn: (given: { file: File; base: string }) => send(given.file, given.base, { dry_run: "true" }),
  });
  const keep = useMutation({
    mutationFn: (given: File) => send(given, base, alias.trim() ? { alias: alias.trim() } : {}),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["adapters"] });
      close();
      if (alias.trim()) navigate({ to: "/adapters/$base/$name", params: { base, name: alias.trim() } });
    },
  });
  const close = () => {
    setFile(null);
    setAlias("");
    check.reset();
    keep.reset();
    onClose();
  };
  const take = (next: File, on: string) => {
    setFile(next);
    keep.reset();
    check.mutate({ file: next, base: on });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (file) keep.mutate(file);
  };
  const report = check.data?.report as Report | undefined;
  return (
    <Dialog
      wide
      open={open}
      onClose={close}
      title="Upload an adapter"
      description="A .tar, .tar.gz or .zip of a directory as PEFT saves it: adapter_config.json and adapter_model.safetensors."
    >
      <form className="stack" onSubmit={submit}>
        <SelectField
          label="Base model"
          value={base}
          onChange={(event) => {
            setBase(event.target.value);
            if (file) take(file, event.target.value);
          }}
        >
          {bases.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </SelectField>
        <Drop
          label={file ? `${file.name} (${bytes(file.size)})` : "Choose an archive, or drop it here"}
          hint={file ? "Choose another to replace it." : "It is only checked at first; nothing is kept yet."}
          accept=".tar,.gz,.tgz,.zip"
          onFiles={([next]) => next && take(next, base)}
        />
        {check.isPending && (
          <p className="row quiet" role="status">
            <Spinner /> Checking every tensor against {base}
          </p>
        )}
        <ErrorNote error={check.error} />
        {report && <CompatibilityReport report={report} />}
        {report?.accepted && (
          <TextField
            label="Publish under the name"
            placeholder="support"
            hint="Requests name it as base:name. An adapter that has the name already is replaced, and can be rolled back to. Empty: only kept."
            value={alias}
            onChange={(event) => setAlias(event.target.value)}
          />
        )}
        <ErrorNote error={keep.error} />
        <div className="dialog-actions">
          <Button onClick={close}>Cancel</Button>
          <Button type="submit" look="primary" disabled={!report?.accepted || keep.isPending}>
            {keep.isPending && <Spinner />}
            {alias.trim() ? "Upload and publish" : "Upload"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
