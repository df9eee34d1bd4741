// A new run: base, data and preset; everything else has a good value already. Looked at before it is started.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { ChevronRight, FileUp, Play, ScanEye } from "lucide-react";
import { type FormEvent, useState } from "react";
import { request, type Schemas, upload } from "../../api/client";
import { datanets, models } from "../../api/queries";
import { Button } from "../../ui/button";
import { Drop } from "../../ui/drop";
import { Empty, ErrorNote, Note, Spinner, Waiting } from "../../ui/feedback";
import { Segments, SelectField, TextArea, TextField } from "../../ui/field";
import { More } from "../../ui/more";
import { Page } from "../../ui/page";
import { bytes, count } from "../../ui/text";
import { AllSettings } from "./all-settings";
import { chosen, type Given, PRESETS, type Preset } from "./options";
import { PreviewOf } from "./preview";
import { files, preview, start } from "./queries";
import "./train.css";

type StoredFile = Schemas["FileObject"];
type From = "datanet" | "file";

const TEMPLATE = { system: "", user: "Define: {title}", assistant: "{text}" };

export function NewRun() {
  const known = useQuery(models);
  const nets = useQuery(datanets);
  const bases = (known.data ?? []).filter((model) => model.kind === "chat").map((model) => model.id);
  const filled = (nets.data ?? []).filter((datanet) => datanet.snapshot.size > 0);
  const error = known.error ?? nets.error;
  return (
    <Page
      title="New run"
      lead="Choose what to teach, and from what. A preview says what it will take before anything starts."
      above={
        <nav aria-label="Where you are" className="crumbs">
          <Link to="/train">Train</Link>
          <ChevronRight size={14} aria-hidden />
        </nav>
      }
    >
      <ErrorNote error={error} />
      {!(known.data && nets.data) && !error && <Waiting lines={6} />}
      {known.data && bases.length === 0 && (
        <div className="card">
          <Empty title="No base model yet">
            Training needs one. Fetch it on the gateway’s machine with “cairn pull”.
          </Empty>
        </div>
      )}
      {known.data && nets.data && bases.length > 0 && <Form bases={bases} datanets={filled} />}
    </Page>
  );
}

/** A name that an adapter may have. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/\.[a-z0-9]+$/, "")
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 48);
}

function Form({ bases, datanets: filled }: { bases: string[]; datanets: Schemas["Datanet"][] }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [base, setBase] = useState(bases[0] ?? "");
  const [from, setFrom] = useState<From>(filled.length > 0 ? "datanet" : "file");
  const [datanet, setDatanet] = useState(filled[0]?.name ?? "");
  const [template, setTemplate] = useState(TEMPLATE);
  const [file, setFile] = useState<StoredFile | null>(null);
  const [method, setMethod] = useState<"qlora" | "lora">("qlora");
  const [preset, setPreset] = useState<Preset>("balanced");
  const [given, setGiven] = useState<Given>({});
  const [typed, setTyped] = useState<string | null>(null);
  const [publish, setPublish] = useState<"named" | "later">("named");
  const data = from === "datanet" ? datanet : (file?.filename ?? "");
  const name = typed ?? slug(data);

  const wanted = () => {
    const { held_out, evaluation_samples, ...options } = given;
    const [part, samples] = [held_out?.trim(), evaluation_samples?.trim()];
    return {
      model: base,
      training_file: from === "datanet" ? `datanet:${datanet}` : file?.id,
      ...(from === "datanet"
        ? {
            template: {
              user: template.user,
              assistant: template.assistant,
              ...(template.system.trim() ? { system: template.system } : {}),
            },
          }
        : {}),
      // Without a name the adapter gets the run's own, which nobody would guess.
      ...(name.trim() && publish === "named" ? { suffix: name.trim() } : {}),
      method: { type: method, preset, options: chosen(options, method) },
      ...(part ? { held_out: Number(part) } : {}),
      ...(samples ? { evaluation_samples: Number(samples) } : {}),
      metadata: { name: name.trim() || data, data, preset },
    };
  };
  // What was previewed is remembered with it, so that a preview of other settings is not taken for one of these.
  const state = JSON.stringify([base, from, datanet, template, file?.id, method, preset, given]);
  const look = useMutation({
    mutationFn: async () => ({ of: state, found: await preview(wanted()) }),
  });
  const go = useMutation({
    mutationFn: async () => start(wanted()),
    onSuccess: async (job) => {
      await client.invalidateQueries({ queryKey: ["trainings"] });
      navigate({ to: "/train/$id", params: { id: job.id } });
    },
  });
  const ready = from === "datanet" ? datanet !== "" && template.user && template.assistant : file !== null;
  const stale = look.data !== undefined && look.data.of !== state;
  const seen = look.data !== undefined && !stale;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    go.mutate();
  };
  return (
    <form className="stack-l" onSubmit={submit}>
      <section className="card card-pad stack" aria-labelledby="what">
        <h2 id="what">What it learns</h2>
        <div className="fields">
          <SelectField
            label="Base model"
            hint="It stays as it is; the adapter is added to it."
            value={base}
            onChange={(event) => setBase(event.target.value)}
          >
            {bases.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </SelectField>
          <TextField
            label="Name of the adapter"
            hint={
              publish === "named"
                ? `Requests will name it as ${base}:${name || "…"}. If you have one of that name, this becomes its next generation.`
                : "What this run is called here."
            }
            placeholder="glossary"
            value={name}
            onChange={(event) => setTyped(event.target.value)}
          />
        </div>
        <div className="stack-s">
          <span className="field-label">Learn from</span>
          <Segments
            label="Learn from"
            value={from}
            options={[
              ["datanet", "A datanet"],
              ["file", "A file of examples"],
            ]}
            onChange={setFrom}
          />
        </div>
        {from === "datanet" ? (
          <FromDatanet
            known={filled}
            datanet={datanet}
            onDatanet={setDatanet}
            template={template}
            onTemplate={setTemplate}
          />
        ) : (
          <FromFile file={file} onFile={setFile} />
        )}
        <div className="stack-s">
          <span className="field-label">When it is done</span>
          <Segments
            label="When it is done"
            value={publish}
            options={[
              ["named", "Publish it under that name"],
              ["later", "Publish it myself"],
            ]}
            onChange={setPublish}
          />
          <p className="quiet small">
            {publish === "named"
              ? "Only you may use it until you share it; its page rolls it back."
              : "It answers under the run’s own number alone, to you alone, until you give it a name on the run’s page."}
          </p>
        </div>
      </section>

      <section className="card card-pad stack" aria-labelledby="how">
        <h2 id="how">How it learns</h2>
        <fieldset className="presets">
          <legend className="hidden-visually">Preset</legend>
          {PRESETS.map(({ id, title, text }) => (
            <label key={id} className="preset">
              <input
                type="radio"
                name="preset"
                value={id}
                checked={preset === id}
                onChange={() => setPreset(id)}
              />
              <span>
                <strong>{title}</strong>
                <span className="quiet small">{text}</span>
              </span>
            </label>
          ))}
        </fieldset>
        <div className="stack-s">
          <span className="field-label">Method</span>
          <Segments
            label="Method"
            value={method}
            options={[
              ["qlora", "QLoRA"],
              ["lora", "LoRA"],
            ]}
            onChange={setMethod}
          />
          <p className="quiet small">
            {method === "qlora"
              ? "The base is kept in 4 bits while the adapter learns: the least memory, and nearly the same result."
              : "The base is kept in full precision: faster for small models, and several times the memory."}
          </p>
        </div>
        <AllSettings preset={preset} method={method} given={given} onChange={setGiven} />
      </section>

      <section className="stack" aria-labelledby="check">
        <div className="row row-wrap start-row">
          <h2 id="check">Before it starts</h2>
          <div className="row push">
            <Button
              look={seen ? "plain" : "primary"}
              disabled={!ready || look.isPending}
              onClick={() => look.mutate()}
            >
              {look.isPending ? <Spinner /> : <ScanEye size={16} aria-hidden />}
              Preview
            </Button>
            <Button type="submit" look={seen ? "primary" : "plain"} disabled={!ready || go.isPending}>
              {go.isPending ? <Spinner /> : <Play size={16} aria-hidden />}
              Start training
            </Button>
          </div>
        </div>
        <ErrorNote error={go.error ?? look.error} />
        {!look.data && !look.isPending && !look.error && (
          <p className="quiet">
            {ready
              ? "Preview checks every row, shows some as the model will see them, and predicts memory and time."
              : "Choose what to learn from first."}
          </p>
        )}
        {look.isPending && !look.data && (
          <p className="row quiet" role="status">
            <Spinner /> Reading and checking every row
          </p>
        )}
        {stale && (
          <Note tone="warn">You changed something since this preview; preview again to be sure.</Note>
        )}
        {look.data && <PreviewOf preview={look.data.found} />}
      </section>
    </form>
  );
}

function FromDatanet({
  known,
  datanet,
  onDatanet,
  template,
  onTemplate,
}: {
  known: Schemas["Datanet"][];
  datanet: string;
  onDatanet: (name: string) => void;
  template: typeof TEMPLATE;
  onTemplate: (template: typeof TEMPLATE) => void;
}) {
  if (known.length === 0) {
    return <Note>No datanet has datapoints yet. Add some under Datanets, or learn from a file.</Note>;
  }
  return (
    <div className="stack">
      <SelectField
        label="Datanet"
        hint="Its owner must have granted you training; that is another purpose than citing it."
        value={datanet}
        onChange={(event) => onDatanet(event.target.value)}
      >
        {known.map((one) => (
          <option key={one.name} value={one.name}>
            {one.title || one.name} ({count(one.snapshot.size)} datapoints)
          </option>
        ))}
      </SelectField>
      <div className="fields">
        <TextArea
          label="What is asked"
          rows={2}
          value={template.user}
          onChange={(event) => onTemplate({ ...template, user: event.target.value })}
        />
        <TextArea
          label="What it should answer"
          rows={2}
          value={template.assistant}
          onChange={(event) => onTemplate({ ...template, assistant: event.target.value })}
        />
        <TextArea
          label="Instructions (optional)"
          rows={2}
          placeholder="You are a concise dictionary."
          value={template.system}
          onChange={(event) => onTemplate({ ...template, system: event.target.value })}
        />
      </div>
      <p className="quiet small">
        Each datapoint becomes one example. <code>{"{title}"}</code>, <code>{"{text}"}</code>,{" "}
        <code>{"{contributor}"}</code>, <code>{"{id}"}</code> and <code>{"{metadata.NAME}"}</code> stand for
        its fields; only the answer is learnt.
      </p>
    </div>
  );
}

function FromFile({ file, onFile }: { file: StoredFile | null; onFile: (file: StoredFile | null) => void }) {
  const client = useQueryClient();
  const list = useInfiniteQuery(files);
  const { data } = list;
  const send = useMutation({
    mutationFn: async (content: File) => {
      const form = upload([{ name: content.name, content }]);
      form.append("purpose", "fine-tune");
      return (await (await request("/v1/files", { method: "POST", body: form })).json()) as StoredFile;
    },
    onSuccess: (stored) => {
      onFile(stored);
      return client.invalidateQueries({ queryKey: ["files"] });
    },
  });
  const earlier = (data ?? []).filter((one) => one.id !== file?.id);
  return (
    <div className="stack">
      <Drop
        label="Choose a file of examples, or drop it here"
        hint="One example a line: chat messages as OpenAI has them, alpaca, sharegpt, prompt and completion, or plain text."
        accept=".jsonl,.ndjson,.json,.txt,.md"
        onFiles={([next]) => next && send.mutate(next)}
      />
      {send.isPending && (
        <p className="row quiet" role="status">
          <Spinner /> Sending
        </p>
      )}
      <ErrorNote error={send.error} />
      {file && (
        <p className="row row-wrap">
          <FileUp size={16} aria-hidden />
          <strong>{file.filename}</strong>
          <span className="quiet numbers">{bytes(file.bytes)}</span>
        </p>
      )}
      {earlier.length > 0 && (
        <SelectField
          label="Or one that you sent before"
          value=""
          onChange={(event) => onFile(earlier.find(({ id }) => id === event.target.value) ?? null)}
        >
          <option value="" disabled>
            Choose
          </option>
          {earlier.map((one) => (
            <option key={one.id} value={one.id}>
              {one.filename} ({bytes(one.bytes)})
            </option>
          ))}
        </SelectField>
      )}
      <More list={list} of="files" />
    </div>
  );
}
